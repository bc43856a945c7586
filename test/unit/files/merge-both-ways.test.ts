// The merge of the Python client is the agent's: the same bytes, figures and tags for whatever lies at the tracker.

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { sha256 } from '../../../src/delivery/mlflow/artifacts.js';
import { bodyOf } from '../../../src/delivery/mlflow/items.js';
import { mergedFacts } from '../../../src/delivery/mlflow/merge.js';
import { metricBatches, tagsOf } from '../../../src/delivery/mlflow/plan.js';
import { mergedText, mergeSummaries } from '../../../src/files/merged-summary.js';
import { mergedFrom, type Natives, readNodeSummary } from '../../../src/files/node-summary.js';
import { COLUMN_LIST, type ColumnUnit } from '../../../src/native/frame.js';
import { type NodeParts, nodeDocument } from '../support/node-document.js';

const MOST: Record<ColumnUnit, bigint> = {
  ns: 1n << 60n,
  byte_ns: 1n << 110n,
  uj: 1n << 60n,
  bytes: 1n << 60n,
  count: 1n << 50n,
};

const natives: fc.Arbitrary<Natives> = fc
  .tuple(
    ...COLUMN_LIST.map(({ unit }) =>
      fc.option(fc.oneof(fc.bigInt(0n, MOST[unit]), fc.bigInt(0n, 2000n)), { nil: undefined }),
    ),
  )
  .map((values) =>
    Object.fromEntries(
      COLUMN_LIST.flatMap(({ name }, n) => (values[n] === undefined ? [] : [[name, values[n]]])),
    ),
  );

/** Texts that are sorted, written or encoded in more than one way. */
const text = fc.oneof(
  fc.constantFrom('a', '7', '10', '01', 'é d', 'Z', '\u{1f600}', '\uffee', '..', 'a.x41', 'total', '\ud83d'),
  fc.string({ unit: 'binary', minLength: 1, maxLength: 90 }),
);
const path = fc
  .array(
    fc.tuple(
      fc.constantFrom('builder', 'cut', 'cpu_seconds', 'layer'),
      text.map((name) => name.replaceAll('/', '_')),
    ),
    { minLength: 1, maxLength: 4 },
  )
  .map((steps) => steps.map(([level, name]) => `${level}:${name}`).join('/'));
const node = fc.oneof({ weight: 3, arbitrary: fc.constantFrom('node-a', 'node-b', '12', '9') }, text);
const part: fc.Arbitrary<NodeParts> = fc.record({
  node,
  bootId: fc.constantFrom('boot-1', 'boot-2', 'boot-3'),
  attempt: fc.integer({ min: 1, max: 3 }),
  status: fc.constantFrom('FINISHED', 'FAILED', 'KILLED', 'LOST', 'INTERRUPTED'),
  reason: fc.oneof(text, fc.constant('x\0y'.repeat(3000))),
  endedAtMs: fc.integer({ min: 1_700_000_000_000, max: 1_700_000_001_000 }),
  scopes: fc.dictionary(fc.oneof(fc.constantFrom('builder:b0', 'builder:b1'), path), natives, { maxKeys: 4 }),
  unattributed: natives,
});

