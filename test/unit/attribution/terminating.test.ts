// What is done past a limit: nothing, unless the run asked for it; then SIGTERM, later SIGKILL, to that run's processes only.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { AttributionOptions } from '../../../src/attribution/attribution.js';
import type { Run } from '../../../src/attribution/model.js';
import type { LimitChange } from '../../../src/attribution/run-limits.js';
import { loadAddon, type Signalled } from '../../../src/native/addon.js';
import {
  type Bench,
  callerOf,
  openRequest,
  processOf,
  startBench,
  temporaryFolder,
} from '../support/bench.js';
import type { FakeKernel } from '../support/fake-sampler.js';

const HOUR_NS = 3_600_000_000_000n;

let folder: ReturnType<typeof temporaryFolder>;
let bench: Bench;
let kernel: FakeKernel;
let generation: number;
let sent: string[];
let answer: (pid: number) => Signalled;

const options: Partial<AttributionOptions> = {
  signal: ({ pid, startTicks }, uid, signal) => {
    sent.push(`${signal} ${pid}:${startTicks} of ${uid}`);
    return answer(pid);
  },
};

beforeEach(() => {
  folder = temporaryFolder();
  kernel = new Map();
  generation = 0;
  sent = [];
  answer = () => 'ok';
  bench = startBench(folder.path, options, kernel);
});

afterEach(() => {
  bench.close();
  folder.remove();
});

function restart(): void {
  generation += 1;
  const into = join(folder.path, `g${generation}`);
  const { clock } = bench;
  bench.crash(into);
  bench = startBench(into, options, kernel);
  Object.assign(bench.clock, clock);
}

const change = (more: Partial<LimitChange> = {}, value = 1): LimitChange => ({
  values: new Map([['core_hours', value]]),
  experiment: new Map(),
  ...more,
});
const terminating = (graceSeconds = 30) => change({ onExceeded: 'terminate', graceSeconds });

async function startRun(limits: LimitChange, runId = 'r', pid = 100): Promise<Run> {
  const { commands } = bench.attribution;
  const { run } = commands.start(callerOf(pid), { runId, limits });
  await commands.openSession(callerOf(pid), openRequest(runId, pid));
  bench.sampler.fork(processOf(pid), processOf(pid + 1));
  await bench.checkpoint();
  return run;
}

async function exceed(pid = 100): Promise<void> {
  bench.sampler.spend(processOf(pid), 2n * HOUR_NS);
  await bench.checkpoint();
}

const current = () => bench.attribution.store.find('r')[0] as Run;
const signalled = () =>
  [...bench.attribution.store.events(current())].filter(({ event }) => event === 'limit_signalled');

