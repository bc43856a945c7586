// Limits of running runs and of experiments, on a real database: told once, over kills of the agent and over attempts.

import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { AttributionOptions } from '../../../src/attribution/attribution.js';
import { DEFAULT_LIMITS } from '../../../src/attribution/limits.js';
import type { LimitTold, Run } from '../../../src/attribution/model.js';
import type { LimitChange, RunLimitName } from '../../../src/attribution/run-limits.js';
import type { TrackedRun } from '../../../src/attribution/tracked-run.js';
import { openDatabase } from '../../../src/state/database.js';
import { Retention } from '../../../src/state/retention.js';
import { SqlitePersistence } from '../../../src/state/sqlite-persistence.js';
import {
  type Bench,
  callerOf,
  openRequest,
  processOf,
  silent,
  startBench,
  temporaryFolder,
} from '../support/bench.js';
import type { FakeKernel } from '../support/fake-sampler.js';

const CORE_HOUR_NS = 3_600_000_000_000n;

let folder: ReturnType<typeof temporaryFolder>;
let bench: Bench;
let kernel: FakeKernel;
let generation: number;
/** What was said to whoever listens, over all agents of a test. */
let told: string[];

const options: Partial<AttributionOptions> = {
  price: (totals) => {
    const seconds = totals.value('cpu_seconds');
    return seconds === undefined ? undefined : (seconds / 3600) * 2;
  },
};

function listen(): void {
  bench.attribution.store.on('limit', (run, { event, state }: LimitTold) => {
    const where = state.scope ?? state.level ?? state.experiment ?? '';
    told.push(`${run.runId} ${event} ${state.limit} ${where}`.trim());
  });
}

beforeEach(() => {
  folder = temporaryFolder();
  kernel = new Map();
  generation = 0;
  told = [];
  bench = startBench(folder.path, options, kernel);
  listen();
});

afterEach(() => {
  bench.close();
  folder.remove();
});

/** Kills the agent and starts the next one; time goes on. */
function restart(): void {
  generation += 1;
  const into = join(folder.path, `g${generation}`);
  const { clock } = bench;
  bench.crash(into);
  bench = startBench(into, options, kernel);
  Object.assign(bench.clock, clock);
  listen();
}

type Values = Record<string, number | null>;

function change(values: Values, experiment: Values = {}, more: Partial<LimitChange> = {}): LimitChange {
  return {
    values: new Map(Object.entries(values)),
    experiment: new Map(Object.entries(experiment)) as Map<RunLimitName, number | null>,
    ...more,
  };
}

async function startRun(runId: string, limits: LimitChange, pid = 100, experiment?: string): Promise<Run> {
  const { commands } = bench.attribution;
  const request = { runId, limits, ...(experiment === undefined ? {} : { experiment }) };
  const { run } = commands.start(callerOf(pid), request);
  const session = await commands.openSession(callerOf(pid), openRequest(runId, pid));
  commands.defineScopes(session, [
    { id: 1, parent: 0, level: 'builder', name: 'b' },
    { id: 2, parent: 1, level: 'tasker', name: 't' },
    { id: 3, parent: 1, level: 'tasker', name: 'u' },
    { id: 4, parent: 3, level: 'network', name: 'n' },
  ]);
  await bench.checkpoint();
  return run;
}

async function endRun(runId: string, pid = 100): Promise<void> {
  await bench.attribution.commands.end(callerOf(pid), { runId, status: 'FINISHED', all: true });
}

const current = (runId = 'r') => bench.attribution.store.find(runId)[0] as Run;
const stateOf = (run: Run, limit: string) => run.limits.find((state) => state.limit === limit);
const audited = (run: Run) =>
  [...bench.attribution.store.events(run)].filter(({ event }) => event.startsWith('limit_'));

async function spend(share: bigint, pid = 100): Promise<void> {
  bench.sampler.spend(processOf(pid), (CORE_HOUR_NS * share) / 100n);
  await bench.checkpoint();
}

