// From the end of a run to its place: what is kept, in which order it goes out, and that nothing is lost or sent before its
// time. A real database, the fake sampler, a scripted place.

import { join } from 'node:path';
import BetterSqlite3 from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Caller, Run } from '../../../src/attribution/model.js';
import type { DeliveriesOptions } from '../../../src/delivery/deliveries.js';
import { type Item, SendError } from '../../../src/delivery/model.js';
import {
  type Bench,
  callerOf,
  openRequest,
  processOf,
  startBench,
  temporaryFolder,
} from '../support/bench.js';
import { failing } from '../support/scripted-sink.js';

let folder: ReturnType<typeof temporaryFolder>;
let bench: Bench;
const ME = callerOf(100);
const TRACKER = { mlflow_tracking_uri: 'http://tracker:5000/', mlflow_run_id: 'abc' };

beforeEach(() => {
  folder = temporaryFolder();
});

afterEach(async () => {
  await bench.deliveries.stop();
  bench.close();
  folder.remove();
});

function start(delivery: Partial<DeliveriesOptions> = {}, into = folder.path): void {
  bench = startBench(into, { checkpointIntervalMs: 1 }, undefined, delivery);
}

/** A disk that no document can be written to; what is written lies in `files`. */
function startOnFullDisk(delivery: Partial<DeliveriesOptions> = {}) {
  const disk = { isFull: true, tries: 0, files: new Map<number, string>() };
  const writeFiles = async ({ attempt, totals }: Run) => {
    disk.tries += 1;
    if (disk.isFull) throw new Error('ENOSPC: no space left on device');
    disk.files.set(attempt, `of ${attempt}: ${totals.value('cpu_seconds')}`);
  };
  const documents = async ({ attempt }: Run) => {
    const sha256 = disk.files.get(attempt);
    return sha256 === undefined ? [] : [{ path: 'summary', bytes: 1, sha256 }];
  };
  const options = { checkpointIntervalMs: 1, writeFiles };
  bench = startBench(folder.path, options, undefined, { documents, ...delivery });
  const restart = () => {
    bench.close();
    bench = startBench(folder.path, options, undefined, { documents, ...delivery });
  };
  return { disk, restart };
}

const ends = () =>
  bench.sink.sent.flatMap(({ items }) =>
    items.filter(({ kind }) => kind === 'end').map(({ body }) => JSON.parse(body)),
  );

/** A run that used some CPU and has ended. */
async function ended(runId = 'r', tracker: Record<string, string> = TRACKER): Promise<void> {
  const { commands } = bench.attribution;
  commands.start(ME, { runId, tracker });
  await commands.openSession(ME, openRequest(runId, 100));
  bench.sampler.spend(processOf(100), 1_500_000_000n);
  await commands.end(ME, { runId, status: 'FINISHED', all: true });
}

const list = (all = true) => bench.deliveries.list(ME, { all });
const delivered = () => expect.poll(() => list().every(({ doneMs }) => doneMs !== undefined)).toBe(true);
const figures = () =>
  bench.sink.sent.flatMap(({ items }) =>
    items
      .filter(({ kind }) => kind === 'figures')
      .flatMap(({ body }) => JSON.parse(body) as [string, number][]),
  );

