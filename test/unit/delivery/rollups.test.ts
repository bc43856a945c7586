// Live rollups: what is sent of running runs and when, what is kept while their place is down, and that totals never wait
// for them. A real database, the fake sampler and its clock, a scripted place.

import { join } from 'node:path';
import BetterSqlite3, { type Database } from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { earlierAttempts } from '../../../src/attribution/attempts.js';
import type { Run } from '../../../src/attribution/model.js';
import type { DeliveriesOptions } from '../../../src/delivery/deliveries.js';
import { bodyOf, type Metric } from '../../../src/delivery/mlflow/items.js';
import { type Item, SendError } from '../../../src/delivery/model.js';
import { Rollups, type RollupsOptions } from '../../../src/delivery/rollups.js';
import { SqliteRollups } from '../../../src/state/rollups.js';
import {
  type Bench,
  callerOf,
  openRequest,
  processOf,
  silent,
  startBench,
  temporaryFolder,
} from '../support/bench.js';
import { failing, ScriptedSink } from '../support/scripted-sink.js';

const ME = callerOf(100);
const SINK = 'mlflow http://tracker:5000';
const TRACKER = { mlflow_tracking_uri: 'http://tracker:5000/', mlflow_run_id: 'abc' };

/** Others may need the machine. */
const eventually = <T>(look: () => T) => expect.poll(look, { timeout: 15_000 });

let folder: ReturnType<typeof temporaryFolder>;
let bench: Bench;
let db: Database;
let sink: ScriptedSink;
let rollups: Rollups;

beforeEach(() => {
  folder = temporaryFolder();
  start();
});

afterEach(async () => {
  await stop();
  folder.remove();
});

function start(into = folder.path, delivery: Partial<DeliveriesOptions> = {}): void {
  bench = startBench(into, { checkpointIntervalMs: 1 }, undefined, delivery);
  db = new BetterSqlite3(join(into, 'state.db'));
  listen();
}

function listen(more: Partial<RollupsOptions> = {}): void {
  sink = new ScriptedSink();
  const { store, checkpoint } = bench.attribution;
  rollups = new Rollups({
    store,
    rows: new SqliteRollups(db),
    outbox: bench.outbox,
    sink,
    rules: () => ({ mode: 'user', addresses: [], hasCredentials: false }),
    node: 'node-1',
    log: silent,
    sampledAt: () => checkpoint.lastSnapshot && { ...checkpoint.lastSnapshot, tWallMs: bench.clock.nowMs },
    earlier: (run) => earlierAttempts(store, run),
    intervalMs: 60_000,
    keep: 3,
    ...more,
  });
}

async function stop(): Promise<void> {
  await rollups.stop();
  db.close();
  await bench.deliveries.stop();
  bench.close();
}

async function running(runId = 'r', pid = 100, tracker: Record<string, string> = TRACKER): Promise<Run> {
  const { commands } = bench.attribution;
  const { run } = commands.start(callerOf(pid), { runId, tracker });
  await commands.openSession(callerOf(pid), openRequest(runId, pid));
  await bench.checkpoint();
  return run;
}

/** So much later, after that much CPU time of a process, there is a checkpoint. */
async function later(seconds: number, cpuNs = 0n, pid = 100): Promise<void> {
  if (cpuNs > 0n) bench.sampler.spend(processOf(pid), cpuNs);
  bench.clock.nowMs += seconds * 1000;
  // The sampler's own step, of each sample, is a part of it.
  bench.sampler.monoNs += BigInt(seconds) * 1_000_000_000n - 1_000_000n;
  await bench.checkpoint();
}

const waiting = () => db.prepare('SELECT count(*) FROM rollups').pluck().get();
const sent = (from = sink) => from.sent.map(({ items }) => bodyOf(items[0] as Item, 'metrics').metrics);
const allSent = (count: number) => eventually(() => sink.sent.length).toBe(count);
const figureOf = (metrics: readonly Metric[], name: string) =>
  metrics.find(({ key }) => key === `system/node-1/${name}`)?.value;