describe('a limit of a run', () => {
  it('is told at 80 % and at 100 %, once each, in the checkpoint that sees it', async () => {
    const run = await startRun('r', change({ core_hours: 1, cost: 4, gpu_hours: 1 }));
    await spend(79n);
    expect(told).toEqual([]);
    await spend(1n);
    expect(told).toEqual(['r limit_warning core_hours']);
    expect(stateOf(run, 'core_hours')).toMatchObject({ used: 0.8, ratio: 0.8, state: 'warned' });
    expect(stateOf(run, 'core_hours')?.remaining).toBeCloseTo(0.2, 12);
    await spend(20n);
    await spend(1n);
    expect(told.slice(1)).toEqual(['r limit_exceeded core_hours']);
    expect(stateOf(run, 'cost')).toMatchObject({ used: 2.02, state: 'ok' });
    expect(stateOf(run, 'gpu_hours')).toEqual({ limit: 'gpu_hours', value: 1, state: 'unknown' });
    expect(audited(run).map(({ event, data }) => [event, data.limit, data.ratio])).toEqual([
      ['limit_warning', 'core_hours', 0.8],
      ['limit_exceeded', 'core_hours', 1],
    ]);
    expect(bench.attribution.budgets.counts).toEqual({ warned: 1, exceeded: 1 });
  });

  it('is stored before it is told, and told once however often the agent is killed', async () => {
    await startRun('r', change({ core_hours: 1 }));
    await spend(85n);
    restart();
    await bench.checkpoint();
    bench.sampler.spend(processOf(100), CORE_HOUR_NS);
    restart();
    await bench.checkpoint();
    await bench.checkpoint();
    restart();
    await bench.checkpoint();
    expect(told).toEqual(['r limit_warning core_hours', 'r limit_exceeded core_hours']);
    expect(audited(current()).map(({ event }) => event)).toEqual(['limit_warning', 'limit_exceeded']);
    expect(stateOf(current(), 'core_hours')).toMatchObject({ state: 'exceeded', used: 1.85 });
  });

  it('that cannot be looked at keeps no figure from being stored and shown', async () => {
    bench.close();
    const broken: Partial<AttributionOptions> = {
      ...options,
      price: () => {
        throw new Error('no price');
      },
    };
    bench = startBench(folder.path, broken, kernel);
    const { commands } = bench.attribution;
    const { run } = commands.start(callerOf(100), { runId: 'r' });
    await commands.openSession(callerOf(100), openRequest('r', 100));
    Object.assign((run as TrackedRun).record, {
      limits: { values: { cost: 1 }, marks: {}, onExceeded: 'tell', graceSeconds: 1 },
    });
    await spend(50n);
    await spend(10n);
    expect(run.totals.value('cpu_seconds')).toBe(2160);
    await endRun('r');
    expect(run.status).toBe('FINISHED');
  });

  it('is not told while it cannot be stored', async () => {
    await startRun('r', change({ core_hours: 1 }));
    bench.sampler.spend(processOf(100), 2n * CORE_HOUR_NS);
    const { persistence } = bench;
    const commit = persistence.commit.bind(persistence);
    let calls = 0;
    persistence.commit = (batch, durable) => {
      calls += 1;
      // The figures are stored; that they pass the limit is not.
      if (calls === 2) throw new Error('disk full');
      commit(batch, durable);
    };
    await expect(bench.checkpoint()).rejects.toThrow('disk full');
    expect(told).toEqual([]);
    await bench.checkpoint();
    expect(told).toEqual(['r limit_warning core_hours', 'r limit_exceeded core_hours']);
    expect(audited(current())).toHaveLength(2);
  });

  it('of wall time goes by the clock, whatever the run uses, and over its attempts', async () => {
    await startRun('r', change({ runtime_seconds: 100 }));
    bench.clock.monoNs += 60_000_000_000n;
    await bench.checkpoint();
    await endRun('r');
    bench.clock.monoNs += 1_000_000_000_000n; // between two attempts
    const run = await startRun('r', change({}), 101);
    expect(run.attempt).toBe(2);
    bench.clock.monoNs += 19_000_000_000n;
    await bench.checkpoint();
    expect(told).toEqual([]);
    bench.clock.monoNs += 1_000_000_000n;
    await bench.checkpoint();
    expect(told).toEqual(['r limit_warning runtime_seconds']);
    expect(stateOf(run, 'runtime_seconds')).toMatchObject({ used: 80, remaining: 20 });
  });

  it('counts what earlier attempts used, and is not told again by a later one', async () => {
    await startRun('r', change({ core_hours: 1, 'steps@tasker:t': 10 }));
    await spend(90n);
    await endRun('r');
    const run = await startRun('r', change({}), 101);
    expect(stateOf(run, 'core_hours')).toMatchObject({ used: 0.9, state: 'warned' });
    await spend(10n, 101);
    expect(told).toEqual(['r limit_warning core_hours', 'r limit_exceeded core_hours']);
  });

  it('that is raised may be told again, that is taken away is not', async () => {
    const run = await startRun('r', change({ core_hours: 1, cost: 1 }));
    await spend(100n);
    expect(told).toHaveLength(4);
    const { commands } = bench.attribution;
    commands.update(callerOf(100), 'r', { limits: change({ core_hours: 2, cost: null }) });
    expect(run.limits).toMatchObject([{ limit: 'core_hours', value: 2, used: 1, state: 'ok' }]);
    await bench.checkpoint();
    expect(told).toHaveLength(4);
    await spend(60n);
    expect(told.slice(4)).toEqual(['r limit_warning core_hours']);
    restart();
    expect(stateOf(current(), 'core_hours')?.value ?? 2).toBe(2);
    await bench.checkpoint();
    expect(stateOf(current(), 'core_hours')).toMatchObject({ value: 2, state: 'warned' });
  });

  it('that is raised with the start of a further attempt is no longer reached', async () => {
    await startRun('r', change({ core_hours: 1, cost: 1 }));
    await spend(100n);
    await endRun('r');
    expect(told).toHaveLength(4);
    const run = await startRun('r', change({ core_hours: 10 }), 101);
    expect(stateOf(run, 'core_hours')).toMatchObject({ value: 10, used: 1, state: 'ok' });
    expect(stateOf(run, 'cost')).toMatchObject({ value: 1, used: 2, state: 'exceeded' });
    await spend(700n, 101);
    expect(told.slice(4)).toEqual(['r limit_warning core_hours']);
  });

  it('of many scopes are looked up at once: an earlier attempt is read once', async () => {
    const places = ['builder:b', 'builder:b/tasker:t', 'builder:b/tasker:u', 'builder', 'tasker', 'network'];
    const values = Object.fromEntries(places.map((place) => [`core_hours@${place}`, 1]));
    await startRun('r', change({ core_hours: 1, ...values }));
    await endRun('r');
    restart();
    const find = vi.spyOn(bench.persistence, 'findByKey');
    await startRun('r', change({ steps: 5 }, {}, { onExceeded: 'refuse' }), 101);
    expect(find.mock.calls.length).toBeLessThanOrEqual(2); // to admit it, and to begin it
  });

  it('of the wall time counts of an attempt that a reboot ended what was seen of it', async () => {
    await startRun('r', change({ runtime_seconds: 100 }));
    const seen = Number(current().coverage.elapsedNs) / 1e9;
    generation += 1;
    const into = join(folder.path, `g${generation}`);
    bench.crash(into);
    bench = startBench(into, { ...options, bootId: 'boot-2' }, new Map());
    bench.clock.monoNs = 1_000_000_000n; // a clock that has begun anew
    await expect.poll(() => current().status).toBe('LOST');
    const run = await startRun('r', change({}), 101);
    bench.clock.monoNs += 7_000_000_000n;
    await bench.checkpoint();
    expect(seen).toBeGreaterThan(0);
    expect(stateOf(run, 'runtime_seconds')?.used).toBeCloseTo(seen + 7, 6);
  });

  it('stays with the run when it has ended, also for the next agent', async () => {
    await startRun('r', change({ core_hours: 1 }));
    await spend(90n);
    await endRun('r');
    expect(stateOf(bench.written[0] as Run, 'core_hours')).toMatchObject({ used: 0.9, state: 'warned' });
    restart();
    expect(stateOf(current(), 'core_hours')).toMatchObject({ used: 0.9, state: 'warned' });
  });
});

