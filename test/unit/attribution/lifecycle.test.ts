// The life of runs and parts: statuses by what is known of the processes, ends, moves, further attempts.

import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ExitedProcess } from '../../../src/native/addon.js';
import {
  type Bench,
  callerOf,
  openRequest,
  processOf,
  startBench,
  temporaryFolder,
} from '../support/bench.js';

let folder: ReturnType<typeof temporaryFolder>;
let bench: Bench;

beforeEach(() => {
  folder = temporaryFolder();
  bench = startBench(folder.path);
});

afterEach(() => {
  bench.close();
  folder.remove();
});

/** A run of process 100 with its own session. */
async function boundRun(runId = 'r1', pid = 100) {
  const { commands } = bench.attribution;
  const { run } = commands.start(callerOf(pid), { runId });
  const session = await commands.openSession(callerOf(pid), openRequest(runId, pid));
  return { run, session };
}

/** Two checkpoints and the finishing in between. */
async function settled() {
  for (let i = 0; i < 4; i += 1) await bench.checkpoint();
}

describe('start', () => {
  it('begins REGISTERED, becomes RUNNING with its first process, and attaches the same id', async () => {
    const { commands } = bench.attribution;
    const first = commands.start(callerOf(100), { runId: 'r1', tags: { a: '1' } });
    expect(first).toMatchObject({ created: true, run: { status: 'REGISTERED', attempt: 1 } });
    const second = commands.start(callerOf(101), { runId: 'r1', tags: { b: '2' }, name: 'late' });
    expect(second.created).toBe(false);
    expect(second.run).toBe(first.run);
    expect(first.run.tags).toEqual({ a: '1', b: '2' });
    expect(first.run.name).toBe('late');
    await commands.openSession(callerOf(100), openRequest('r1', 100));
    expect(first.run.status).toBe('RUNNING');
  });

  it('has the lowest rank of the processes that attach, and the first size that is told', () => {
    const { commands } = bench.attribution;
    const { run } = commands.start(callerOf(100), { runId: 'r1' });
    for (const [pid, rank] of [
      [101, 9],
      [102, 8],
      [103, 10],
    ] as const)
      commands.start(callerOf(pid), { runId: 'r1', rank, worldSize: 16, localWorldSize: 8 });
    commands.start(callerOf(104), { runId: 'r1', worldSize: 4 });
    expect(run).toMatchObject({ rank: 8, worldSize: 16, localWorldSize: 8 });
  });

  it('makes an id where none is given, and refuses one that is not', () => {
    const { commands } = bench.attribution;
    expect(commands.start(callerOf(1), {}).run.runId).toMatch(/^\d{8}-\d{6}-[0-9a-f]{6}$/);
    for (const runId of ['../x', '', '.hidden', 'a b', 'x'.repeat(65)]) {
      expect(() => commands.start(callerOf(1), { runId })).toThrow(/not a run id/);
    }
  });

  it('keeps the runs of two owners apart', () => {
    const { commands } = bench.attribution;
    const mine = commands.start(callerOf(1, 1000, 7n), { runId: 'same' }).run;
    const container = commands.start(callerOf(2, 1000, 8n), { runId: 'same' });
    expect(container.created).toBe(true);
    expect(container.run.key).not.toBe(mine.key);
    expect(() => commands.visible(callerOf(3, 1001, 7n), 'same')).toThrow(/no run/);
    const root = { ...callerOf(4, 0, 7n), privileged: true };
    expect(bench.attribution.store.find('same')).toHaveLength(2);
    expect(commands.visible(root, 'same').runId).toBe('same');
  });

  it('begins a further attempt after the end, with the same key', async () => {
    const { run } = await boundRun();
    await bench.attribution.commands.end(callerOf(100), { runId: 'r1', status: 'FINISHED', all: false });
    const again = bench.attribution.commands.start(callerOf(100), { runId: 'r1' });
    expect(again).toMatchObject({ created: true, run: { attempt: 2, key: run.key } });
    const late = () => bench.attribution.commands.start(callerOf(9, 1000, 8n), { runId: 'r1', attempt: 1 });
    expect(late().created).toBe(true);
  });
});