describe('an ended run', () => {
  it('is brought to its place whole, stage by stage, and then nothing waits', async () => {
    start();
    await ended();
    await delivered();
    const run = bench.attribution.store.get(ME.owner, 'r')!;
    expect(Object.fromEntries(figures())).toMatchObject(run.totals.toColumns());
    expect(figures()).toHaveLength(8);
    expect(Object.fromEntries(figures()).cpu_seconds).toBe(1.5);
    expect(bench.sink.sent.at(-1)!.items.map(({ kind }) => kind)).toEqual(['end']);
    expect(list(false)).toEqual([]);
    expect(list()).toMatchObject([{ sink: 'mlflow http://tracker:5000', waiting: 0, bytes: 0 }]);
    expect(bench.deliveries.sinks(ME, list())).toMatchObject([
      { failures: 0, deliveredMs: bench.clock.nowMs },
    ]);
  });

  it('that named no tracker has nothing to deliver', async () => {
    start();
    await ended('r', {});
    expect(list()).toEqual([]);
  });

  it('is on the disk before its end is answered, while the place is down', async () => {
    start();
    bench.sink.script = failing(Number.POSITIVE_INFINITY);
    await ended();
    const before = folder.path;
    bench.crash(`${before}/later`);
    start({}, `${before}/later`);
    await delivered();
    expect(Object.fromEntries(figures()).cpu_seconds).toBe(1.5);
  });

  it('is not sent before its status is final, and is cut anew where the agent died in between', async () => {
    const stuck = new Promise<never>(() => undefined);
    start({ documents: () => stuck });
    const { commands } = bench.attribution;
    commands.start(ME, { runId: 'r', tracker: TRACKER });
    await commands.openSession(ME, openRequest('r', 100));
    bench.sampler.spend(processOf(100), 1_000_000_000n);
    void commands.end(ME, { runId: 'r', status: 'FAILED', reason: 'x', all: true });
    await expect.poll(() => bench.attribution.store.get(ME.owner, 'r')?.status).toBe('FINISHING');
    // Half of it was stored when the agent died.
    const run = bench.attribution.store.get(ME.owner, 'r')!;
    const target = { kind: 'mlflow', address: 'http://tracker:5000', settings: TRACKER } as const;
    const { key, runId, attempt, handle, owner } = run;
    const common = { run: { key, runId, attempt }, target, owner, createdMs: 1 } as const;
    const id = bench.outbox.begin({ handle, ...common });
    bench.outbox.add(id, [{ stage: 1, kind: 'figures', body: '[["cpu_seconds",0.5]]' }], 'agent');
    bench.deliveries.wake();
    expect(bench.outbox.waitingSinks()).toEqual([]);
    bench.crash(`${folder.path}/later`);
    start({}, `${folder.path}/later`);
    await expect.poll(() => list().length).toBe(1);
    await delivered();
    expect(figures().filter(([column]) => column === 'cpu_seconds')).toEqual([['cpu_seconds', 1]]);
    expect(JSON.parse(bench.sink.sent.at(-1)!.items[0]!.body)).toMatchObject({
      status: 'FAILED',
      reason: 'x',
    });
  });

  it('is the sum over its attempts', async () => {
    start();
    await ended();
    await ended();
    await delivered();
    expect(bench.attribution.store.get(ME.owner, 'r')).toMatchObject({ attempt: 2 });
    const sums = figures().filter(([column]) => column === 'cpu_seconds');
    expect(sums).toEqual([
      ['cpu_seconds', 1.5],
      ['cpu_seconds', 3],
    ]);
  });

  it('takes the place of the documents of earlier attempts, whose hashes it tells', async () => {
    const documents = async ({ attempt }: { attempt: number }) => [
      { path: 'summary', bytes: 1, sha256: `of ${attempt}` },
      ...(attempt === 3 ? [{ path: 'new', bytes: 1, sha256: 'new' }] : []),
    ];
    start({ documents });
    for (let attempt = 1; attempt <= 3; attempt += 1) await ended();
    await delivered();
    const ends = bench.sink.sent.flatMap(({ items }) => items.filter(({ kind }) => kind === 'end'));
    expect(ends.map(({ body }) => JSON.parse(body).files)).toEqual([
      [{ path: 'summary', bytes: 1, sha256: 'of 1' }],
      [{ path: 'summary', bytes: 1, sha256: 'of 2', replaces: ['of 1'] }],
      [
        { path: 'summary', bytes: 1, sha256: 'of 3', replaces: ['of 1', 'of 2'] },
        { path: 'new', bytes: 1, sha256: 'new' },
      ],
    ]);
  });

  it('waits for the attempt before it, or that one would have the last word', async () => {
    start();
    let isDown = true;
    const refuseFirst = failing(2);
    bench.sink.script = ({ id }) => {
      if (isDown) throw new SendError('retry', 'down');
      if (id === 1) refuseFirst();
    };
    await ended();
    await ended();
    await ended('other');
    isDown = false;
    await delivered();
    const order = bench.sink.delivered;
    expect(order.filter((id) => id !== 3)).toEqual([...order.filter((id) => id !== 3)].sort());
    expect(new Set(order)).toEqual(new Set([1, 2, 3]));
  });

  it('says whether a process of it is left', async () => {
    start();
    const { commands } = bench.attribution;
    commands.start(ME, { runId: 'r', tracker: TRACKER });
    await commands.openSession(ME, openRequest('r', 100));
    bench.dead.add(100);
    await commands.end(ME, { runId: 'r', status: 'KILLED', all: true });
    await delivered();
    expect(JSON.parse(bench.sink.sent.at(-1)!.items[0]!.body)).toMatchObject({ allDead: true });
  });
});