describe('limits of scopes and levels', () => {
  const progress = (scope: string | undefined, steps: number) =>
    bench.attribution.commands.progress(callerOf(100), {
      runId: 'r',
      steps,
      ...(scope === undefined ? {} : { scope }),
    });

  it('count what lies below, and a level all its scopes together', async () => {
    const run = await startRun(
      'r',
      change({
        steps: 100,
        'steps@builder:b/tasker:t': 10,
        'steps@builder:b/tasker:u': 10,
        'steps@tasker': 15,
        'core_hours@builder:b/tasker:t': 1,
        'steps@tasker:gone': 1,
      }),
    );
    progress('builder:b/tasker:t', 8);
    progress('builder:b/tasker:u/network:n', 3);
    progress(undefined, 1);
    bench.sampler.spend(processOf(100), CORE_HOUR_NS, run.scope('builder:b/tasker:t')?.slot as number);
    await bench.checkpoint();
    expect(told).toEqual([
      'r limit_warning steps builder:b/tasker:t',
      'r limit_warning core_hours builder:b/tasker:t',
      'r limit_exceeded core_hours builder:b/tasker:t',
    ]);
    const used = run.limits.map(({ limit, scope, level, used }) => [limit, scope ?? level, used]);
    expect(used).toEqual([
      ['steps', undefined, 12],
      ['steps', 'builder:b/tasker:t', 8],
      ['steps', 'builder:b/tasker:u', 3],
      ['steps', 'tasker', 11],
      ['core_hours', 'builder:b/tasker:t', 1],
      // Nothing is known of a scope that is not there.
      ['steps', 'tasker:gone', undefined],
    ]);
    restart();
    progress('builder:b/tasker:t', 2);
    await bench.checkpoint();
    progress('builder:b/tasker:u', 2);
    await bench.checkpoint();
    expect(told.slice(3)).toEqual([
      'r limit_exceeded steps builder:b/tasker:t',
      'r limit_warning steps tasker',
      'r limit_exceeded steps tasker',
    ]);
  });
});