describe('run.end', () => {
  it('ends the run with its last part; the status is the worst', async () => {
    const { commands } = bench.attribution;
    const { run } = await boundRun();
    await commands.openSession(callerOf(200), openRequest('r1', 200));
    const first = await commands.end(callerOf(100), {
      runId: 'r1',
      status: 'FAILED',
      reason: 'ValueError: x',
      all: false,
    });
    expect(first.final).toBe(false);
    expect(run.status).toBe('RUNNING');
    bench.sampler.spend(processOf(200), 7n);
    const last = await commands.end(callerOf(200), { runId: 'r1', status: 'FINISHED', all: false });
    expect(last.final).toBe(true);
    expect(run).toMatchObject({ status: 'FAILED', reason: 'ValueError: x' });
    expect(run.totals.native('cpu_seconds')).toBe(7n);
    expect(bench.written).toHaveLength(1);
    expect(bench.written[0]?.status).toBe('FAILED');
  });

  it('says the same again when asked again', async () => {
    const { commands } = bench.attribution;
    await boundRun();
    const end = { runId: 'r1', status: 'FINISHED', all: false } as const;
    expect((await commands.end(callerOf(100), end)).final).toBe(true);
    expect((await commands.end(callerOf(100), { ...end, status: 'FAILED' })).run.status).toBe('FINISHED');
  });

  it('ends all only for the process that began the run', async () => {
    const { commands } = bench.attribution;
    await boundRun();
    await commands.openSession(callerOf(200), openRequest('r1', 200));
    const all = { runId: 'r1', status: 'INTERRUPTED', reason: 'Ctrl-C', all: true } as const;
    await expect(commands.end(callerOf(200), all)).rejects.toMatchObject({ code: 'not_authorized' });
    const stranger = { ...all, all: false };
    await expect(commands.end(callerOf(300), stranger)).rejects.toMatchObject({ code: 'not_authorized' });
    const { final, run } = await commands.end(callerOf(100), all);
    expect(final).toBe(true);
    expect(run).toMatchObject({ status: 'INTERRUPTED', reason: 'Ctrl-C' });
    expect(bench.sampler.processes.size).toBe(0);
  });

  it('refuses what comes after the end', async () => {
    const { commands } = bench.attribution;
    const { run } = await boundRun();
    await commands.end(callerOf(100), { runId: 'r1', status: 'FINISHED', all: false });
    expect(run.status).toBe('FINISHED');
    const ended = { code: 'run_ended' };
    await expect(commands.openSession(callerOf(5), openRequest('r1', 5))).rejects.toMatchObject(ended);
    expect(() => commands.progress(callerOf(5), { runId: 'r1', steps: 1 })).toThrow(/has ended/);
  });
});

describe('the end of processes', () => {
  const cases: { name: string; how: Partial<ExitedProcess>; status: string; reason?: RegExp }[] = [
    { name: 'SIGKILL', how: { exitSignal: 9 }, status: 'KILLED', reason: /signal 9 \(SIGKILL\)/ },
    {
      name: 'the OOM killer',
      how: { exitSignal: 9, oomKilled: true },
      status: 'KILLED',
      reason: /out of memory/,
    },
    { name: 'SIGTERM', how: { exitSignal: 15 }, status: 'INTERRUPTED', reason: /SIGTERM/ },
    { name: 'SIGINT', how: { exitSignal: 2 }, status: 'INTERRUPTED', reason: /SIGINT/ },
    { name: 'exit code 3', how: { exitCode: 3 }, status: 'FAILED', reason: /exit code 3/ },
    { name: 'exit code 0 without a word', how: { exitCode: 0 }, status: 'LOST', reason: /code 0/ },
    { name: 'nothing known', how: {}, status: 'LOST', reason: /not known/ },
  ];

  for (const { name, how, status, reason } of cases) {
    it(`${name} → ${status}`, async () => {
      const { run } = await boundRun();
      bench.sampler.exit(processOf(100), how);
      await settled();
      expect(run.status).toBe(status);
      expect(run.reason).toMatch(reason ?? /./);
    });
  }

  it('exit code 0 finishes what was bound from outside, and a worker', async () => {
    const { commands } = bench.attribution;
    const { run } = commands.start(callerOf(50), { runId: 'cmd' });
    await commands.openSession(callerOf(50), openRequest('cmd', 60));
    expect(bench.sampler.calls).toContain(`bind 0 60:6000 run ${run.handle}`);
    await commands.openSession(callerOf(61), openRequest('cmd', 61, { ancestors: [processOf(60)] }));
    bench.sampler.exit(processOf(60), { exitCode: 0 });
    bench.sampler.exit(processOf(61), { exitCode: 0 });
    await settled();
    expect(run.status).toBe('FINISHED');
  });

  it('lasts while an unannounced child lives', async () => {
    const { run } = await boundRun();
    bench.sampler.fork(processOf(100), processOf(101));
    bench.sampler.exit(processOf(100), { exitSignal: 9 });
    await settled();
    expect(run).toMatchObject({ status: 'RUNNING', processes: 1 });
    bench.sampler.spend(processOf(101), 5n);
    bench.sampler.exit(processOf(101), { exitCode: 0 });
    await settled();
    expect(run.status).toBe('KILLED');
    expect(run.totals.native('cpu_seconds')).toBe(5n);
  });

  it('ends a part whose process died before the sampler saw it', async () => {
    bench.sampler.ignoreBinds = true;
    const { run } = await boundRun();
    await settled();
    expect(run.status).toBe('RUNNING');
    bench.dead.add(100);
    await settled();
    expect(run).toMatchObject({ status: 'LOST', reason: 'ended, and how is not known' });
  });
});

