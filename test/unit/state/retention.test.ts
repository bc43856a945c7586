// What goes of ended runs, and what never does: a real database with runs in it, a folder for each.

import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Database } from 'better-sqlite3';
import BetterSqlite3 from 'better-sqlite3';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { runFolder } from '../../../src/files/run-files.js';
import { Retention } from '../../../src/state/retention.js';
import { type Bench, callerOf, openRequest, silent, startBench, temporaryFolder } from '../support/bench.js';

const DAY_MS = 86_400_000;
let folder: ReturnType<typeof temporaryFolder>;
let bench: Bench;
let db: Database;
let retention: Retention;
let maxBytes = 5_000_000_000;

beforeEach(() => {
  folder = temporaryFolder();
  maxBytes = 5_000_000_000;
  bench = startBench(folder.path, { isFull: (owner) => retention.isFull(owner) }, undefined, {
    offline: true,
  });
  db = new BetterSqlite3(join(folder.path, 'state.db'));
  retention = new Retention({
    db,
    stateDir: folder.path,
    log: silent,
    nowMs: () => bench.clock.nowMs,
    days: () => 90,
    maxBytes: () => maxBytes,
  });
});

afterEach(() => {
  db.close();
  bench.close();
  folder.remove();
});

async function ended(
  runId: string,
  how: { uid?: number; bytes?: number; tracker?: boolean } = {},
): Promise<void> {
  const { uid = 1000, bytes = 1000, tracker = false } = how;
  const me = callerOf(100 + uid, uid);
  const { commands, store } = bench.attribution;
  const where = { mlflow_tracking_uri: 'http://t:1', mlflow_run_id: 'x' };
  commands.start(me, { runId, ...(tracker ? { tracker: where } : {}) });
  await commands.openSession(me, openRequest(runId, 100 + uid));
  await commands.end(me, { runId, status: 'FINISHED', all: true });
  const at = runFolder(folder.path, store.get(me.owner, runId)!);
  mkdirSync(at, { recursive: true });
  writeFileSync(join(at, 'events.jsonl'), Buffer.alloc(bytes));
}

const left = () =>
  (db.prepare('SELECT run_id FROM runs ORDER BY handle').all() as { run_id: string }[]).map(
    (row) => row.run_id,
  );

it('what is old goes, with its folder and every row', async () => {
  await ended('old');
  const { key } = bench.attribution.store.get(callerOf(1100).owner, 'old')!;
  bench.clock.nowMs += 89 * DAY_MS;
  await ended('new');
  expect(await retention.sweep()).toBe(0);
  bench.clock.nowMs += 2 * DAY_MS;
  expect(await retention.sweep()).toBe(1);
  expect(left()).toEqual(['new']);
  expect(existsSync(join(folder.path, 'runs', key))).toBe(false);
  const tables = db.prepare("SELECT name FROM sqlite_master WHERE type = 'table'").pluck().all() as string[];
  for (const table of tables) {
    const columns = (db.pragma(`table_info(${table})`) as { name: string }[]).map(({ name }) => name);
    if (!columns.includes('run')) continue;
    const strays = `SELECT count(*) FROM ${table} WHERE run NOT IN (SELECT handle FROM runs)`;
    expect([table, db.prepare(strays).pluck().get()]).toEqual([table, 0]);
  }
});

it('what is started again while it is about to go stays', async () => {
  await ended('old');
  bench.clock.nowMs += 91 * DAY_MS;
  const again = () => db.prepare("UPDATE runs SET status = 'RUNNING'").run();
  const log = { info: again } as unknown as typeof silent;
  const {
    nowMs,
    days,
    maxBytes: most,
  } = { nowMs: () => bench.clock.nowMs, days: () => 90, maxBytes: () => maxBytes };
  await new Retention({ db, stateDir: folder.path, log, nowMs, days, maxBytes: most }).sweep();
  expect(left()).toEqual(['old']);
  expect(
    existsSync(join(folder.path, 'runs', bench.attribution.store.get(callerOf(1100).owner, 'old')!.key)),
  ).toBe(true);
});

