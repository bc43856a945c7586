// The files of a run on a real disk: whole or not at all, and read back in pieces.

import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Run, RunEvent } from '../../../src/attribution/model.js';
import { writeAtomically } from '../../../src/files/atomic.js';
import { constraintsDocument } from '../../../src/files/constraints-document.js';
import { costDocument } from '../../../src/files/cost-document.js';
import type { CostSettings } from '../../../src/files/cost-rates.js';
import { userName } from '../../../src/files/facts.js';
import { RunDocuments } from '../../../src/files/run-documents.js';
import {
  CONSTRAINTS_FILE,
  COST_FILE,
  ENVIRONMENT_FILE,
  EVENTS_FILE,
  eventLines,
  HARDWARE_USAGE_FILE,
  METRICS_FILE,
  readRunFile,
  runFolder,
  SUMMARY_FILE,
} from '../../../src/files/run-files.js';
import { RunFolders } from '../../../src/files/run-folders.js';
import { collectEnvironment } from '../../../src/inventory/collect.js';
import { type Environment, environment as environmentSchema } from '../../../src/inventory/document.js';
import { withRun } from '../../../src/inventory/run-environment.js';
import { nodeFiles } from '../inventory/node-files.js';
import { pricesOf } from '../support/prices.js';
import { exampleRun, fakeProcess, fakeRun, totals } from './fake-run.js';

let folder: string;
let environment: Environment;
let prices: CostSettings;

beforeEach(async () => {
  prices = pricesOf({});
  environment = await collectEnvironment({ version: '0.1.0', nowMs: 0, files: nodeFiles(), ask: null });
  folder = mkdtempSync(join(tmpdir(), 'lezea-files-'));
});

afterEach(() => rmSync(folder, { recursive: true }));

const FACTS = { dataset_version: 'v3' };
const events: RunEvent[] = [
  { seq: 1, wallMs: 0, monoNs: 10n, event: 'run.started', data: { run_id: 'demo-1' } },
  { seq: 2, wallMs: 1500, monoNs: 1_500_000_010n, event: 'note', data: { text: 'a\nb' } },
];

function documents(told: readonly RunEvent[] = events): RunDocuments {
  return new RunDocuments({
    stateDir: folder,
    store: { endedProcesses: () => [fakeProcess()], events: () => told, facts: () => FACTS },
    node: { name: 'n', boot_id: 'b', architecture: 'x64', kernel: 'k', cpus: 1, memory_bytes: 1 },
    version: '0.1.0',
    overheadCpuSeconds: () => undefined,
    environment: async () => environment,
    prices: () => prices,
  });
}

test('all documents are written, one JSON object a line in the audit trail', async () => {
  const run = exampleRun();
  await documents().write(run);
  const where = runFolder(folder, run);
  expect(readdirSync(where).sort()).toEqual([
    'environment',
    EVENTS_FILE,
    HARDWARE_USAGE_FILE,
    METRICS_FILE,
    'resources',
  ]);
  expect(readdirSync(join(where, 'environment'))).toEqual(['full.json']);
  expect(readdirSync(join(where, 'resources'))).toEqual(['summary.json']);
  const lines = readFileSync(join(where, EVENTS_FILE), 'utf8').trimEnd().split('\n');
  expect(lines.map((line) => JSON.parse(line))).toEqual([
    {
      schema: 'lezea.events/v1',
      seq: 1,
      ts: '1970-01-01T00:00:00.000Z',
      mono: 10,
      run_id: 'demo-1',
      attempt: 1,
      event: 'run.started',
      data: { run_id: 'demo-1' },
    },
    expect.objectContaining({ seq: 2, ts: '1970-01-01T00:00:01.500Z', data: { text: 'a\nb' } }),
  ]);
});

