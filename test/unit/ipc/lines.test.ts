// The way of a request from bytes to a handler, on bytes of any kind: how a stream is cut into lines, and what is made
// of a line. The counterpart of native/fuzz for the half of the parsing that is TypeScript's.

import fc from 'fast-check';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { Limiter } from '../../../src/attribution/limits.js';
import type { Connection } from '../../../src/ipc/connection.js';
import { Dispatcher, type Handlers } from '../../../src/ipc/dispatch.js';
import { RPC } from '../../../src/ipc/errors.js';
import { type Line, LineSplitter } from '../../../src/ipc/framing.js';
import { METHODS, type MethodName } from '../../../src/ipc/protocol.js';

const RUNS = 400;
const MAX_BYTES = 64;
const METHOD_NAMES = Object.keys(METHODS) as MethodName[];
const CODES = new Set<number>(Object.values(RPC));

/** Parameters that many methods take, right for some of them. */
const PARAMS: Record<string, unknown> = {
  run_id: 'r-1',
  session: '0123456789abcdef0123456789abcdef',
  scopes: [{ id: 1, parent: 0, level: 'builder', name: 'b0' }],
  scope: 1,
  t_ns: 123_456_789,
  tid: 7,
  status: 'FINISHED',
  name: 'warm-up',
  event: 'e',
  data: { a: [1, null] },
  topics: ['tick'],
  steps: 3,
  delivery: 4,
  item: 5,
  file: 'events.jsonl',
  bytes: 6,
};

const request = fc
  .record({
    method: fc.oneof(fc.constantFrom(...METHOD_NAMES), fc.constantFrom('', '__proto__', 'toString', 'run')),
    id: fc.option(fc.oneof(fc.integer(), fc.string(), fc.constant(null)), { nil: undefined }),
    keys: fc.oneof(fc.constant(Object.keys(PARAMS)), fc.subarray(Object.keys(PARAMS))),
    more: fc.dictionary(
      fc.oneof(fc.constantFrom('__proto__', ...Object.keys(PARAMS)), fc.string()),
      fc.jsonValue(),
    ),
  })
  .map(({ method, id, keys, more }) => {
    const params = Object.fromEntries([...keys.map((key) => [key, PARAMS[key]]), ...Object.entries(more)]);
    return Buffer.from(JSON.stringify({ jsonrpc: '2.0', id, method, params }));
  });

/** One byte changed, bytes cut out, doubled or put in: what a fuzzer does. */
const mutation = fc.record({
  how: fc.constantFrom('change', 'cut', 'double', 'insert'),
  at: fc.double({ min: 0, max: 1, noNaN: true }),
  length: fc.integer({ min: 1, max: 40 }),
  bytes: fc.uint8Array({ minLength: 1, maxLength: 8 }),
});

type Mutation = typeof mutation extends fc.Arbitrary<infer T> ? T : never;

function mutate(bytes: Buffer, { how, at, length, bytes: put }: Mutation): Buffer {
  const start = Math.floor(at * bytes.length);
  const [before, after] = [bytes.subarray(0, start), bytes.subarray(start)];
  if (how === 'change') return Buffer.concat([before, put.subarray(0, 1), after.subarray(1)]);
  if (how === 'cut') return Buffer.concat([before, after.subarray(length)]);
  if (how === 'double') return Buffer.concat([before, after.subarray(0, length), after]);
  return Buffer.concat([before, put, after]);
}

const line: fc.Arbitrary<Line> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc
      .tuple(request, fc.array(mutation, { maxLength: 4 }))
      .map(([r, m]) => m.reduce(mutate, r).toString('utf8')),
  },
  {
    weight: 1,
    arbitrary: fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes).toString('utf8')),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.constantFrom('[', '{"a":', '"'), fc.integer({ max: 9000, min: 1 }))
      .map(([s, n]) => s.repeat(n)),
  },
  { weight: 1, arbitrary: fc.jsonValue().map((value) => JSON.stringify(value)) },
  { weight: 1, arbitrary: fc.constant(undefined) },
);