describe('a running run', () => {
  it('says what it has used so far, now and then', async () => {
    await running();
    await later(59, 1_000_000_000n);
    expect(waiting()).toBe(0);
    await later(1, 500_000_000n);
    await allSent(1);
    await later(60, 30_000_000_000n);
    await allSent(2);
    const [first, second] = sent();
    expect([figureOf(first!, 'cpu_seconds'), figureOf(second!, 'cpu_seconds')]).toEqual([1.5, 31.5]);
    // Nothing came before the first one.
    expect([figureOf(first!, 'cpu_cores'), figureOf(second!, 'cpu_cores')]).toEqual([undefined, 0.5]);
    for (const { key } of [...first!, ...second!]) expect(key).toMatch(/^system\/node-1\/[a-z_]+$/);
    expect(first!.map(({ timestamp, step }) => [timestamp, step])[0]).toEqual([1_700_000_060_000, 60]);
    expect(second!.map(({ timestamp, step }) => [timestamp, step])[0]).toEqual([1_700_000_120_000, 120]);
    expect(waiting()).toBe(0);
    expect(bench.deliveries.list(ME, { all: true })).toEqual([]);
  });

  it('says what was committed, not what was sampled since', async () => {
    await running();
    const { persistence } = bench;
    const { commit } = persistence;
    persistence.commit = () => {
      throw new Error('no room');
    };
    await expect(later(60, 1_000_000_000n)).rejects.toThrow('no room');
    expect(waiting()).toBe(0);
    persistence.commit = commit;
    await later(1);
    await allSent(1);
    expect(figureOf(sent()[0]!, 'cpu_seconds')).toBe(1);
  });

  it.each<[string, Record<string, string>]>([
    ['has no tracker', {}],
    ['has no MLflow run yet', { ...TRACKER, mlflow_run_id: '', mlflow_create: 'true' }],
    ['brings its totals itself', { ...TRACKER, mlflow_tracking_uri: 'file:///x' }],
  ])('that %s says nothing', async (_what, tracker) => {
    const { mlflow_run_id: id, ...rest } = tracker;
    await running('r', 100, id ? tracker : rest);
    await later(60, 1_000_000_000n);
    await later(60, 1_000_000_000n);
    expect([waiting(), sink.tried.length]).toEqual([0, 0]);
  });

  it('that has ended says nothing more, and what waits of it may still go', async () => {
    sink.script = failing(1);
    await running();
    await later(60, 1_000_000_000n);
    await eventually(() => sink.tried.length).toBe(1);
    await bench.attribution.commands.end(ME, { runId: 'r', status: 'FINISHED', all: true });
    await eventually(() => bench.deliveries.list(ME, {})).toEqual([]);
    await later(60);
    await allSent(1);
    await later(60);
    expect([waiting(), sink.sent.length]).toEqual([0, 1]);
    const run = bench.attribution.store.get(ME.owner, 'r')!;
    expect(figureOf(sent()[0]!, 'cpu_seconds')).toBeLessThanOrEqual(run.totals.value('cpu_seconds')!);
  });

  it('that is about to end says nothing more', async () => {
    await stop();
    const stuck = new Promise<never>(() => undefined);
    start(folder.path, { documents: () => stuck });
    await running();
    bench.sampler.spend(processOf(100), 1_000_000_000n);
    void bench.attribution.commands.end(ME, { runId: 'r', status: 'FINISHED', all: true });
    await eventually(() => bench.attribution.store.get(ME.owner, 'r')?.status).toBe('FINISHING');
    await later(60);
    await later(60);
    expect([waiting(), sink.tried.length]).toEqual([0, 0]);
  });

  it('goes on over its attempts: neither figures nor steps go back', async () => {
    await running();
    await later(60, 5_000_000_000n);
    await bench.attribution.commands.end(ME, { runId: 'r', status: 'FAILED', all: true });
    await running();
    // Somebody set the clock back, then right again.
    await later(60, 1_000_000_000n);
    bench.clock.nowMs -= 100_000;
    await later(60, 1_000_000_000n);
    await allSent(3);
    const all = sent();
    expect(all.map((metrics) => figureOf(metrics, 'cpu_seconds'))).toEqual([5, 6, 7]);
    const steps = all.map(([metric]) => metric!.step);
    expect(steps).toEqual([60, 120, 121]);
  });
});