/** What documents have that `nodeDocument` does not vary; and what makes one no document. */
const changes = fc.record(
  {
    tags: fc.dictionary(
      text.filter((key) => key !== '__proto__'),
      text,
      { maxKeys: 4 },
    ),
    experiment: text,
    world_size: fc.constantFrom(1, 16, 0, 1.5),
    started_at: fc.constantFrom(
      '2026-01-01T00:00Z',
      '2026-01-01T00:00:59.5Z',
      '2026-02-30T00:00:00Z',
      'today',
    ),
    ended_at: fc.constantFrom('2026-01-01T00:01Z', '2027-12-31T23:59:59.98765Z', 5),
    attempt: fc.constantFrom(1, 2, -1, 1e16),
    id: fc.constantFrom('demo', 'demo', 'demo', 'another'),
  },
  { requiredKeys: [] },
);
const environment = fc.oneof(
  { weight: 4, arbitrary: text.map((fingerprint) => ({ environment: { fingerprint } })) },
  fc.constantFrom({}, { environment: {} }, { environment: null }, { environment: { fingerprint: 5 } }),
);
const document = fc
  .tuple(part, fc.option(changes, { nil: {}, freq: 2 }), fc.option(environment, { nil: {} }), fc.nat(19))
  .map(([parts, changed, ranOn, cut]) => {
    const whole = JSON.parse(nodeDocument(parts));
    const written = JSON.stringify({ ...whole, ...ranOn, run: { ...whole.run, ...changed } });
    return cut === 0 ? written.slice(0, written.length / 2) : written;
  });

/** As it is written to the tracker: half a character is none there. */
const asStored = (written: string) => Buffer.from(written).toString();

it('is the same in Python', () => {
  const cases = fc.sample(fc.array(document.map(asStored), { minLength: 1, maxLength: 5 }), 150);
  expect(compared(cases)).toBeGreaterThan(50);
});

it('is the same where somebody wrote what no agent writes', () => {
  const whole = nodeDocument({ node: 'n', scopes: { 'builder:b': { cpu_seconds: 1n } }, unattributed: {} });
  const changes: [from: RegExp, to: string][] = [
    [/$/, ''],
    [/"value":[^,]+/, '"value":1e31'],
    [/"value":[^,]+/, '"value":1e308'],
    [/"value":[^,]+/, '"value":1e400'],
    [/"value":[^,]+/, '"value":NaN'],
    [/"self":\{/, '"self":{"__proto__":"no figure",'],
    [/"totals":\{/, '"totals":{"__proto__":5,'],
    [/"conservation":\{/, '"conservation":{"__proto__":5,'],
    [/"tags":\{\}/, '"tags":{"__proto__":5}'],
    [/"started_at":"[^"]+"/, '"started_at":"0000-01-01T00:00:00Z"'],
  ];
  const cases = changes.map(([from, to]) => {
    expect(whole).toMatch(from);
    return [whole.replace(from, to)];
  });
  expect(compared(cases)).toBe(6);
});

/** Merges each case in both ways. How many there were that are a merge. */
function compared(cases: readonly string[][]): number {
  const script = fileURLToPath(new URL('../../../python/tests/merge_lines.py', import.meta.url));
  const input = cases.map((one) => `${JSON.stringify(one)}\n`).join('');
  const { stdout, stderr, status } = spawnSync('python3', [script], { input, maxBuffer: 1 << 28 });
  expect({ status, stderr: stderr.toString() }).toEqual({ status: 0, stderr: '' });
  const answers = stdout.toString().trim().split('\n');
  expect(answers).toHaveLength(cases.length);
  let merges = 0;
  for (const [n, documents] of cases.entries()) {
    const read = documents.map((written) => readNodeSummary(Buffer.from(written), 'demo'));
    const answer = JSON.parse(answers[n] ?? '');
    expect(answer.read, JSON.stringify(documents.map((one) => one.slice(0, 400)))).toEqual(
      read.map((one) => one !== undefined),
    );
    const summaries = read.flatMap((one) => one ?? []);
    if (summaries.length === 0) continue;
    merges += 1;
    const merged = mergeSummaries(summaries);
    const written = Buffer.from(mergedText(merged));
    expect(answer.text).toBe(written.toString());
    const { figures, facts } = mergedFacts(merged, sha256(written));
    expect(answer.metrics).toEqual(
      [...metricBatches(figures)].flatMap((item) => bodyOf(item, 'metrics').metrics),
    );
    expect(answer.tags).toEqual(tagsOf(facts));
    expect(answer.merged_from).toEqual(mergedFrom(written));
  }
  return merges;
}