interface Answer {
  jsonrpc: string;
  id: unknown;
  result?: unknown;
  error?: { code: number; message: string };
}

/** A dispatcher whose handlers only note what they were given, in place of an agent behind a socket. */
function bench() {
  const answers: Answer[] = [];
  const calls: { method: MethodName; params: unknown }[] = [];
  const handlers = Object.fromEntries(
    METHOD_NAMES.map((method) => [
      method,
      (_: Connection, params: unknown) => {
        calls.push({ method, params });
        return {};
      },
    ]),
  ) as unknown as Handlers;
  const send = (answer: Answer) => answers.push(answer);
  const connection = { send, spend: () => undefined } as unknown as Connection;
  const dispatcher = new Dispatcher(handlers, new Limiter(), pino({ level: 'silent' }));
  return { answers, calls, connection, dispatcher };
}

function errorsOf(dispatcher: Dispatcher): number {
  return [...dispatcher.errors.values()].reduce((sum, count) => sum + count, 0);
}

function parsed(text: Line): { id?: unknown } | undefined {
  try {
    const value = JSON.parse(text ?? '');
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

function isId(value: unknown): boolean {
  return typeof value === 'string' || typeof value === 'number';
}

describe('LineSplitter on any bytes', () => {
  it('cuts them as one would cut the whole, however they are chopped', () => {
    const bytes = fc.array(fc.oneof(fc.constant(0x0a), fc.constantFrom(0x61, 0xff)), { maxLength: 400 });
    const sizes = fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1 });
    fc.assert(
      fc.property(bytes, sizes, (stream, chunks) => {
        const splitter = new LineSplitter(MAX_BYTES);
        const got: Line[] = [];
        for (let at = 0, i = 0; at < stream.length; i++) {
          const size = chunks[i % chunks.length] as number;
          got.push(...splitter.push(Buffer.from(stream.slice(at, at + size))));
          expect(splitter.held).toBeLessThanOrEqual(MAX_BYTES);
          at += size;
        }
        const whole = Buffer.from(stream).toString('latin1').split('\n');
        const unfinished = whole.pop() as string;
        if (unfinished.length > MAX_BYTES) whole.push(unfinished); // told as soon as it is known
        const expected = whole.map((text) =>
          text.length > MAX_BYTES ? undefined : Buffer.from(text, 'latin1').toString('utf8'),
        );
        expect(got).toEqual(expected);
      }),
      { numRuns: RUNS },
    );
  });
});

describe('Dispatcher on any line', () => {
  it('answers at most once, to the id that asked, and calls no handler with what its schema refuses', () => {
    const reached = new Set<MethodName>();
    fc.assert(
      fc.property(fc.array(line, { minLength: 1, maxLength: 5 }), (lines) => {
        const { answers, calls, connection, dispatcher } = bench();
        for (const text of lines) {
          const before = { answers: answers.length, calls: calls.length, errors: errorsOf(dispatcher) };
          dispatcher.handle(connection, text);
          const [answer] = answers.slice(before.answers);
          expect(answers.length - before.answers).toBeLessThanOrEqual(1);
          expect(calls.length - before.calls + errorsOf(dispatcher) - before.errors).toBe(1);
          const id = parsed(text)?.id;
          if (answer === undefined) {
            expect(isId(id)).toBe(false);
            continue;
          }
          expect(answer.jsonrpc).toBe('2.0');
          expect(answer.id).toEqual(isId(id) ? id : null);
          expect('result' in answer).toBe(!('error' in answer));
          if (answer.error) expect(CODES.has(answer.error.code)).toBe(true);
        }
        for (const { method, params } of calls) {
          reached.add(method);
          expect(METHODS[method].params.safeParse(params).success).toBe(true);
        }
        expect(dispatcher.requests).toBe(lines.length);
      }),
      { numRuns: 2 * RUNS },
    );
    // Else all of it would have been refused at the door.
    expect(reached.size).toBeGreaterThan(METHOD_NAMES.length / 2);
  });
});
