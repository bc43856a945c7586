// Restarts as SIGKILL leaves them: what was committed comes back, what was published is never taken back.

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import BetterSqlite3 from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { AttributionOptions } from '../../../src/attribution/attribution.js';
import { summaryProcess } from '../../../src/files/summary.js';
import { FRAME_WORDS, OLD_FRAME_WORDS } from '../../../src/native/frame.js';
import { KEPT_PROCESSES } from '../../../src/state/exited-processes.js';
import {
  type Bench,
  callerOf,
  openRequest,
  processOf,
  startBench,
  temporaryFolder,
} from '../support/bench.js';
import type { FakeKernel } from '../support/fake-sampler.js';

let folder: ReturnType<typeof temporaryFolder>;
let bench: Bench;
let kernel: FakeKernel;
let generation: number;

beforeEach(() => {
  folder = temporaryFolder();
  kernel = new Map();
  generation = 0;
  bench = startBench(join(folder.path), {}, kernel);
});

afterEach(() => {
  bench.close();
  folder.remove();
});

/** Kills the agent and starts the next one. */
function restart(more: Partial<AttributionOptions> = {}): void {
  generation += 1;
  const into = join(folder.path, `g${generation}`);
  const from = bench;
  from.crash(into);
  bench = startBench(into, more, kernel);
}

async function running() {
  const { commands } = bench.attribution;
  const { run } = commands.start(callerOf(100), {
    runId: 'r',
    tags: { startTicks: 'x', lostEvents: 'y' },
    name: 'n',
  });
  const session = await commands.openSession(callerOf(100), openRequest('r', 100));
  commands.defineScopes(session, [
    { id: 1, parent: 0, level: 'builder', name: 'b' },
    { id: 2, parent: 1, level: 'tasker', name: 't', label: 'T!' },
  ]);
  bench.sampler.spend(processOf(100), 5n, run.scope('builder:b/tasker:t')!.slot);
  bench.sampler.spend(processOf(100), 2n);
  commands.progress(callerOf(100), { runId: 'r', steps: 4 });
  await commands.phase(callerOf(100), 'r', 'train');
  await bench.checkpoint();
  return run;
}

/** The database as the program before this one wrote it: rows of fewer words, and pages that do not say of how many. */
function makeOld(path: string): void {
  const db = new BetterSqlite3(path);
  const narrow = (blob: Buffer): Buffer => {
    const rows: Buffer[] = [];
    for (let at = 0; at < blob.length; at += FRAME_WORDS * 8)
      rows.push(blob.subarray(at, at + OLD_FRAME_WORDS * 8));
    return Buffer.concat(rows);
  };
  db.function('narrow', (blob) => (blob === null ? null : narrow(blob as Buffer)));
  db.exec(`UPDATE scope_pages SET rows = narrow(rows); ALTER TABLE scope_pages DROP COLUMN words;
    UPDATE runs SET totals = narrow(totals); UPDATE phases SET start_row = narrow(start_row), end_row = narrow(end_row);
    UPDATE exited SET row = narrow(row);
    UPDATE meta SET value = '4' WHERE key = 'schema_version'; UPDATE meta SET value = '1' WHERE key = 'oldest_reader'`);
  db.close();
}

const current = () => bench.attribution.store.find('r')[0]!;

