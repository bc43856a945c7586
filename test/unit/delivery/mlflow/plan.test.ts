// What an ended run is cut into: whole, in order, the same bytes every time, and small enough for every server.

import { describe, expect, it } from 'vitest';
import type { FinalStatus } from '../../../../src/attribution/model.js';
import { bodyOf } from '../../../../src/delivery/mlflow/items.js';
import { readKey } from '../../../../src/delivery/mlflow/keys.js';
import { planRun, splitItem } from '../../../../src/delivery/mlflow/plan.js';
import type { Draft, EndedRun, Target } from '../../../../src/delivery/model.js';
import { COLUMN_LIST } from '../../../../src/native/frame.js';
import { endedRun, everyColumn, manyScopes } from '../../support/ended-run.js';
import { nodeRun } from '../../support/node-run.js';

const attached: Target = { kind: 'mlflow', address: 'http://tracker', settings: { mlflow_run_id: 'm1' } };

const plan = (run: EndedRun, settings: Record<string, string> = { mlflow_run_id: 'm1' }) => [
  ...planRun(run, { ...attached, settings }),
];
const of = (drafts: Draft[], kind: string) => drafts.filter((draft) => draft.kind === kind);
const metricsOf = (drafts: Draft[]) =>
  of(drafts, 'metrics').flatMap((item) => bodyOf(item, 'metrics').metrics);

describe('metrics', () => {
  it('say every figure of the run and of every scope, itself and inclusive', () => {
    const scopes = manyScopes(30);
    const metrics = metricsOf(plan(endedRun({ scopes })));
    expect(metrics).toHaveLength(COLUMN_LIST.length * 61);
    expect(new Set(metrics.map(({ key }) => key)).size).toBe(metrics.length);
    for (const { key, value, timestamp, step } of metrics) {
      const meaning = readKey(key)!;
      const from = scopes.find(({ path }) => path === meaning.path)?.[meaning.share] ?? everyColumn(0);
      expect(value).toBe(from[meaning.column]);
      expect([timestamp, step]).toEqual([1_700_000_060_000, 1]);
    }
  });

  it('leave out what is zero, unknown or no number', () => {
    const totals = { cpu_seconds: 0, minor_faults: Number.NaN, major_faults: 1 / 0, active_seconds: 0.5 };
    const metrics = metricsOf(plan(endedRun({ totals, scopes: [{ path: 'a:b', self: {}, inclusive: {} }] })));
    expect(metrics).toEqual([
      { key: 'resources/total/active_seconds', value: 0.5, timestamp: 1_700_000_060_000, step: 1 },
    ]);
  });

  it('are at most 100 keys and 40 KiB an item', () => {
    const long = manyScopes(40).map((line) => ({ ...line, path: `${line.path}/layer:${'#'.repeat(30)}` }));
    const items = of(plan(endedRun({ scopes: long })), 'metrics');
    for (const item of items) {
      expect(bodyOf(item, 'metrics').metrics.length).toBeLessThanOrEqual(100);
      expect(Buffer.byteLength(item.body)).toBeLessThanOrEqual(40 * 1024);
    }
    expect(metricsOf(items)).toHaveLength(COLUMN_LIST.length * 81);
  });
});

describe('a plan', () => {
  it('is the same bytes every time', () => {
    const once = plan(endedRun({ scopes: manyScopes(20), outcome: { status: 'FAILED', reason: 'x' } }));
    const again = plan(endedRun({ scopes: manyScopes(20), outcome: { status: 'FAILED', reason: 'x' } }));
    expect(again).toEqual(once);
    expect(once.map(({ stage }) => stage)).toEqual([...once].map(({ stage }) => stage).sort());
  });

  it('names every document with its size and hash', () => {
    const run = endedRun();
    expect(of(plan(run), 'artifact').map((item) => JSON.parse(item.body))).toEqual(run.files);
    const files = [{ path: 'a', bytes: 1, sha256: 'f', replaces: ['e'] }];
    expect(JSON.parse(of(plan({ ...run, files }), 'artifact')[0]!.body)).toEqual(files[0]);
  });

  it('tags the run with how it came out and which document says so', () => {
    const run = endedRun({ outcome: { status: 'KILLED', reason: 'out of memory' }, attempt: 3 });
    const tags = Object.fromEntries(
      bodyOf(of(plan(run), 'tags')[0]!, 'tags').tags.map(({ key, value }) => [key, value]),
    );
    expect(tags).toEqual({
      'lezea_monitor.status': 'KILLED',
      'lezea_monitor.reason': 'out of memory',
      'lezea_monitor.run_id': 'demo',
      'lezea_monitor.node': 'node-a',
      'lezea_monitor.attempt': '3',
      'lezea_monitor.summary_sha256': run.files[0]!.sha256,
    });
  });

  it('cuts a reason that MLflow would cut, in whole characters, and sends the lack of one', () => {
    const reasonOf = (reason?: string) => {
      const drafts = plan(endedRun({ outcome: { status: 'FAILED', ...(reason && { reason }) } }));
      return bodyOf(of(drafts, 'tags')[0]!, 'tags').tags[1]!.value;
    };
    expect(reasonOf('a'.repeat(5000))).toBe('a'.repeat(5000));
    expect(reasonOf(`${'a'.repeat(4998)}${'🙂'.repeat(9)}`)).toBe(`${'a'.repeat(4998)}…`);
    expect(reasonOf('a\0b\ud800c')).toBe('ab\ufffdc');
    expect(reasonOf()).toBe('');
  });

  it.each<[FinalStatus, string]>([
    ['FINISHED', 'FINISHED'],
    ['FAILED', 'FAILED'],
    ['INTERRUPTED', 'KILLED'],
    ['KILLED', 'KILLED'],
    ['LOST', 'FAILED'],
  ])('closes a dead run that was %s as %s', (status, closed) => {
    const drafts = plan(endedRun({ outcome: { status } }));
    expect(JSON.parse(of(drafts, 'end')[0]!.body)).toEqual({ status: closed, end_time: 1_700_000_060_000 });
    expect(of(plan(endedRun({ outcome: { status }, allDead: false })), 'end')).toEqual([]);
  });

  it('makes a run only if asked to and if there is none, and then ends it too', () => {
    const create = { mlflow_create: 'true', mlflow_experiment: 'demo' };
    const drafts = plan(endedRun({ allDead: false, name: 'mine' }), create);
    expect(JSON.parse(of(drafts, 'create')[0]!.body)).toEqual({
      run_name: 'mine',
      start_time: 1_700_000_000_000,
    });
    expect(of(drafts, 'end')).toHaveLength(1);
    expect(of(plan(endedRun(), { ...create, mlflow_run_id: 'm1' }), 'create')).toEqual([]);
    expect(plan(endedRun(), { mlflow_create: 'yes' })).toEqual([]);
  });
});