describe('while the place is down', () => {
  const down = () => failing(Number.POSITIVE_INFINITY);

  it('the newest are kept, the oldest dropped and counted, and all is well afterwards', async () => {
    sink.script = down();
    await running();
    for (let n = 1; n <= 8; n += 1) {
      await later(60, 1_000_000_000n);
      await eventually(() => sink.tried.length).toBe(n);
    }
    expect([waiting(), rollups.dropped]).toEqual([3, 5]);
    sink.script = () => undefined;
    await later(60, 1_000_000_000n);
    await allSent(3);
    expect(sent().map((metrics) => figureOf(metrics, 'cpu_seconds'))).toEqual([7, 8, 9]);
    expect([waiting(), rollups.dropped]).toEqual([0, 6]);
  });

  it('totals wait no longer for it than without rollups, and go first', async () => {
    await running('r');
    await running('s', 200);
    bench.sampler.spend(processOf(200), 1n);
    sink.script = down();
    await later(60, 1_000_000_000n);
    await eventually(() => sink.tried.length).toBe(1);
    expect(bench.outbox.sink(SINK)).toMatchObject({ failures: 0, retryMs: 0 });
    bench.sink.script = failing(Number.POSITIVE_INFINITY);
    await bench.attribution.commands.end(ME, { runId: 'r', status: 'FINISHED', all: true });
    await eventually(() => bench.sink.tried.length).toBeGreaterThan(0);
    // Of s there is a new rollup, and the place would take it; totals of r wait.
    sink.script = () => undefined;
    await later(60, 1_000_000_000n, 200);
    expect(waiting()).toBe(3);
    expect(sink.sent).toEqual([]);
    bench.sink.script = () => undefined;
    await eventually(() => bench.deliveries.list(ME, {})).toEqual([]);
    await later(60);
    await allSent(4);
  });

  it('what waits survives a restart, and is forgotten where there are to be none', async () => {
    sink.script = down();
    await running();
    await later(60, 1_000_000_000n);
    await eventually(() => sink.tried.length).toBe(1);
    await stop();
    start();
    expect(waiting()).toBe(1);
    await later(1);
    await later(60);
    await allSent(2);
    expect(figureOf(sent()[0]!, 'cpu_seconds')).toBe(1);
    sink.script = down();
    await later(60);
    await eventually(() => sink.tried.length).toBe(3);
    new SqliteRollups(db).clear();
    expect(waiting()).toBe(0);
  });

  it('one run’s are not dropped for another’s, unless all together are too many', () => {
    const rows = new SqliteRollups(db);
    const target = { kind: 'mlflow', address: 'http://tracker:5000', settings: TRACKER } as const;
    const draft = { stage: 1, kind: 'metrics', body: '{"metrics":[]}' };
    const of = (handle: number) => ({ handle, run: { key: 'k', runId: 'r', attempt: 1 }, target, draft });
    expect(rows.add([of(1), of(1), of(2), of(1)], { ofRun: 2, ofAll: 10 })).toBe(1);
    expect(rows.add([of(3), of(3)], { ofRun: 2, ofAll: 4 })).toBe(1);
    const handles = db.prepare('SELECT run FROM rollups ORDER BY id').pluck().all();
    expect(handles).toEqual([2, 1, 3, 3]);
    expect(rows.next(SINK, 0)).toMatchObject({ delivery: { id: 1, target }, item: draft });
    expect(rows.next(SINK, 1)).toMatchObject({ delivery: { id: 2 } });
    expect(rows.next(SINK, 3)).toMatchObject({ delivery: { id: 1 } });
    expect(rows.removeRun(3, SINK)).toBe(2);
    expect(rows.sinks()).toEqual([SINK]);
  });
});