describe('a run past its limit', () => {
  it.each(['tell', 'refuse', undefined] as const)('that asked for %s is left alone', async (onExceeded) => {
    const run = await startRun(change(onExceeded === undefined ? {} : { onExceeded, graceSeconds: 0 }));
    await exceed();
    bench.clock.monoNs += 3600n * 1_000_000_000n;
    await bench.checkpoint();
    expect(run.limits).toMatchObject([{ state: 'exceeded' }]);
    expect(sent).toEqual([]);
  });

  it('that asked for it: SIGTERM to its processes, SIGKILL to the rest after the grace, and to nobody else', async () => {
    await startRun(terminating());
    await startRun(change(), 'another', 200);
    await exceed(200);
    expect(sent).toEqual([]);
    await exceed();
    expect(sent).toEqual(['15 100:10000 of 1000', '15 101:10100 of 1000']);
    bench.clock.monoNs += 29_000_000_000n;
    await bench.checkpoint();
    expect(sent).toHaveLength(2);
    bench.sampler.exit(processOf(101), { exitSignal: 15 });
    bench.clock.monoNs += 1_000_000_000n;
    await bench.checkpoint();
    await bench.checkpoint();
    expect(sent.slice(2)).toEqual(['9 100:10000 of 1000']);
    bench.sampler.exit(processOf(100), { exitSignal: 9 });
    for (let i = 0; i < 4; i += 1) await bench.checkpoint();
    expect(current()).toMatchObject({
      status: 'KILLED',
      reason: 'limit core_hours of 1 exceeded: ended by signal 9 (SIGKILL)',
    });
    expect(signalled().map(({ data }) => data)).toEqual([
      { signal: 'SIGTERM', reason: 'limit core_hours of 1 exceeded', pids: [100, 101] },
      { signal: 'SIGKILL', reason: 'limit core_hours of 1 exceeded', pids: [100] },
    ]);
  });

  it('that ends well after SIGTERM was interrupted, and did not finish', async () => {
    await startRun(terminating());
    await exceed();
    await bench.attribution.commands.end(callerOf(100), { runId: 'r', status: 'FINISHED', all: true });
    expect(current()).toMatchObject({ status: 'INTERRUPTED', reason: 'limit core_hours of 1 exceeded' });
  });

  it('goes on being ended by the next agent, whose first sample says nothing of a process that sleeps', async () => {
    await startRun(terminating());
    await exceed();
    await bench.checkpoint();
    restart();
    bench.clock.monoNs += 31_000_000_000n;
    await bench.checkpoint();
    await bench.checkpoint();
    expect(sent.slice(2)).toEqual(['9 100:10000 of 1000', '9 101:10100 of 1000']);
  });

  it('is spared where the limit is raised, or the owner thinks otherwise, within the grace', async () => {
    for (const spare of [change({}, 9), change({ onExceeded: 'tell' })]) {
      const runId = spare.onExceeded ?? 'raised';
      const run = await startRun(terminating(), runId);
      await exceed();
      sent = [];
      bench.attribution.commands.update(callerOf(100), runId, { limits: spare });
      bench.clock.monoNs += 60_000_000_000n;
      await bench.checkpoint();
      expect(sent).toEqual([]);
      await bench.attribution.commands.end(callerOf(100), { runId, status: 'FINISHED', all: true });
      expect(run).toMatchObject({ status: 'FINISHED' });
    }
  });

  it('that is begun again with a raised limit is left alone; with the same one it is not', async () => {
    await startRun(terminating());
    await exceed();
    await bench.attribution.commands.end(callerOf(100), { runId: 'r', status: 'FAILED', all: true });
    sent = [];
    await startRun(change({}, 9), 'r', 300);
    await bench.checkpoint();
    expect(sent).toEqual([]);
    await bench.attribution.commands.end(callerOf(300), { runId: 'r', status: 'FAILED', all: true });
    await startRun(change({}, 1), 'r', 400);
    expect(sent).toEqual(['15 400:40000 of 1000', '15 401:40100 of 1000']);
  });

  it('reaches no process that left it for another run, or whose own part has ended, since the last sample', async () => {
    const { commands } = bench.attribution;
    await startRun(terminating());
    commands.start(callerOf(100), { runId: 'other' });
    await commands.openSession(callerOf(100), openRequest('r', 500)); // bound by another; it may move
    await commands.openSession(callerOf(600), openRequest('r', 600));
    // As when the next sample was begun before either left.
    bench.sampler.bind = () => undefined;
    bench.sampler.endPart = () => undefined;
    await commands.openSession(callerOf(500), openRequest('other', 500));
    await commands.end(callerOf(600), { runId: 'r', status: 'FINISHED', all: false });
    await exceed();
    expect(sent).toEqual(['15 100:10000 of 1000', '15 101:10100 of 1000']);
  });

  it('asks who is born within the grace too, once, and nobody again after a restart', async () => {
    await startRun(terminating());
    await exceed();
    sent = [];
    bench.sampler.fork(processOf(100), processOf(102));
    await bench.checkpoint();
    await bench.checkpoint();
    expect(sent).toEqual(['15 102:10200 of 1000']);
    restart();
    await bench.checkpoint();
    await bench.checkpoint();
    expect(sent).toHaveLength(1);
  });

  it('says whom it may not signal, once', async () => {
    answer = (pid) => (pid === 100 ? 'denied' : 'gone');
    await startRun(terminating());
    await exceed();
    await bench.checkpoint();
    expect(sent).toHaveLength(2);
    expect(signalled().map(({ data }) => data)).toEqual([
      {
        signal: 'SIGTERM',
        reason: 'limit core_hours of 1 exceeded',
        pids: [],
        refused: [{ pid: 100, reason: 'the agent may not signal it, or it is another user’s' }],
      },
    ]);
    await bench.attribution.commands.end(callerOf(100), { runId: 'r', status: 'FINISHED', all: true });
    expect(current()).toMatchObject({ status: 'FINISHED' });
  });
});

describe('a signal', () => {
  const addon = loadAddon();
  const uid = process.getuid?.() as number;

  it('reaches exactly the process that is meant, of the user that is meant', async () => {
    const child = spawn('sleep', ['60']);
    await once(child, 'spawn');
    const pid = child.pid as number;
    const startTicks = addon.processIdentity(pid)?.process.startTicks as bigint;
    const target = { pid, startTicks, uid, signal: 15 };
    expect(addon.signalProcess({ ...target, startTicks: startTicks + 1n })).toBe('gone');
    expect(addon.signalProcess({ ...target, uid: uid + 1 })).toBe('denied');
    expect(child.exitCode).toBe(null);
    expect(addon.signalProcess(target)).toBe('ok');
    expect((await once(child, 'exit'))[1]).toBe('SIGTERM');
    expect(addon.signalProcess(target)).toBe('gone');
  });

  it('asks for a whole target', () => {
    expect(() => addon.signalProcess({ pid: 1, uid, signal: 0 } as never)).toThrow(/startTicks/);
    expect(() => addon.signalProcess(7 as never)).toThrow(/an object/);
  });
});