it('tells by a tag what the run ran on, and brings that document like the others', () => {
  const run = endedRun({
    documents: { 'resources/summary.json': '{}', 'environment/full.json': '{"schema":1}' },
    environmentFingerprint: 'ab12',
  });
  const drafts = plan({ ...run, attempts: [{ attempt: 1, files: run.files }] });
  expect(JSON.parse(of(drafts, 'tags')[0]!.body).tags).toContainEqual({
    key: 'lezea_monitor.environment_fingerprint',
    value: 'ab12',
  });
  const paths = of(drafts, 'artifact').map(({ body }) => JSON.parse(body).path);
  expect(paths).toContain('environment/full.json');
  expect(paths).toContain('resources/attempts/1/environment/full.json');
  const onNode = of(plan({ ...run, spansNodes: true }), 'artifact').map(({ body }) => JSON.parse(body).path);
  expect(onNode).toEqual([`resources/nodes/${run.node}/environment/full.json`]);
});

describe('a run with ranks', () => {
  const run = nodeRun({ node: 'node é', status: 'FAILED' }, 1);

  it('says what is of this node under its name, and leaves the rest to the merge', () => {
    const drafts = plan(run);
    expect(drafts.map(({ stage }) => stage)).toEqual(drafts.map(({ stage }) => stage).sort());
    for (const { key } of metricsOf(drafts)) expect(readKey(key)).toMatchObject({ node: 'node é' });
    const folder = 'resources/nodes/node.x20.xc3.xa9';
    expect(JSON.parse(of(drafts, 'artifact')[0]!.body).path).toBe(`${folder}/events.jsonl`);
    const summary = run.files.find(({ path }) => path === 'resources/summary.json');
    expect(of(drafts, 'merge').map(({ body }) => JSON.parse(body))).toEqual([
      { ...summary, node: 'node é', path: `${folder}/summary.json` },
    ]);
    expect(of(drafts, 'tags')).toEqual([]);
  });

  it.each([
    [undefined, 1],
    [0, 1],
    [3, 0],
  ])('closes the MLflow run where its first rank was: rank %s', (rank, ends) => {
    expect(of(plan({ ...run, ...(rank !== undefined && { rank }) }), 'end')).toHaveLength(ends);
  });

  it('has no merge without a summary, but tags', () => {
    const drafts = plan({ ...run, files: [] });
    expect(of(drafts, 'merge')).toEqual([]);
    expect(of(drafts, 'tags')).toHaveLength(1);
  });

  it('has the documents of every attempt before the merge of them', () => {
    const again = nodeRun({ node: 'n', attempt: 2 }, 2, nodeRun({ node: 'n' }, 1));
    const paths = (one: EndedRun) => of(plan(one), 'artifact').map(({ body }) => JSON.parse(body).path);
    const attempts = ['attempts/1/summary.json', 'attempts/1/events.jsonl', 'attempts/2/summary.json'];
    const inNode = attempts.map((path) => `resources/nodes/n/${path}`);
    expect(paths(again).slice(0, 3)).toEqual(inNode);
    expect(paths({ ...again, spansNodes: false })).toEqual([
      ...attempts.map((path) => `resources/${path}`),
      'resources/attempts/2/events.jsonl',
      ...again.files.map(({ path }) => path),
    ]);
    expect(JSON.parse(of(plan(again), 'merge')[0]!.body).replaces).toEqual([
      again.attempts![0]!.files[0]!.sha256,
    ]);
  });
});

describe('an item that was refused', () => {
  const item = (draft: Draft) => ({ ...draft, id: 1 });

  it('is cut in halves until a single figure or tag is left', () => {
    const [first] = of(plan(endedRun()), 'metrics');
    const whole = bodyOf(first!, 'metrics').metrics;
    const parts = splitItem(item(first!));
    expect(parts.flatMap((part) => bodyOf(part, 'metrics').metrics)).toEqual(whole);
    let smallest = first!;
    while (splitItem(item(smallest)).length > 0) smallest = splitItem(item(smallest))[1]!;
    expect(bodyOf(smallest, 'metrics').metrics).toEqual([whole.at(-1)]);
    const [tags] = of(plan(endedRun()), 'tags');
    expect(splitItem(item(tags!)).flatMap((part) => bodyOf(part, 'tags').tags)).toHaveLength(6);
  });

  it('is as small as it gets when it is a document or an end', () => {
    const drafts = plan(endedRun());
    for (const kind of ['artifact', 'end']) expect(splitItem(item(of(drafts, kind)[0]!))).toEqual([]);
  });
});