it('what lives, or is not delivered, never goes', async () => {
  const me = callerOf(1100);
  bench.attribution.commands.start(me, { runId: 'live' });
  await ended('undelivered', { tracker: true });
  bench.clock.nowMs += 10_000 * DAY_MS;
  expect(await retention.sweep()).toBe(0);
  expect(left()).toEqual(['live', 'undelivered']);
  const [delivery] = bench.outbox.deliveries({});
  const { items } = bench.outbox.next(delivery!.sink, 0, 100)!;
  for (const { id } of items) bench.outbox.delivered(delivery!.id, [id], 1);
  const rest = bench.outbox.next(delivery!.sink, 0, 100)?.items ?? [];
  bench.outbox.delivered(
    delivery!.id,
    rest.map(({ id }) => id),
    1,
  );
  expect(await retention.sweep()).toBe(1);
  expect(left()).toEqual(['live']);
});

it('who has more than its share loses its own oldest, and nobody else’s', async () => {
  for (const [n, runId] of ['a1', 'a2', 'a3'].entries()) {
    bench.clock.nowMs += 1000 * n;
    await ended(runId, { uid: 1, bytes: 400_000 });
  }
  await ended('b1', { uid: 2, bytes: 400_000 });
  maxBytes = 2_000_000;
  expect(await retention.sweep()).toBe(1);
  expect(left()).toEqual(['a2', 'a3', 'b1']);
  expect(await retention.sweep()).toBe(0);
});

it('who fills its share with what is not delivered begins no new run until it is', async () => {
  await ended('kept', { bytes: 1_500_000, tracker: true });
  await ended('other', { uid: 2 });
  maxBytes = 2_000_000;
  expect(await retention.sweep()).toBe(0);
  const me = callerOf(1100);
  expect(() => bench.attribution.commands.start(me, { runId: 'next' })).toThrow(/stateShares/);
  expect(bench.attribution.limiter.refusals.get('stateShares')).toBe(1);
  expect(bench.attribution.commands.start(callerOf(7, 2), { runId: 'theirs' }).created).toBe(true);
  maxBytes = 20_000_000;
  await retention.sweep();
  expect(bench.attribution.commands.start(me, { runId: 'next' }).created).toBe(true);
});

it('what came from another agent goes when it was delivered that long ago, and only then', async () => {
  const { outbox, clock } = bench;
  const target = { kind: 'mlflow', address: 'http://t:1', settings: {} } as const;
  const imported = (key: string) => {
    const run = { key, runId: key, attempt: 1 };
    const id = outbox.begin({ run, target, owner: callerOf(1).owner, createdMs: clock.nowMs });
    outbox.add(id, [{ stage: 1, kind: 'metrics', body: '{}' }], 'agent');
    const at = runFolder(folder.path, run);
    mkdirSync(at, { recursive: true });
    writeFileSync(join(at, 'events.jsonl'), 'x');
    return id;
  };
  const take = (id: number) =>
    outbox.delivered(
      id,
      outbox.items(id, 0, 9).map((item) => item.id),
      clock.nowMs,
    );
  const [old, half, second, dead] = [imported('old'), imported('half'), imported('half'), imported('dead')];
  outbox.release([old, half, second, dead]);
  take(old);
  take(half);
  outbox.bury(outbox.items(dead, 0, 9)[0]!.id, 'no');
  clock.nowMs += 30 * DAY_MS;
  const late = imported('late');
  outbox.release([late]);
  take(late);
  await retention.sweep();
  expect(outbox.deliveries({ all: true })).toHaveLength(5);
  clock.nowMs += 61 * DAY_MS;
  await retention.sweep();
  expect(outbox.deliveries({ all: true }).map(({ run }) => run.key)).toEqual([
    'late',
    'dead',
    'half',
    'half',
  ]);
  const folders = ['old', 'half', 'dead', 'late'].map((key) =>
    existsSync(runFolder(folder.path, { key, attempt: 1 })),
  );
  expect(folders).toEqual([false, true, true, true]);
  take(second);
  clock.nowMs += 91 * DAY_MS;
  await retention.sweep();
  expect(outbox.deliveries({ all: true }).map(({ run }) => run.key)).toEqual(['dead']);
});