describe('the documents of an ended run', () => {
  it('are tried again where the disk was full for a moment, and not for ever', async () => {
    bench.close();
    for (const failures of [2, 100]) {
      let tries = 0;
      const writeFiles = async () => {
        tries += 1;
        if (tries <= failures) throw new Error('ENOSPC');
      };
      const into = mkdtempSync(join(folder.path, 'files-'));
      bench = startBench(into, { writeFiles, checkpointIntervalMs: 1 });
      const { run } = await boundRun();
      await bench.attribution.commands.end(callerOf(100), { runId: 'r1', status: 'FINISHED', all: false });
      expect({ tries, status: run.status }).toEqual({ tries: Math.min(failures + 1, 5), status: 'FINISHED' });
      expect(bench.persistence.undocumented(10)).toEqual(failures > 5 ? [{ key: run.key, attempt: 1 }] : []);
      bench.close();
    }
    bench = startBench(mkdtempSync(join(folder.path, 'files-')));
  });
});

describe('a part that ended unseen', () => {
  const end = { runId: 'cmd', status: 'FAILED', reason: 'exit code 3', all: false } as const;

  /** Process 60, bound by 50, which has ended; nobody saw how. */
  async function lostCommand() {
    const { commands } = bench.attribution;
    const { run } = commands.start(callerOf(50), { runId: 'cmd' });
    await commands.openSession(callerOf(50), openRequest('cmd', 60));
    bench.sampler.exit(processOf(60));
    bench.dead.add(60);
    await settled();
    return run;
  }

  it('is explained by who bound it', async () => {
    const run = await lostCommand();
    expect(run.status).toBe('RUNNING');
    const { final } = await bench.attribution.commands.end(callerOf(50), end);
    expect(final).toBe(true);
    expect(run).toMatchObject({ status: 'FAILED', reason: 'exit code 3' });
    expect(bench.written).toHaveLength(1);
  });

  it('is LOST when that one ends without a word, or takes too long', async () => {
    const run = await lostCommand();
    bench.clock.monoNs += 6_000_000_000n;
    await settled();
    expect(run.status).toBe('LOST');
    bench.sampler.processes.clear();
    const { commands } = bench.attribution;
    const other = commands.start(callerOf(51), { runId: 'other' }).run;
    await commands.openSession(callerOf(51), openRequest('other', 61));
    bench.sampler.exit(processOf(61));
    bench.dead.add(51);
    await settled();
    expect(other.status).toBe('LOST');
  });

  it('is explained by its own last word, read after its end was seen', async () => {
    const { run } = await boundRun();
    bench.sampler.exit(processOf(100), { exitCode: 0 });
    await bench.checkpoint();
    const word = { runId: 'r1', status: 'FINISHED', all: false } as const;
    expect((await bench.attribution.commands.end(callerOf(100), word)).final).toBe(true);
    expect(run.status).toBe('FINISHED');
  });
});