describe('a restart on the same boot', () => {
  it('goes on with the tree, the figures, the parts and the numbers', async () => {
    const before = await running();
    const slots = [...before.scopes()].map((scope) => scope.slot);
    restart();
    const run = current();
    expect(run).toMatchObject({ status: 'RUNNING', name: 'n', key: before.key, tags: { startTicks: 'x' } });
    expect([...run.scopes()].map((scope) => scope.slot)).toEqual(slots);
    expect(run.scope('builder:b/tasker:t')).toMatchObject({ label: 'T!' });
    expect(run.totals.native('cpu_seconds')).toBe(7n);
    expect(run.progress).toEqual({ steps: 4, episodes: 0 });
    expect(run.phases.map((phase) => phase.name)).toEqual([null, 'train']);
    const { commands } = bench.attribution;
    const session = await commands.openSession(callerOf(100), openRequest('r', 100));
    expect(commands.defineScopes(session, [{ id: 9, parent: 0, level: 'builder', name: 'b' }])).toEqual([]);
    expect(run.scopeCount).toBe(2);
    commands.defineScopes(session, [{ id: 10, parent: 9, level: 'tasker', name: 'new' }]);
    expect(run.scope('builder:b/tasker:new')!.slot).toBeGreaterThan(Math.max(...slots, run.unattributedSlot));
    const { final } = await commands.end(callerOf(100), { runId: 'r', status: 'FINISHED', all: false });
    expect(final).toBe(true);
    expect(run.totals.native('cpu_seconds')).toBe(7n);
  });

  it('catches up with what was used meanwhile, once', async () => {
    await running();
    bench.sampler.spend(processOf(100), 100n);
    kernel.set('100:10000', 7n + 100n + 1000n);
    restart();
    await bench.checkpoint();
    expect(current().totals.native('cpu_seconds')).toBe(1107n);
    restart();
    await bench.checkpoint();
    expect(current().totals.native('cpu_seconds')).toBe(1107n);
  });

  it('goes on with what the program before it stored in shorter rows', async () => {
    await running();
    const inside = join(folder.path, 'old');
    bench.crash(inside);
    makeOld(join(inside, 'state.db'));
    bench = startBench(inside, {}, kernel);
    // Upgraded, not salvaged.
    expect(readdirSync(inside).filter((name) => name.includes('corrupt'))).toEqual([]);
    const run = current();
    const task = run.scope('builder:b/tasker:t')!;
    expect(run.totals.native('cpu_seconds')).toBe(7n);
    expect(task.self.native('cpu_seconds')).toBe(5n);
    expect(run.phases.map((phase) => phase.name)).toEqual([null, 'train']);
    bench.sampler.spend(processOf(100), 3n, task.slot);
    await bench.checkpoint();
    // Pages of now among pages of before.
    restart();
    expect(current().scope('builder:b/tasker:t')!.self.native('cpu_seconds')).toBe(8n);
    expect(current().totals.native('cpu_seconds')).toBe(10n);
  });

  it('keeps the run going when its opener opens again, and ends it by what becomes of it', async () => {
    await running();
    restart();
    bench.sampler.exit(processOf(100), { exitSignal: 9 });
    for (let i = 0; i < 3; i += 1) await bench.checkpoint();
    expect(current()).toMatchObject({ status: 'KILLED' });
    expect(bench.written).toHaveLength(1);
  });

  it('hears how a command ended meanwhile from who ran it', async () => {
    const { commands } = bench.attribution;
    commands.start(callerOf(50), { runId: 'r' });
    await commands.openSession(callerOf(50), openRequest('r', 60));
    restart({ isAlive: ({ pid }) => pid === 50 });
    bench.sampler.exit(processOf(60));
    await bench.checkpoint();
    await bench.checkpoint();
    const end = { runId: 'r', status: 'FINISHED', all: false } as const;
    expect((await bench.attribution.commands.end(callerOf(50), end)).final).toBe(true);
    expect(current().status).toBe('FINISHED');
  });

  it('counts a child with a part of its own on, whose parent ends before the child is back', async () => {
    await running();
    bench.sampler.fork(processOf(100), processOf(101));
    await bench.attribution.commands.openSession(callerOf(101), openRequest('r', 101));
    restart();
    const { commands } = bench.attribution;
    const end = { runId: 'r', status: 'FINISHED', all: false } as const;
    expect((await commands.end(callerOf(100), end)).final).toBe(false);
    expect(current()).toMatchObject({ status: 'RUNNING', processes: 1 });
    await commands.openSession(callerOf(101), openRequest('r', 101));
    bench.sampler.spend(processOf(101), 3n);
    expect((await commands.end(callerOf(101), end)).final).toBe(true);
    expect(current().status).toBe('FINISHED');
    expect(current().totals.native('cpu_seconds')).toBe(10n);
  });

  it('ends what was stored as ended and is counted still, when asked again', async () => {
    await running();
    const { attribution, sampler } = bench;
    const end = { runId: 'r', status: 'FINISHED', all: false } as const;
    const pull = sampler.pull.bind(sampler);
    sampler.pull = async (fresh) => {
      const sample = await pull(fresh);
      // It ends after the sample with which that is stored, and is killed before there is another.
      sampler.pull = () => new Promise(() => undefined);
      void attribution.commands.end(callerOf(100), end);
      return sample;
    };
    await bench.checkpoint();
    restart();
    expect([...bench.sampler.processes.keys()]).toEqual(['100:10000']);
    expect((await bench.attribution.commands.end(callerOf(100), end)).final).toBe(true);
    expect(current().status).toBe('FINISHED');
    expect(bench.sampler.processes.size).toBe(0);
  });

  it('finishes a run that was being finished', async () => {
    await running();
    let reached: () => void = () => undefined;
    const writing = new Promise<void>((resolve) => {
      reached = resolve;
    });
    restart({
      writeFiles: () => {
        reached();
        return new Promise(() => undefined);
      },
    });
    void bench.attribution.commands.end(callerOf(100), {
      runId: 'r',
      status: 'FAILED',
      reason: 'why',
      all: true,
    });
    await writing;
    expect(current().status).toBe('FINISHING');
    restart();
    await expect.poll(() => current().status).toBe('FAILED');
    expect(current()).toMatchObject({ reason: 'why', attempt: 1 });
    expect(bench.written).toHaveLength(1);
    expect(current().totals.native('cpu_seconds')).toBe(7n);
  });

  it('still shows a run that has just ended: its last figures may not have been asked for', async () => {
    await running();
    const { commands } = bench.attribution;
    await commands.end(callerOf(100), { runId: 'r', status: 'FINISHED', all: false });
    restart();
    const [shown, ...others] = bench.attribution.store.recent();
    expect(others).toEqual([]);
    expect(shown).toMatchObject({ runId: 'r', status: 'FINISHED' });
    expect(shown!.totals.native('cpu_seconds')).toBe(7n);
    expect([...bench.attribution.store.live()]).toEqual([]);
    const { nowMs } = bench.clock;
    restart({ nowMs: () => nowMs + 400_000 });
    expect([...bench.attribution.store.recent()]).toEqual([]);
  });

  it('remembers ended runs, and begins the next attempt after them', async () => {
    const first = await running();
    await bench.attribution.commands.end(callerOf(100), { runId: 'r', status: 'FINISHED', all: false });
    restart();
    expect([...bench.attribution.store.live()]).toEqual([]);
    expect(current()).toMatchObject({ status: 'FINISHED', key: first.key });
    expect(bench.attribution.store.byKey(first.key)?.runId).toBe('r');
    expect(bench.attribution.store.list(5)).toMatchObject([{ runId: 'r', cpuSeconds: 7e-9 }]);
    const again = bench.attribution.commands.start(callerOf(100), { runId: 'r' });
    expect(again).toMatchObject({ created: true, run: { attempt: 2, key: first.key } });
    expect(again.run.handle).toBeGreaterThan(first.handle);
    await bench.checkpoint();
    expect(bench.attribution.store.get(first.owner, 'r', 1)?.status).toBe('FINISHED');
  });
});