test('what a run ran on is with it, and its fingerprint in the summary', async () => {
  const run = exampleRun();
  const all = documents();
  await all.write(run);
  const written = JSON.parse((await all.whole(run, ENVIRONMENT_FILE)).toString());
  const expected = withRun(environment, run, FACTS);
  expect(environmentSchema.parse(written)).toEqual(expected);
  const fingerprints = {
    fingerprint: environment.fingerprint.stable,
    run_fingerprint: expected.run.fingerprint.sha256,
  };
  const summary = JSON.parse((await all.whole(run, SUMMARY_FILE)).toString());
  expect(summary.environment).toEqual(fingerprints);
  expect(await all.fingerprints(run)).toEqual(fingerprints);
  expect(await all.list(run)).toEqual([
    SUMMARY_FILE,
    ENVIRONMENT_FILE,
    METRICS_FILE,
    HARDWARE_USAGE_FILE,
    EVENTS_FILE,
  ]);
});

test('a run that a reboot ended has no environment: the node may be another by now', async () => {
  const run = exampleRun();
  const restarted = (same: boolean) => ({
    ...events[0]!,
    seq: 3,
    event: 'agent.restarted',
    data: { same_boot: same },
  });
  const all = documents([...events, restarted(true), restarted(false)]);
  await all.write(run);
  expect(await all.list(run)).toEqual([SUMMARY_FILE, METRICS_FILE, HARDWARE_USAGE_FILE, EVENTS_FILE]);
  expect(JSON.parse((await all.whole(run, SUMMARY_FILE)).toString())).not.toHaveProperty('environment');
  expect(await all.fingerprints(run)).toBeUndefined();
  await expect(all.read(run, { file: ENVIRONMENT_FILE, offset: 0, limit: 1 })).rejects.toThrow('not there');
  const another = documents([...events, restarted(true)]);
  await another.write(run);
  expect(await another.list(run)).toContain(ENVIRONMENT_FILE);
});

test('what a run cost is with it where anything that it used has a price', async () => {
  const run = exampleRun();
  const all = documents();
  for (const unpriced of [{}, { gpu_per_hour: 2, energy_per_kwh: 0.3 }]) {
    prices = pricesOf(unpriced);
    await all.write(run);
    expect(await all.list(run)).not.toContain(COST_FILE);
  }
  prices = pricesOf({ gpu_per_hour: 2, cpu_per_core_hour: 0.05 });
  await all.write(run);
  expect(await all.list(run)).toEqual([
    SUMMARY_FILE,
    ENVIRONMENT_FILE,
    COST_FILE,
    METRICS_FILE,
    HARDWARE_USAGE_FILE,
    EVENTS_FILE,
  ]);
  const first = await all.whole(run, COST_FILE);
  expect(JSON.parse(first.toString())).toMatchObject({
    rates_eur: { gpu_hour_eur: 2, cpu_core_hour_eur: 0.05 },
  });
  await all.write(run);
  expect((await all.whole(run, COST_FILE)).equals(first)).toBe(true);
});

test('a run that was limited has a document of that, which its schema describes; others have none', async () => {
  const all = documents();
  const limits: Run['limits'] = [
    { limit: 'runtime_seconds', value: 60, used: 10, remaining: 50, ratio: 1 / 6, state: 'ok' },
    {
      limit: 'steps',
      level: 'tasker',
      value: 8,
      used: 9,
      remaining: 0,
      ratio: 1.125,
      state: 'exceeded',
      warnedAtMs: 0,
      exceededAtMs: 1500,
    },
    { limit: 'gpu_hours', value: 1, state: 'unknown' },
    {
      limit: 'cost',
      experiment: 'demo',
      value: 5,
      used: 4,
      remaining: 1,
      ratio: 0.8,
      state: 'warned',
      warnedAtMs: 0,
    },
  ];
  await all.write(exampleRun());
  expect(await all.list(exampleRun())).not.toContain(CONSTRAINTS_FILE);
  const run: Run = { ...exampleRun(), limits, onExceeded: 'terminate' };
  await all.write(run);
  expect(await all.list(run)).toContain(CONSTRAINTS_FILE);
  const text = (await all.whole(run, CONSTRAINTS_FILE)).toString();
  await expect(text).toMatchFileSnapshot('constraints.golden.json');
  expect(constraintsDocument.parse(JSON.parse(text))).toMatchObject({
    on_exceeded: 'terminate',
    runtime_limit_seconds: 60,
    step_episode_limits: { 'steps@tasker': 8 },
  });
  const summary = JSON.parse((await all.whole(run, SUMMARY_FILE)).toString());
  expect(summary.limits['steps@tasker']).toEqual({
    ...{ limit: 'steps', level: 'tasker', value: 8, used: 9, remaining: 0, ratio: 1.125, state: 'exceeded' },
  });
  expect(Object.keys(summary.limits)).toEqual([
    'runtime_seconds',
    'steps@tasker',
    'gpu_hours',
    'experiment.cost',
  ]);
});