describe('a place', () => {
  it.each<[string, SendError, number]>([
    ['refuses one for good', new SendError('poison', 'no'), 1],
    ['has no such run any more', new SendError('gone', 'deleted'), 2],
  ])('that %s loses what cannot come, counted, and nothing else', async (_what, error, dropped) => {
    await running('r');
    await running('s', 200);
    bench.sampler.spend(processOf(200), 1n);
    sink.script = failing(1);
    await later(60, 1_000_000_000n);
    await eventually(() => sink.tried.length).toBe(1);
    expect(waiting()).toBe(2);
    const fail = failing(1, () => error);
    sink.script = ({ run }) => (run.runId === 'r' ? fail() : undefined);
    await later(60, 1_000_000_000n, 200);
    await allSent(4 - dropped);
    expect(waiting()).toBe(0);
    expect(rollups.dropped).toBe(dropped);
    expect(sink.sent.filter(({ run }) => run === 's')).toHaveLength(2);
  });

  it('that does not let one run’s totals in has the figures of the others', async () => {
    await running('r');
    await running('s', 200);
    bench.sink.script = () => {
      throw new SendError('refused', '403');
    };
    await bench.attribution.commands.end(ME, { runId: 'r', status: 'FINISHED', all: true });
    await eventually(() => bench.outbox.sink(SINK).refused).toBe('403');
    await later(60, 1_000_000_000n, 200);
    await allSent(1);
    expect(bench.outbox.waitingSinks()).toEqual([SINK]);
  });

  it('that lets nobody in has no fewer totals for it', async () => {
    await running();
    sink.script = failing(1, () => new SendError('refused', '401'));
    await later(60, 1_000_000_000n);
    await eventually(() => sink.tried.length).toBe(1);
    expect(waiting()).toBe(1);
    expect(bench.outbox.sink(SINK).refused).toBeUndefined();
    await later(60);
    await allSent(2);
  });

  it.each(['retry', 'refused'] as const)(
    'that has no way for one run (%s) has one for the others',
    async (verdict) => {
      await running('r');
      await running('s', 200);
      bench.sampler.spend(processOf(100), 1n);
      sink.script = ({ run }) => {
        if (run.runId === 'r') throw new SendError(verdict, '403');
      };
      for (let n = 1; n <= 6; n += 1) {
        await later(60, 1_000_000_000n, 200);
        await eventually(() => sink.tried.filter(({ run }) => run === 'r').length).toBe(n);
      }
      expect(sink.sent.map(({ run }) => run)).toEqual(Array(6).fill('s'));
    },
  );

  it('that does not answer holds nobody else, and is not asked twice at once', async () => {
    let release: () => void = () => undefined;
    const stuck = new Promise<void>((resolve) => {
      release = resolve;
    });
    sink.script = ({ target }) => (target.address === 'http://slow:1' ? stuck : undefined);
    await running('r', 100, { mlflow_tracking_uri: 'http://slow:1', mlflow_run_id: 'x' });
    await running('s', 200);
    bench.sampler.spend(processOf(100), 1n);
    await later(60, 1_000_000_000n, 200);
    await later(60, 1_000_000_000n, 200);
    await allSent(2);
    expect(sink.tried.filter(({ run }) => run === 'r')).toHaveLength(1);
    release();
    await allSent(4);
  });
});

it('a database that cannot be written loses rollups, not checkpoints', async () => {
  await rollups.stop();
  const rows = new SqliteRollups(db);
  listen({
    rows: Object.assign(rows, {
      add: () => {
        throw new Error('disk I/O error');
      },
    }),
  });
  await running();
  await later(60, 1_000_000_000n);
  const run = bench.attribution.store.get(ME.owner, 'r')!;
  expect(run.totals.value('cpu_seconds')).toBe(1);
});
