// The merge of several nodes' summaries: the same bytes in whatever order, exact sums, and never less with one more.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { baseOf, nativeOf } from '../../../src/files/exact.js';
import { mergedText, mergeSummaries } from '../../../src/files/merged-summary.js';
import { mergedFrom, type Natives, readNodeSummary, totalOf } from '../../../src/files/node-summary.js';
import type { MergedSummary } from '../../../src/files/summary-document.js';
import { summaryText } from '../../../src/files/summary-text.js';
import { COLUMN_LIST, type ColumnUnit } from '../../../src/native/frame.js';
import { added, columnsOf, type NodeParts, nodeDocument, totalsOf } from '../support/node-document.js';
import { exampleRun } from './fake-run.js';

const MOST: Record<ColumnUnit, bigint> = {
  ns: 1n << 50n,
  byte_ns: 1n << 100n,
  uj: 1n << 50n,
  bytes: 1n << 46n,
  count: 1n << 40n,
};
const natives: fc.Arbitrary<Natives> = fc
  .tuple(...COLUMN_LIST.map(({ unit }) => fc.option(fc.bigInt(0n, MOST[unit]), { nil: undefined })))
  .map((values) =>
    Object.fromEntries(
      COLUMN_LIST.flatMap(({ name }, n) => (values[n] === undefined ? [] : [[name, values[n]]])),
    ),
  );
const part: fc.Arbitrary<NodeParts> = fc.record({
  node: fc.constantFrom('node-a', 'node-b', 'node-c', 'é d'),
  bootId: fc.constantFrom('boot-1', 'boot-2', 'boot-3'),
  attempt: fc.integer({ min: 1, max: 3 }),
  status: fc.constantFrom('FINISHED', 'FAILED', 'KILLED', 'LOST', 'INTERRUPTED'),
  endedAtMs: fc.integer({ min: 1_700_000_000_000, max: 1_700_000_001_000 }),
  scopes: fc.dictionary(fc.constantFrom('builder:b0', 'builder:b1', 'builder:x y'), natives),
  unattributed: natives,
});
const parts = fc.array(part, { minLength: 1, maxLength: 6 });
const read = (text: string) => readNodeSummary(Buffer.from(text), 'demo')!;
const merge = (all: readonly NodeParts[]) => mergeSummaries(all.map((one) => read(nodeDocument(one))));

/** Everything of it that goes to MLflow as a figure. */
function figuresOf({ totals, scopes }: MergedSummary): Map<string, number> {
  const lines = [
    ...Object.entries(totals).map(([column, { value }]) => [column, value] as const),
    ...scopes.flatMap(({ path, self, inclusive }) =>
      [self, inclusive].flatMap((columns, n) =>
        Object.entries(columns).map(([column, value]) => [`${path} ${n} ${column}`, value] as const),
      ),
    ),
  ];
  return new Map(lines);
}

describe('figures of a document', () => {
  it('are the integers that they were, up to 2^23 seconds', () => {
    fc.assert(
      fc.property(fc.bigInt(0n, (1n << 23n) * 1_000_000_000n), (ns) => {
        expect(nativeOf(baseOf(ns, 'ns'), 'ns')).toBe(ns);
      }),
      { numRuns: 5000 },
    );
    for (const ns of [0n, 1n, 999_999_999n, 4503599627370497n, 8388607999999999n]) {
      expect(nativeOf(baseOf(ns, 'ns'), 'ns')).toBe(ns);
    }
    expect(nativeOf(9007199254740991, 'bytes')).toBe(9007199254740991n);
  });
});