describe('a budget of an experiment', () => {
  it('counts all its runs, ended ones too, and is told once to those that live', async () => {
    await startRun('r1', change({}, { core_hours: 1 }), 100, 'demo');
    await spend(50n, 100);
    await endRun('r1', 100);
    await startRun('other', change({}), 99, 'else');
    await spend(100n, 99);
    const second = await startRun('r2', change({}), 101, 'demo');
    await spend(30n, 101);
    expect(told).toEqual(['r2 limit_warning core_hours demo']);
    restart();
    await bench.checkpoint();
    const third = await startRun('r3', change({}), 102, 'demo');
    expect(third.limits).toMatchObject([{ experiment: 'demo', used: 0.8, state: 'warned' }]);
    await spend(25n, 102);
    expect(told.slice(1)).toEqual(['r2 limit_exceeded core_hours demo', 'r3 limit_exceeded core_hours demo']);
    expect(current('r2').limits).toEqual(current('r3').limits);
    expect(second.limits[0]?.used).toBe(0.8);
    expect(current('other').limits).toEqual([]);
  });

  it('belongs to one owner', async () => {
    await startRun('r1', change({}, { steps: 5 }), 100, 'demo');
    const { run } = bench.attribution.commands.start(callerOf(200, 2000), {
      runId: 'r1',
      experiment: 'demo',
    });
    await bench.checkpoint();
    expect(run.limits).toEqual([]);
  });

  it('refuses a start over it only where the run asks for that; nothing of a refused run is left', async () => {
    await startRun('r1', change({}, { core_hours: 1 }), 100, 'demo');
    await spend(100n);
    await endRun('r1');
    const { commands } = bench.attribution;
    const asking = { runId: 'r2', experiment: 'demo', limits: change({}, {}, { onExceeded: 'refuse' }) };
    expect(() => commands.start(callerOf(101), asking)).toThrow(
      expect.objectContaining({
        code: 'over_budget',
        message: expect.stringMatching(/experiment\.core_hours of 1 exceeded/),
      }),
    );
    expect(bench.attribution.store.find('r2')).toEqual([]);
    // Told, and not refused.
    const { run } = commands.start(callerOf(101), { ...asking, limits: change({}) });
    expect(run.limits).toMatchObject([{ experiment: 'demo', state: 'exceeded' }]);
    await bench.checkpoint();
    // Raised with the start itself.
    const raised = change({}, { core_hours: 2 }, { onExceeded: 'refuse' });
    expect(commands.start(callerOf(102), { ...asking, runId: 'r3', limits: raised }).created).toBe(true);
  });

  it('refuses a further attempt over the run’s own limit', async () => {
    await startRun('r', change({ core_hours: 1 }, {}, { onExceeded: 'refuse' }));
    await spend(100n);
    await endRun('r');
    expect(() => bench.attribution.commands.start(callerOf(101), { runId: 'r' })).toThrow(/over budget/);
  });

  it('keeps what runs used that retention removes', async () => {
    await startRun('r1', change({}, { core_hours: 1, steps: 9, runtime_seconds: 50 }), 100, 'demo');
    bench.attribution.commands.progress(callerOf(100), { runId: 'r1', scope: 'builder:b', steps: 3 });
    bench.clock.monoNs += 5_000_000_000n;
    await spend(40n);
    await endRun('r1');
    const at = bench.clock.nowMs + 10 * 86_400_000;
    const into = join(folder.path, 'swept');
    bench.crash(into);
    const db = openDatabase(into, silent, at);
    const parts = { db, stateDir: into, log: silent, nowMs: () => at };
    const retention = new Retention({ ...parts, days: () => 1, maxBytes: () => 1e9 });
    expect(await retention.sweep()).toBe(1);
    db.close();
    bench = startBench(into, options, kernel);
    listen();
    expect(bench.attribution.store.find('r1')).toEqual([]);
    const run = await startRun('r2', change({}), 101, 'demo');
    await spend(40n, 101);
    expect(run.limits.map(({ limit, used }) => [limit, used])).toEqual([
      ['core_hours', 0.8],
      ['steps', 3],
      ['runtime_seconds', 5],
    ]);
    expect(told).toEqual(['r2 limit_warning core_hours demo']);
  });

  it('that cannot be read is none, and keeps nobody from starting', async () => {
    await startRun('r1', change({}, { core_hours: 1 }), 100, 'demo');
    const into = join(folder.path, 'damaged');
    bench.crash(into);
    for (const record of ['{"values":3}', '{', '{"values":{"steps":-1},"marks":{}}']) {
      const db = openDatabase(into, silent, 0);
      db.prepare('UPDATE experiments SET record = ?').run(record);
      expect(new SqlitePersistence(db).experiments()).toEqual([]);
      db.close();
    }
    bench = startBench(into, options, kernel);
    await bench.checkpoint();
    expect(current('r1').limits).toEqual([]);
  });

  it('needs an experiment, and goes when all of it is taken away', async () => {
    const { commands } = bench.attribution;
    const alone = { runId: 'r', limits: change({}, { steps: 1 }) };
    expect(() => commands.start(callerOf(100), alone)).toThrow(/the run has no experiment/);
    await startRun('r1', change({}, { steps: 1 }), 100, 'demo');
    commands.update(callerOf(100), 'r1', { limits: change({}, { steps: null }) });
    await bench.checkpoint();
    expect(current('r1').limits).toEqual([]);
    restart();
    expect(bench.persistence.experiments()).toEqual([]);
  });
});

describe('room', () => {
  it('for experiments with a budget is bounded for each owner', () => {
    bench.close();
    const limits = { ...DEFAULT_LIMITS, experimentBudgets: 2 };
    bench = startBench(join(folder.path), { ...options, limits }, kernel);
    const { commands } = bench.attribution;
    const begin = (runId: string, experiment: string, uid = 1000) =>
      commands.start(callerOf(1, uid), { runId, experiment, limits: change({}, { steps: 1 }) }).created;
    expect([begin('a', 'e1'), begin('b', 'e2'), begin('c', 'e2')]).toEqual([true, true, true]);
    expect(() => begin('d', 'e3')).toThrow(/experimentBudgets/);
    expect(begin('d', 'e3', 2000)).toBe(true);
  });

  it('for limits is bounded', () => {
    const many = Object.fromEntries(Array.from({ length: 257 }, (_, i) => [`steps@tasker:t${i}`, 1]));
    const { commands } = bench.attribution;
    expect(() => commands.start(callerOf(100), { runId: 'r', limits: change(many) })).toThrow(/limitsPerRun/);
    expect(bench.attribution.store.find('r')).toEqual([]);
  });
});