describe('a restart on another boot', () => {
  it('ends the runs as LOST with their totals as committed', async () => {
    await running();
    restart({ bootId: 'boot-2' });
    await expect.poll(() => current().status).toBe('LOST');
    expect(current().reason).toMatch(/rebooted/);
    expect(current().totals.native('cpu_seconds')).toBe(7n);
    expect(bench.sampler.processes.size).toBe(0);
    expect(bench.written).toHaveLength(1);
    restart({ bootId: 'boot-2' });
    expect(current().status).toBe('LOST');
  });

  it('is still one on another boot when the agent is killed before it has stored what it found', async () => {
    await running();
    restart({ bootId: 'boot-2' });
    restart({ bootId: 'boot-2' });
    expect(bench.sampler.processes.size).toBe(0);
    await expect.poll(() => current().status).toBe('LOST');
    expect(current().reason).toMatch(/rebooted/);
  });
});

describe('what is published', () => {
  it('is what was committed: a failing database publishes nothing, and nothing is lost', async () => {
    const run = await running();
    const commit = bench.persistence.commit.bind(bench.persistence);
    bench.persistence.commit = () => {
      throw new Error('disk full');
    };
    bench.sampler.spend(processOf(100), 30n);
    await expect(bench.checkpoint()).rejects.toThrow(/disk full/);
    bench.sampler.spend(processOf(100), 30n, run.scope('builder:b')!.slot);
    await expect(bench.checkpoint()).rejects.toThrow(/disk full/);
    expect(run.totals.native('cpu_seconds')).toBe(7n);
    expect(bench.attribution.checkpoint.failures).toBe(2);
    bench.persistence.commit = commit;
    await bench.checkpoint();
    expect(run.totals.native('cpu_seconds')).toBe(67n);
    expect(run.scope('builder:b')!.inclusive().native('cpu_seconds')).toBe(35n);
    expect(bench.attribution.checkpoint.error).toBeUndefined();
  });

  it('waits in bounded memory: processes that come and go while nothing can be stored leave nothing behind', async () => {
    await running();
    bench.sampler.fork(processOf(100), processOf(300));
    await bench.checkpoint();
    const commit = bench.persistence.commit.bind(bench.persistence);
    let waiting = new Map<string, unknown>();
    bench.persistence.commit = (batch) => {
      waiting = batch.processes;
      throw new Error('disk full');
    };
    bench.sampler.exit(processOf(300));
    for (let pid = 1000; pid < 1500; pid += 1) {
      bench.sampler.fork(processOf(100), processOf(pid));
      await expect(bench.checkpoint()).rejects.toThrow(/disk full/);
      bench.sampler.exit(processOf(pid));
    }
    await expect(bench.checkpoint()).rejects.toThrow(/disk full/);
    // The end of the one that was stored; the others were not, and are no more.
    expect([...waiting].filter(([, living]) => living === null).map(([key]) => key)).toEqual(['300:30000']);
    expect(waiting.size).toBeLessThan(4);
    bench.persistence.commit = commit;
    await bench.checkpoint();
    restart();
    expect([...bench.sampler.processes.keys()]).not.toContain('300:30000');
  });

  it('is rolled back as a whole when a transaction breaks in the middle', async () => {
    const run = await running();
    bench.sampler.spend(processOf(100), 30n);
    let asked = 0;
    const bad = {
      // Measured once when it comes in; it breaks when it is stored.
      toJSON: () => {
        asked += 1;
        if (asked > 1) throw new Error('cannot be stored');
        return {};
      },
    };
    bench.attribution.commands.event(callerOf(100), 'r', 'bad', bad);
    await expect(bench.checkpoint()).rejects.toThrow();
    expect(run.totals.native('cpu_seconds')).toBe(7n);
    restart();
    expect(current().totals.native('cpu_seconds')).toBe(7n);
    await bench.checkpoint();
    expect(current().totals.native('cpu_seconds')).toBe(37n);
  });

  it('shares one sample among all that wait', async () => {
    await running();
    const before = bench.sampler.pulls;
    await Promise.all(Array.from({ length: 50 }, () => bench.checkpoint()));
    expect(bench.sampler.pulls - before).toBeLessThanOrEqual(2);
  });
});