test('a run of which nothing was measured has no figures document', async () => {
  const run = fakeRun({ scopes: [], unattributed: totals({}), totals: totals({}) });
  await documents().write(run);
  expect(await documents().list(run)).toEqual([SUMMARY_FILE, ENVIRONMENT_FILE, EVENTS_FILE]);
});

test('a file is read in pieces, and only the files of a run can be', async () => {
  const run = exampleRun();
  await documents().write(run);
  const pieces: Buffer[] = [];
  let offset = 0;
  for (let eof = false; !eof; ) {
    const piece = await readRunFile(folder, run, { file: SUMMARY_FILE, offset, limit: 100 });
    pieces.push(piece.data);
    offset += piece.data.length;
    eof = piece.eof;
  }
  expect(JSON.parse(Buffer.concat(pieces).toString()).schema).toBe('lezea.resources/v1');
  const beyond = await readRunFile(folder, run, { file: SUMMARY_FILE, offset: 1e9, limit: 100 });
  expect(beyond).toMatchObject({ eof: true, data: Buffer.alloc(0) });
  for (const file of ['../secret', 'resources', '/etc/passwd', 'resources/../events.jsonl']) {
    await expect(readRunFile(folder, run, { file, offset: 0, limit: 10 })).rejects.toMatchObject({
      code: 'invalid_params',
    });
  }
});

test('an ended run whose file could not be written has its summary all the same', async () => {
  const run = exampleRun();
  expect(await documents().list(run)).toEqual([SUMMARY_FILE]);
  const { data, eof } = await documents().read(run, { file: SUMMARY_FILE, offset: 0, limit: 1e6 });
  expect(eof).toBe(true);
  expect(JSON.parse(data.toString()).run).toMatchObject({ id: 'demo-1', status: run.status });
});

test('a running run has a summary and its events so far, and no file; its pieces come from one moment', async () => {
  let reads = 0;
  const live = { ...exampleRun(), status: 'RUNNING' } as Run;
  Object.defineProperty(live, 'reason', { get: () => `read ${++reads}` });
  const served = documents();
  expect(await served.list(live)).toEqual([SUMMARY_FILE, EVENTS_FILE]);
  const first = await served.read(live, { file: SUMMARY_FILE, offset: 0, limit: 50 });
  const rest = await served.read(live, { file: SUMMARY_FILE, offset: 50, limit: 1e6 });
  expect(first.size).toBe(rest.size);
  expect(JSON.parse(Buffer.concat([first.data, rest.data]).toString()).run.status).toBe('RUNNING');
  const text = [...eventLines(live, events)].join('');
  const piece = await served.read(live, { file: EVENTS_FILE, offset: 10, limit: 20 });
  expect(piece).toMatchObject({ size: text.length, eof: false });
  expect(piece.data.toString()).toBe(text.slice(10, 30));
});

test('a running run has its cost so far where that has a price, by the shape of an ended one', async () => {
  const live = { ...exampleRun(), status: 'RUNNING' } as Run;
  const served = documents();
  const unpriced = served.read(live, { file: COST_FILE, offset: 0, limit: 1e6 });
  await expect(unpriced).rejects.toThrow('not there');
  prices = pricesOf({ cpu_per_core_hour: 0.05 });
  expect(await served.list(live)).toEqual([SUMMARY_FILE, COST_FILE, EVENTS_FILE]);
  const another = documents();
  const { data, eof } = await another.read(live, { file: COST_FILE, offset: 0, limit: 1e6 });
  expect(eof).toBe(true);
  expect(costDocument.parse(JSON.parse(data.toString())).rates_eur).toEqual({ cpu_core_hour_eur: 0.05 });
});