describe('a merge', () => {
  it('is the same bytes in whatever order, and however often a document is there', () => {
    fc.assert(
      fc.property(
        parts.chain((all) =>
          fc.tuple(fc.constant(all), fc.shuffledSubarray([...all, ...all], { minLength: all.length * 2 })),
        ),
        ([all, again]) => {
          expect(mergedText(merge(again))).toBe(mergedText(merge(all)));
        },
      ),
      { numRuns: 100 },
    );
  });

  it('is the sum of its documents, in integers, and its books balance', () => {
    fc.assert(
      fc.property(parts, (all) => {
        const once = [...new Map(all.map((one) => [nodeDocument(one), one])).values()];
        const merged = JSON.parse(mergedText(merge(all))) as MergedSummary;
        const sums = added(once.map(totalsOf));
        for (const { name, additive } of COLUMN_LIST) {
          expect(merged.totals[name]?.value).toBe(columnsOf(sums)[name]);
          const line = merged.conservation[name];
          expect(line?.total).toBe(additive && sums[name] !== undefined ? String(sums[name]) : undefined);
          if (line) expect(BigInt(line.scopes) + BigInt(line.unattributed)).toBe(BigInt(line.total));
          if (line) expect(line.residual).toBe('0');
        }
        for (const { path, self } of merged.scopes) {
          const exact = added(once.flatMap(({ scopes }) => scopes[path] ?? []));
          const { memory_byte_seconds: held, gpu_memory_byte_seconds: ofGpus, ...others } = columnsOf(exact);
          expect(self).toMatchObject(others);
          if (held !== undefined)
            expect(self.memory_byte_seconds! / (held || 1)).toBeCloseTo(held ? 1 : 0, 12);
          if (ofGpus !== undefined)
            expect(self.gpu_memory_byte_seconds! / (ofGpus || 1)).toBeCloseTo(ofGpus ? 1 : 0, 12);
        }
        expect(merged.scopes.map(({ path }) => path)).toEqual(
          [...new Set(once.flatMap(({ scopes }) => Object.keys(scopes)))].sort(),
        );
      }),
      { numRuns: 100 },
    );
  });

  it('is never less than a merge of fewer: not in a figure, not in attempt or end', () => {
    fc.assert(
      fc.property(parts, part, (all, more) => {
        const [less, greater] = [merge(all), merge([...all, more])];
        const after = figuresOf(greater);
        for (const [name, value] of figuresOf(less)) expect(after.get(name)).toBeGreaterThanOrEqual(value);
        expect(greater.run.attempt).toBeGreaterThanOrEqual(less.run.attempt);
        expect(greater.run.ended_at! >= less.run.ended_at!).toBe(true);
      }),
      { numRuns: 100 },
    );
  });

  it('counts each machine once, says whose the peaks are, and has the worst status of the last attempts', () => {
    const peak = (bytes: bigint) => ({
      scopes: {},
      unattributed: { cpu_seconds: 1n, memory_peak_bytes: bytes },
    });
    const merged = merge([
      { node: 'b', ...peak(7n), status: 'KILLED', reason: 'out of memory' },
      { node: 'a', ...peak(9n), attempt: 1, status: 'LOST', bootId: 'before it was rebooted', cpus: 4 },
      { node: 'a', ...peak(5n), attempt: 2, cpus: 4 },
      { node: 'c', bootId: 'boot of b', scopes: {}, unattributed: { cpu_seconds: 2n } },
    ]);
    expect(merged.hosts).toEqual({ count: 2, cpus: 12, memory_bytes: 2000 });
    expect(merged.nodes.map(({ name }) => name)).toEqual(['a', 'b']);
    expect(merged.totals.memory_peak_bytes).toMatchObject({
      value: 9,
      nodes: { a: 9, b: 7 },
      unknown_on: ['c'],
    });
    expect(merged.totals.cpu_seconds).toEqual({
      value: 5e-9,
      method: 'measured',
      scopes_method: 'apportioned',
      source: 'proc_io',
      coverage: 0.5,
    });
    expect(merged.run).toMatchObject({ attempt: 2, status: 'KILLED', reason: 'b: out of memory' });
    expect(merged.merged_from.map(({ node, attempt }) => [node, attempt])).toEqual([
      ['a', 1],
      ['a', 2],
      ['b', 1],
      ['c', 1],
    ]);
  });
});

describe('a document that an agent wrote', () => {
  it('is read back with the integers that it was made of', () => {
    const run = exampleRun();
    const node = { name: 'n', boot_id: 'b', architecture: 'x64', kernel: 'k', cpus: 2, memory_bytes: 8 };
    const context = { node, agent: { version: '1' }, user: 'ada' };
    const document = readNodeSummary(Buffer.from([...summaryText(run, [], context)].join('')), run.runId);
    const merged = mergeSummaries([document!]);
    for (const column of COLUMN_LIST) {
      const { name, additive } = column;
      expect(totalOf(document!, column)).toBe(run.totals.native(name));
      if (additive) expect(merged.unattributed[name]).toBe(run.unattributed.value(name));
    }
    for (const { path, self } of merged.scopes) expect(self).toEqual(run.scope(path)!.self.toColumns());
    expect(merged.scopes.map(({ inclusive }) => inclusive)).toHaveLength(run.scopeCount);
  });
});

describe('what is no summary of a node', () => {
  const text = nodeDocument({ node: 'a', scopes: { 'builder:b0': { cpu_seconds: 5n } }, unattributed: {} });

  it.each([
    ['another run’s', nodeDocument({ node: 'a', runId: 'other', scopes: {}, unattributed: {} })],
    ['cut short', text.slice(0, -20)],
    ['of another schema', text.replace('lezea.resources/v1', 'lezea.resources/v9')],
    ['with a scope that has no path', text.replace('builder:b0', 'nonsense')],
    ['with a figure below zero', text.replaceAll('5e-9', '-5e-9')],
    ['with books that do not balance', text.replace('"residual":"0"', '"residual":"1"')],
    ['a merge', mergedText(mergeSummaries([read(text)]))],
  ])('is %s', (_what, other) => {
    expect(readNodeSummary(Buffer.from(other), 'demo')).toBeUndefined();
  });

  it('is known for a merge by what it was made from', () => {
    const merged = Buffer.from(mergedText(mergeSummaries([read(text)])));
    expect(mergedFrom(merged)).toEqual([read(text).sha256]);
    expect(mergedFrom(Buffer.from(text))).toBeUndefined();
  });
});

it('says of each node what its last attempt ran on, where that is known', () => {
  const of = (node: string, attempt: number, environment?: string) => ({
    ...{ node, attempt, scopes: {}, unattributed: { cpu_seconds: 1n } },
    ...(environment !== undefined && { environment }),
  });
  const documents = [of('node-a', 1, 'old'), of('node-a', 2, 'aa'), of('node-b', 1, 'bb'), of('node-c', 1)];
  expect(merge(documents).environments).toEqual({ 'node-a': 'aa', 'node-b': 'bb' });
  expect(merge([of('node-c', 1)])).not.toHaveProperty('environments');
});