describe('ended processes', () => {
  it('are kept one by one up to a thousand; the rest is one line, and the sum is the run’s', async () => {
    const run = await running();
    for (let i = 1; i <= KEPT_PROCESSES + 50; i += 1) {
      bench.sampler.fork(processOf(100), processOf(1000 + i));
      bench.sampler.spend(processOf(1000 + i), BigInt(i));
      bench.sampler.exit(processOf(1000 + i), { exitCode: 0 });
      if (i % 400 === 0) await bench.checkpoint();
    }
    await bench.attribution.commands.end(callerOf(100), { runId: 'r', status: 'FINISHED', all: false });
    const lines = bench.attribution.store.endedProcesses(run);
    expect(lines).toHaveLength(KEPT_PROCESSES + 1);
    expect(lines[0]?.totals.native('cpu_seconds')).toBe(BigInt(KEPT_PROCESSES + 50));
    expect(lines.at(-1)).toMatchObject({ pid: 0, count: 51 });
    expect(summaryProcess(lines.at(-1)!)).toMatchObject({ rest: true, count: 51 });
    const sum = lines.reduce((total, line) => total + line.totals.native('cpu_seconds')!, 0n);
    expect(sum).toBe(run.totals.native('cpu_seconds'));
  });

  it('what the run used beyond those that were seen is in the line for the rest, and is no process', async () => {
    const run = await running();
    for (const ns of [5n, 6n]) {
      bench.sampler.fork(processOf(100), { pid: 0, startTicks: 0n });
      bench.sampler.spend({ pid: 0, startTicks: 0n }, ns);
      bench.sampler.exit({ pid: 0, startTicks: 0n });
      await bench.checkpoint();
    }
    const lines = bench.attribution.store.endedProcesses(run);
    expect(lines).toHaveLength(1);
    expect(summaryProcess(lines[0]!)).toEqual({ rest: true, count: 0, totals: { cpu_seconds: 11e-9 } });
  });
});