test('a big summary lets other work have its turn', async () => {
  let turns = 0;
  const [scope] = [...exampleRun().scopes()];
  /** 300 scopes of 0.2 ms each. */
  function* scopes() {
    for (let i = 0; i < 300; i += 1) {
      for (const until = performance.now() + 0.2; performance.now() < until; );
      yield { ...scope, inclusive: scope!.inclusive, path: 'layer:l', level: 'layer' };
    }
  }
  const live = { ...exampleRun(), status: 'RUNNING', scopes } as unknown as Run;
  const timer = setInterval(() => {
    turns += 1;
  }, 1);
  const text = await documents().summary(live);
  clearInterval(timer);
  expect(JSON.parse(text.toString()).scopes).toHaveLength(300);
  expect(turns).toBeGreaterThanOrEqual(3);
});

test('a write that fails leaves the old file and no temporary one', async () => {
  const path = join(folder, 'x.json');
  writeFileSync(path, 'old');
  function* breaking(): Generator<string> {
    yield 'x'.repeat(100_000);
    throw new Error('broken');
  }
  await expect(writeAtomically(path, breaking())).rejects.toThrow('broken');
  expect(readdirSync(folder)).toEqual(['x.json']);
  expect(readFileSync(path, 'utf8')).toBe('old');
  expect(await writeAtomically(path, ['né', 'w'.repeat(70_000), '!'])).toBe(70_004);
  expect(readFileSync(path, 'utf8')).toBe(`né${'w'.repeat(70_000)}!`);
  expect(readdirSync(folder)).toEqual(['x.json']);
});

test('an account is named by /etc/passwd, else by its id', () => {
  const passwd = join(folder, 'passwd');
  writeFileSync(passwd, 'root:x:0:0:root:/root:/bin/sh\nbroken\nada:x:1000:1000::/home/ada:/bin/sh\n');
  expect(userName(1000, passwd)).toBe('ada');
  expect(userName(1001, passwd)).toBe('1001');
  expect(userName(7, join(folder, 'missing'))).toBe('7');
});

test('a document has other names at a tracker: of a node, of an attempt; never one that is to come', async () => {
  const first = { ...exampleRun(), attempt: 1 };
  const second = { ...exampleRun(), attempt: 2 };
  const all = documents();
  await all.write(first);
  await all.write(second);
  const own = await all.whole(second, SUMMARY_FILE);
  expect((await all.whole(second, 'resources/nodes/n.x20/summary.json')).equals(own)).toBe(true);
  expect((await all.whole(second, 'resources/attempts/2/summary.json')).equals(own)).toBe(true);
  const earlier = await all.whole(second, 'resources/nodes/n/attempts/1/summary.json');
  expect(earlier.equals(await all.whole(first, SUMMARY_FILE))).toBe(true);
  const events = await readRunFile(folder, second, {
    file: 'resources/attempts/1/events.jsonl',
    offset: 0,
    limit: 9,
  });
  expect(events.data.toString()).toBe('{"schema"');
  for (const path of ['3/summary.json', '0/summary.json', '1/../../x', '1/secret']) {
    await expect(all.whole(second, `resources/attempts/${path}`)).rejects.toThrow('not a document');
  }
});

test('what a bundle brings under such a name is where it is read', async () => {
  const folders = new RunFolders(folder);
  const run = { key: 'a1b2c3d4e5f60718', attempt: 2 };
  async function* bytes(text: string) {
    yield Buffer.from(text);
  }
  for (const [name, text] of [
    ['resources/summary.json', 'own'],
    ['resources/nodes/n/summary.json', 'own'],
    ['resources/attempts/1/summary.json', 'first'],
    ['resources/nodes/n/attempts/1/events.jsonl', 'event'],
  ] as const) {
    expect(folders.isDocument(name)).toBe(true);
    await folders.add(run, name, bytes(text));
    const { data } = await folders.piece(run, { file: name, offset: 0, limit: 100 });
    expect(data.toString()).toBe(text);
  }
  const own = await folders.piece(run, { file: 'resources/summary.json', offset: 0, limit: 100 });
  expect(own.data.toString()).toBe('own');
  for (const name of ['resources/attempts/3/summary.json', 'resources/nodes/../../summary.json']) {
    await expect(folders.add(run, name, bytes('no'))).rejects.toThrow('not a document');
  }
  expect(folders.isDocument('resources/attempts/x/summary.json')).toBe(false);
});