describe('moves and bindings', () => {
  it('leaves a process where it is when its move is refused', async () => {
    const { commands } = bench.attribution;
    const outer = commands.start(callerOf(50), { runId: 'outer' }).run;
    await commands.openSession(callerOf(50), openRequest('outer', 60));
    commands.start(callerOf(60), { runId: 'inner' });
    const bad = commands.openSession(callerOf(60), openRequest('inner', 60, { birthScope: 'Bad:x' }));
    await expect(bad).rejects.toMatchObject({ code: 'invalid_params' });
    bench.sampler.exit(processOf(60), { exitSignal: 9 });
    await settled();
    expect(outer.status).toBe('KILLED');
  });

  it('refuses a process with a session of its own in another run', async () => {
    const { commands } = bench.attribution;
    await boundRun();
    commands.start(callerOf(100), { runId: 'r2' });
    const moved = commands.openSession(callerOf(100), openRequest('r2', 100));
    await expect(moved).rejects.toMatchObject({ code: 'already_bound' });
  });

  it('moves a process that was bound from outside when it binds itself', async () => {
    const { commands } = bench.attribution;
    const outer = commands.start(callerOf(50), { runId: 'outer' }).run;
    await commands.openSession(callerOf(50), openRequest('outer', 60));
    bench.sampler.spend(processOf(60), 11n);
    const inner = commands.start(callerOf(60), { runId: 'inner' }).run;
    await commands.openSession(callerOf(60), openRequest('inner', 60));
    bench.sampler.spend(processOf(60), 4n);
    await settled();
    expect(outer).toMatchObject({ status: 'FINISHED' });
    expect(outer.totals.native('cpu_seconds')).toBe(11n);
    expect(inner.status).toBe('RUNNING');
    expect(inner.totals.native('cpu_seconds')).toBe(4n);
  });

  it('gives a new token for the same part when a process opens again', async () => {
    const { commands } = bench.attribution;
    const { run, session } = await boundRun();
    const again = await commands.openSession(callerOf(100), openRequest('r1', 100));
    expect(again.token).not.toBe(session.token);
    expect(() => commands.session(callerOf(100), session.token)).toThrow(/open one again/);
    expect(() => commands.session(callerOf(100, 1001), again.token)).toThrow(/open one again/);
    bench.sampler.exit(processOf(100), { exitCode: 1 });
    await settled();
    expect(run.status).toBe('FAILED');
  });

  it('ends a run that never got a process as LOST', async () => {
    const { run } = bench.attribution.commands.start(callerOf(1), { runId: 'never' });
    await bench.checkpoint();
    expect(run.status).toBe('REGISTERED');
    bench.clock.monoNs += 61_000_000_000n;
    await settled();
    expect(run).toMatchObject({ status: 'LOST', reason: 'no process was ever bound to it' });
  });
});

describe('phases, progress, events', () => {
  it('partitions the totals by phase', async () => {
    const { commands } = bench.attribution;
    const { run } = await boundRun();
    bench.sampler.spend(processOf(100), 3n);
    await commands.phase(callerOf(100), 'r1', 'warmup');
    bench.sampler.spend(processOf(100), 5n);
    await commands.phase(callerOf(100), 'r1', 'train');
    bench.sampler.spend(processOf(100), 11n);
    await commands.end(callerOf(100), { runId: 'r1', status: 'FINISHED', all: false });
    const phases = run.phases.map((phase) => [phase.name, phase.totals.native('cpu_seconds')]);
    expect(phases).toEqual([
      [null, 3n],
      ['warmup', 5n],
      ['train', 11n],
    ]);
  });

  it('counts progress, published with the checkpoint', async () => {
    const { commands } = bench.attribution;
    const { run, session } = await boundRun();
    commands.defineScopes(session, [{ id: 1, parent: 0, level: 'tasker', name: 't' }]);
    commands.progress(callerOf(100), { runId: 'r1', steps: 2 });
    commands.progress(callerOf(100), { runId: 'r1', scope: 'tasker:t', steps: 3, episodes: 1 });
    expect(run.progress.steps).toBe(0);
    await bench.checkpoint();
    expect(run.progress).toEqual({ steps: 2, episodes: 0 });
    expect(run.scope('tasker:t')?.progress).toEqual({ steps: 3, episodes: 1 });
  });

  it('keeps an audit trail without gaps', async () => {
    const { commands, store } = bench.attribution;
    const { run } = await boundRun();
    commands.event(callerOf(100), 'r1', 'checkpoint_saved', { step: 3 });
    expect(() => commands.event(callerOf(100), 'r1', 'run.ended', {})).toThrow(/own/);
    await commands.end(callerOf(100), { runId: 'r1', status: 'FINISHED', all: false });
    const events = [...store.events(run)];
    expect(events.map((event) => event.event)).toEqual([
      'run.started',
      'process.bound',
      'checkpoint_saved',
      'process.ended',
      'run.ended',
    ]);
    expect(events.map((event) => event.seq)).toEqual([1, 2, 3, 4, 5]);
    expect(events[2]?.data).toEqual({ step: 3 });
  });

  it('stores no password of a tracker address', async () => {
    const { commands } = bench.attribution;
    commands.start(callerOf(1), { runId: 'r', tracker: { uri: 'https://me:secret@host/x' } });
    await bench.checkpoint();
    const stored = bench.persistence.findById('r')[0];
    expect(stored?.tracker).toEqual({ uri: 'https://host/x' });
  });
});