describe('documents that could not be written when a run ended', () => {
  it('are written and delivered once the disk works again, and the figures are not sent twice', async () => {
    const { disk } = startOnFullDisk();
    await ended();
    await delivered();
    expect(ends()).toMatchObject([{ status: 'FINISHED', files: [] }]);
    const sent = figures().length;
    const { tries } = disk;
    expect(await bench.attribution.writeUndocumented()).toBe(0);
    expect(disk.tries).toBe(tries + 1);
    disk.isFull = false;
    expect(await bench.attribution.writeUndocumented()).toBe(1);
    bench.deliveries.wake();
    await delivered();
    expect(ends().at(-1)).toMatchObject({ allDead: false, files: [{ sha256: 'of 1: 1.5' }] });
    expect(figures()).toHaveLength(sent);
    expect(await bench.attribution.writeUndocumented()).toBe(0);
    expect(disk.files.size).toBe(1);
  });

  it('are tried by the next agent too, and one try finds out that the disk still fails', async () => {
    const { disk, restart } = startOnFullDisk();
    await ended('r1');
    await ended('r2');
    const { tries } = disk;
    restart();
    expect(await bench.attribution.writeUndocumented()).toBe(0);
    expect(disk.tries).toBe(tries + 1);
    disk.isFull = false;
    restart();
    expect(await bench.attribution.writeUndocumented()).toBe(2);
    bench.deliveries.wake();
    await delivered();
    expect(ends().map(({ files }) => files.length)).toEqual([1, 1]);
  });

  it('are brought by the newest attempt, which speaks for the run', async () => {
    const { disk } = startOnFullDisk();
    await ended();
    disk.isFull = false;
    await ended();
    await delivered();
    expect(await bench.attribution.writeUndocumented()).toBe(1);
    bench.deliveries.wake();
    await delivered();
    expect(list().map(({ run: { attempt } }) => attempt)).toEqual([2, 2, 1]);
    expect(ends().at(-1).files).toMatchObject([{ replaces: ['of 1: 1.5'] }]);
  });

  it('wait for a live attempt, which brings them when it ends', async () => {
    const { disk } = startOnFullDisk();
    await ended();
    disk.isFull = false;
    bench.attribution.commands.start(ME, { runId: 'r', tracker: TRACKER });
    expect(await bench.attribution.writeUndocumented()).toBe(1);
    expect(list()).toHaveLength(1);
    expect(bench.attribution.store.get(ME.owner, 'r')).toMatchObject({ attempt: 2, status: 'REGISTERED' });
  });
});

describe('a place that fails', () => {
  it('is tried again with the same bytes until it takes them', async () => {
    start();
    bench.sink.script = failing(5);
    await ended();
    await delivered();
    const [first, ...rest] = bench.sink.tried.slice(0, 6).map(({ items }) => items);
    for (const again of rest) expect(again).toEqual(first);
    expect(figures().length).toBe(new Set(figures().map(([column]) => column)).size);
  });

  it('remembers over a restart when it is tried again', async () => {
    start({ courier: { limits: { firstMs: 60_000, mostMs: 60_000 }, refusedMs: 1, random: () => 1 } });
    bench.sink.script = failing(Number.POSITIVE_INFINITY);
    await ended();
    await expect.poll(() => bench.deliveries.sinks(ME, list())[0]?.failures).toBe(1);
    expect(bench.deliveries.sinks(ME, list())[0]).toMatchObject({
      error: 'no room',
      retryMs: bench.clock.nowMs + 60_000,
    });
    bench.crash(`${folder.path}/later`);
    start({ courier: { limits: { firstMs: 60_000, mostMs: 60_000 }, refusedMs: 1 } }, `${folder.path}/later`);
    expect(bench.sink.tried).toEqual([]);
    bench.deliveries.retry(ME, list()[0]!.id);
    await delivered();
  });

  it('waits no longer than the longest wait when the clock was set back', async () => {
    start({ courier: { limits: { firstMs: 1, mostMs: 20 }, refusedMs: 20 } });
    bench.sink.script = failing(1, () => {
      bench.clock.nowMs -= 86_400_000;
      return new SendError('retry', 'later', { retryAfterMs: 3_600_000 });
    });
    await ended();
    await delivered();
  });

  it('holds no other place, and one run no other run of it', async () => {
    start();
    bench.sink.script = ({ target, run }) => {
      if (target.address === 'http://slow:1') return new Promise(() => undefined);
      if (run.runId === 'bad') throw new SendError('retry', 'always');
      return undefined;
    };
    await ended('stuck', { ...TRACKER, mlflow_tracking_uri: 'http://slow:1' });
    await ended('bad');
    await ended('good');
    await expect.poll(() => list().find(({ run }) => run.runId === 'good')?.doneMs).toBeDefined();
  });

  it('is not shown for what only a client brings there, whoever asks to try that again', async () => {
    start();
    await ended('r', { ...TRACKER, mlflow_tracking_uri: 'file:///home/me/mlruns' });
    bench.deliveries.retry(ME, list()[0]!.id);
    expect(bench.outbox.sinks()).toEqual([]);
    expect(bench.deliveries.figures().map(({ sink }) => sink)).toEqual(['(clients)']);
  });

  it('that lets nobody in is paused, says so, and keeps everything', async () => {
    start();
    let open = false;
    bench.sink.script = () => {
      if (!open) throw new SendError('refused', '401 from http://tracker:5000');
    };
    await ended();
    await expect
      .poll(() => bench.deliveries.sinks(ME, list())[0]?.refused)
      .toBe('401 from http://tracker:5000');
    open = true;
    bench.deliveries.retry(ME, list()[0]!.id);
    await delivered();
    expect(bench.deliveries.sinks(ME, list())[0]!.refused).toBeUndefined();
    expect(Object.fromEntries(figures()).cpu_seconds).toBe(1.5);
  });
});

