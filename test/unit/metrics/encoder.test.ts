// The encoder alone: exact numbers, escaping, both formats.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ExpositionWriter, renderLabels } from '../../../src/metrics/encoder.js';
import { parseExposition } from './parse-exposition.js';

const NAME = Buffer.from('lezea_x_total');
const HEADER = { name: 'lezea_x_total', type: 'counter', help: 'X.' } as const;

function written(write: (writer: ExpositionWriter) => void): string {
  const writer = new ExpositionWriter('text');
  writer.header(HEADER);
  write(writer);
  return parseExposition(writer.finish().toString(), 'text').samples[0]?.value ?? '';
}

/** Any code points but surrogates, control characters and line ends included. */
const anyText = fc
  .array(fc.oneof(fc.nat(0xd7ff), fc.integer({ min: 0xe000, max: 0x10ffff }), fc.nat(127)), { maxLength: 30 })
  .map((points) => String.fromCodePoint(...points));

const none = renderLabels({});

describe('numbers', () => {
  it('writes integers and nanoseconds without losing a digit', () => {
    const integer = (value: number) => written((writer) => writer.sample(NAME, none, value, 0));
    const seconds = (value: number) => written((writer) => writer.sample(NAME, none, value, 9));
    const joules = (value: number) => written((writer) => writer.sample(NAME, none, value, 6));
    expect(integer(0)).toBe('0');
    expect(integer(9)).toBe('9');
    expect(integer(10)).toBe('10');
    expect(integer(Number.MAX_SAFE_INTEGER)).toBe('9007199254740991');
    expect(seconds(0)).toBe('0');
    expect(seconds(1)).toBe('0.000000001');
    expect(seconds(1_500_000_000)).toBe('1.5');
    expect(seconds(Number.MAX_SAFE_INTEGER)).toBe('9007199.254740991');
    expect(joules(1)).toBe('0.000001');
    expect(joules(12_500_000)).toBe('12.5');
    expect(joules(Number.MAX_SAFE_INTEGER)).toBe('9007199254.740991');
  });

  it('writes what passes 2^53 just as exactly', () => {
    const big = (value: bigint, decimals: 0 | 6 | 9) =>
      written((writer) => writer.bigSample(NAME, none, value, decimals));
    expect(big(2n ** 64n - 1n, 0)).toBe('18446744073709551615');
    expect(big(2n ** 127n + 1n, 9)).toBe('170141183460469231731687303715.884105729');
    expect(big(5_000_000_000n, 9)).toBe('5');
    expect(big(2n ** 64n - 1n, 6)).toBe('18446744073709.551615');
  });

  it('agrees with itself: small and big way, any value', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), fc.constantFrom(0, 6, 9), (value, decimals) => {
        const small = written((writer) => writer.sample(NAME, none, value, decimals));
        expect(small).toBe(written((writer) => writer.bigSample(NAME, none, BigInt(value), decimals)));
        expect(Number(small)).toBe(value / 10 ** decimals);
      }),
      { numRuns: 500 },
    );
  });

  it('writes doubles, infinities included', () => {
    const double = (value: number) => written((writer) => writer.floatSample('lezea_x_total', none, value));
    expect(double(0.1)).toBe('0.1');
    expect(double(1e300)).toBe('1e+300');
    expect(double(Number.POSITIVE_INFINITY)).toBe('+Inf');
  });
});

describe('labels', () => {
  it('brings any name back as it was, whatever it tries', () => {
    const hostile = [
      '"} 1\nlezea_forged 1',
      '\\',
      '\\n',
      '"',
      'a\nb',
      '{run="x"}',
      '# EOF',
      'ü–語🙂',
      '\u2028',
      '',
    ];
    for (const format of ['text', 'openmetrics'] as const) {
      const writer = new ExpositionWriter(format);
      writer.header(HEADER);
      for (const scope of hostile) writer.sample(NAME, renderLabels({ scope }), 1, 0);
      const { samples } = parseExposition(writer.finish().toString(), format);
      expect(samples.map((sample) => sample.labels.scope)).toEqual(hostile);
    }
  });

  it('holds for every text there is', () => {
    fc.assert(
      fc.property(anyText, (scope) => {
        const writer = new ExpositionWriter('openmetrics', 0);
        writer.header(HEADER);
        writer.sample(NAME, renderLabels({ scope, run: 'r' }), 1, 0);
        const { samples } = parseExposition(writer.finish().toString(), 'openmetrics');
        expect(samples[0]?.labels).toEqual({ scope, run: 'r' });
      }),
    );
  });

  it('makes lone surrogates valid UTF-8', () => {
    expect(renderLabels({ a: 'x\ud800y' }).toString()).toBe('{a="x\ufffdy"} ');
  });
});

describe('headers', () => {
  it('names counters and infos as each format wants, with the unit where the name has one', () => {
    const text = new ExpositionWriter('text');
    const open = new ExpositionWriter('openmetrics');
    for (const writer of [text, open]) {
      writer.header({ name: 'a_byte_seconds_total', type: 'counter', help: 'A "b"\\\n.' });
      writer.floatSample('a_byte_seconds_total', none, 1);
      writer.header({ name: 'b_info', type: 'info', help: 'B.' });
      writer.floatSample('b_info', renderLabels({ x: 'y' }), 1);
    }
    expect(text.finish().toString()).toBe(
      '# HELP a_byte_seconds_total A "b"\\\\\\n.\n# TYPE a_byte_seconds_total counter\na_byte_seconds_total 1\n' +
        '# HELP b_info B.\n# TYPE b_info gauge\nb_info{x="y"} 1\n',
    );
    expect(open.finish().toString()).toBe(
      '# HELP a_byte_seconds A \\"b\\"\\\\\\n.\n# TYPE a_byte_seconds counter\n# UNIT a_byte_seconds byte_seconds\n' +
        'a_byte_seconds_total 1\n# HELP b B.\n# TYPE b info\nb_info{x="y"} 1\n# EOF\n',
    );
  });

  it('grows as it must', () => {
    const writer = new ExpositionWriter('text', 0);
    writer.header(HEADER);
    for (let i = 0; i < 5000; i++) writer.sample(NAME, renderLabels({ i: String(i) }), i, 0);
    expect(parseExposition(writer.finish().toString(), 'text').samples).toHaveLength(5000);
  });
});