it('a delivery whose address is damaged while the agent runs goes nowhere, and is nobody’s to see', async () => {
  start();
  bench.sink.script = failing(1);
  await ended('hit');
  await expect.poll(() => bench.sink.tried.length).toBe(1);
  const db = new BetterSqlite3(join(folder.path, 'state.db'));
  const changed = db.prepare("UPDATE deliveries SET record = replace(record, 'tracker', 'tracked')").run();
  db.close();
  expect(changed.changes).toBe(1);
  await ended('whole');
  await expect
    .poll(() => list().map(({ run, doneMs }) => [run.runId, doneMs !== undefined]))
    .toEqual([['whole', true]]);
  expect(new Set(bench.sink.sent.map(({ run }) => run))).toEqual(new Set(['whole']));
});

it('what a place said is shown to the owner whose delivery it said it of, and to operators', async () => {
  start();
  const words = 'POST http://tracker:5000/api: 503 (run of-mine is busy)';
  bench.sink.script = failing(Number.POSITIVE_INFINITY, () => new SendError('retry', words));
  await ended();
  await expect.poll(() => bench.sink.tried.length).toBeGreaterThan(0);
  const said = (who: Caller) => bench.deliveries.sinks(who, list())[0]!.error;
  expect(said(ME)).toBe(words);
  expect(said(callerOf(9, 4242))).toBe('it answers 503');
  expect(said({ ...callerOf(9, 4242), privileged: true })).toBe(words);
});

describe('an item that its place will never take', () => {
  it('is found among others, kept aside, and everything else goes on', async () => {
    start();
    bench.sink.script = (_, items) => {
      if (items.some(({ body }) => /#[25]/.test(body))) throw new SendError('poison', '400: bad key');
    };
    await ended();
    await expect.poll(() => list()[0]?.waiting).toBe(0);
    const names = () => figures().map(([name]) => name.slice('cpu_seconds'.length));
    expect(names().sort()).toEqual(['', '#1', '#3', '#4', '#6', '#7']);
    expect(list()[0]).toMatchObject({ dead: 2, error: '400: bad key' });
    expect(list()[0]!.doneMs).toBeUndefined();
    bench.sink.script = () => undefined;
    bench.deliveries.retry(ME, list()[0]!.id);
    await delivered();
    expect(names().sort()).toEqual(['', '#1', '#2', '#3', '#4', '#5', '#6', '#7']);
  });

  it('and all that belongs to what is no more is kept aside together', async () => {
    start();
    bench.sink.script = () => {
      throw new SendError('gone', 'the run was deleted');
    };
    await ended('gone');
    await expect.poll(() => list()[0]?.waiting).toBe(0);
    expect(bench.sink.tried).toHaveLength(1);
    expect(list()[0]).toMatchObject({ dead: 5, error: 'the run was deleted' });
    bench.sink.script = () => undefined;
    await ended('next');
    await expect.poll(() => list().find(({ run }) => run.runId === 'next')?.doneMs).toBeDefined();
  });

  it('that only a program of the run can bring is handed to it', async () => {
    start();
    bench.sink.script = (_, [item]) => {
      if (item!.kind === 'end') throw new SendError('elsewhere', 's3:// is not the server');
    };
    await ended();
    await expect.poll(() => list()[0]?.withClient).toBe(1);
    const { id } = list()[0]!;
    const [item] = bench.deliveries.take(ME, id) as [Item];
    expect(item.kind).toBe('end');
    expect(() => bench.deliveries.take(callerOf(7, 2000), id)).toThrow('no delivery');
    expect(bench.deliveries.acknowledge(ME, id, [item.id])).toMatchObject({ withClient: 0 });
    expect(bench.deliveries.acknowledge(ME, id, [item.id]).doneMs).toBeDefined();
  });
});

describe('what the agent may not bring', () => {
  it('is all for the client, item by item', async () => {
    start();
    await ended('r', { mlflow_tracking_uri: 'file:///home/me/mlruns', mlflow_run_id: 'abc' });
    expect(bench.sink.tried).toEqual([]);
    const { id, withClient } = list()[0]!;
    expect(withClient).toBeGreaterThan(1);
    for (let left = withClient; left > 0; left -= 1) {
      const [item] = bench.deliveries.take(ME, id) as [Item];
      expect(bench.deliveries.acknowledge(ME, id, [item.id]).withClient).toBe(left - 1);
    }
    expect(bench.deliveries.take(ME, id)).toEqual([]);
    expect(list()[0]!.doneMs).toBe(bench.clock.nowMs);
  });

  it('is taken and acknowledged several at a time; what is not the client’s to say changes nothing', async () => {
    start();
    await ended('r', { mlflow_tracking_uri: 'file:///home/me/mlruns', mlflow_run_id: 'abc' });
    const { id, withClient } = list()[0]!;
    const items = bench.deliveries.take(ME, id, 3);
    expect(items).toHaveLength(3);
    expect(bench.deliveries.take(ME, id)).toEqual(items.slice(0, 1));
    const ids = items.map((item) => item.id);
    expect(bench.deliveries.acknowledge(ME, id, [...ids, 999_999]).withClient).toBe(withClient - 3);
    // Said again, and of one whose turn has not come.
    const later = bench.deliveries.take(ME, id, 8).at(-1)!;
    expect(bench.deliveries.acknowledge(ME, id, ids).withClient).toBe(withClient - 3);
    expect(bench.deliveries.acknowledge(ME, id, [later.id]).withClient).toBe(withClient - 3);
    expect(bench.deliveries.take(ME, id, 1000)).toHaveLength(withClient - 3);
  });

  it('is one figure on /metrics, which anybody may read', async () => {
    start();
    await ended('a', { mlflow_tracking_uri: 'file:///home/alice/secret', mlflow_run_id: 'abc' });
    await ended('b', { mlflow_tracking_uri: 'sqlite:////home/bob/m.db', mlflow_run_id: 'abc' });
    await ended('c');
    await expect.poll(() => list().find(({ run }) => run.runId === 'c')?.doneMs).toBeDefined();
    const [a, b] = [
      list().find(({ run }) => run.runId === 'a')!,
      list().find(({ run }) => run.runId === 'b')!,
    ];
    expect(bench.deliveries.figures()).toMatchObject([
      { sink: '(clients)', waiting: 0, withClient: a.withClient + b.withClient, bytes: a.bytes + b.bytes },
      { sink: 'mlflow http://tracker:5000', waiting: 0, withClient: 0 },
    ]);
  });

  it('is nobody else’s to see', async () => {
    start();
    await ended();
    expect(bench.deliveries.list(callerOf(7, 2000), { all: true })).toEqual([]);
    expect(bench.deliveries.list({ ...callerOf(7, 0), privileged: true }, { all: true })).toHaveLength(1);
    expect(() => bench.deliveries.retry(callerOf(7, 2000), list()[0]!.id)).toThrow('no delivery');
  });

  it('waits for ever when the agent is offline', async () => {
    start({ offline: true });
    await ended();
    bench.deliveries.wake();
    expect(bench.sink.tried).toEqual([]);
    expect(list(false)).toHaveLength(1);
  });
});

it('an item that was damaged on the disk is never sent, and everything else is', async () => {
  start({ offline: true });
  await ended();
  const db = new BetterSqlite3(join(folder.path, 'state.db'));
  const row = db.prepare('SELECT id, body FROM delivery_items LIMIT 1').get() as { id: number; body: Buffer };
  row.body[row.body.length - 6]! ^= 4;
  db.prepare('UPDATE delivery_items SET body = ? WHERE id = ?').run(row.body, row.id);
  db.close();
  bench.crash(`${folder.path}/later`);
  start({}, `${folder.path}/later`);
  await expect.poll(() => list()[0]?.waiting).toBe(0);
  expect(list()[0]).toMatchObject({ dead: 1, error: expect.stringMatching(/damaged/) });
  expect(figures()).toHaveLength(6);
});
