// Phases partition the run's totals, to the integer, at every moment: also where they cannot be stored, over kills and
// restarts, with scopes open across their edges and two processes that name one at the same time.

import { join } from 'node:path';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { Run } from '../../../src/attribution/model.js';
import { Totals } from '../../../src/attribution/totals.js';
import { buildSummary } from '../../../src/files/summary.js';
import { COLUMN_LIST, columnOf } from '../../../src/native/frame.js';
import {
  type Bench,
  callerOf,
  openRequest,
  processOf,
  startBench,
  temporaryFolder,
} from '../support/bench.js';
import type { FakeKernel } from '../support/fake-sampler.js';

type Step =
  | { do: 'spend'; process: number; ns: number; scope: number }
  | { do: 'phase' | 'together'; name: number; other: number }
  | { do: 'end' | 'commit' | 'fail' | 'crash' | 'unanswered' };

const name = fc.nat({ max: 3 });
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('spend' as const),
      process: fc.nat({ max: 1 }),
      ns: fc.nat(),
      scope: fc.nat({ max: 3 }),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({ do: fc.constantFrom('phase' as const, 'together' as const), name, other: name }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constantFrom(...(['end', 'commit', 'fail', 'crash', 'unanswered'] as const)),
    }),
  },
);

const BOTH = [100, 101];
const CPU = columnOf('cpu_seconds');
const MEMORY = columnOf('memory_byte_seconds');
const READ = columnOf('io_read_bytes');

/** Columns in proportion to the CPU time, one of them past 64 bits. */
function dress(row: BigUint64Array): void {
  const cpuNs = row[CPU.word] ?? 0n;
  const memory = cpuNs << 40n;
  row[MEMORY.word] = BigInt.asUintN(64, memory);
  row[MEMORY.word + 1] = memory >> 64n;
  row[READ.word] = cpuNs * 3n;
  row[1] = (row[1] ?? 0n) | (1n << BigInt(MEMORY.index)) | (1n << BigInt(READ.index));
}

class World {
  readonly folder = temporaryFolder();
  readonly kernel: FakeKernel = new Map();
  bench = this.#start(this.folder.path);
  /** Names of the phases that were answered for, in this attempt. */
  named: string[] = [];
  attempts = 0;
  #generation = 0;

  get run(): Run {
    return this.bench.attribution.store.find('r')[0] as Run;
  }

  #start(folder: string): Bench {
    const bench = startBench(folder, {}, this.kernel);
    bench.sampler.dress = dress;
    return bench;
  }

  async begin(): Promise<void> {
    const { commands } = this.bench.attribution;
    this.named = [];
    this.attempts += 1;
    commands.start(callerOf(100), { runId: 'r' });
    const [session] = await Promise.all(
      BOTH.map((pid) => commands.openSession(callerOf(pid), openRequest('r', pid))),
    );
    if (!session) return;
    commands.defineScopes(session, [
      { id: 1, parent: 0, level: 'builder', name: 'b' },
      { id: 2, parent: 1, level: 'tasker', name: 't' },
    ]);
  }

  async take(step: Step): Promise<void> {
    if (step.do === 'spend') {
      const slots = [...this.run.scopes()].map(({ slot }) => slot);
      this.bench.sampler.spend(processOf(BOTH[step.process] ?? 0), BigInt(step.ns), slots[step.scope]);
    } else if (step.do === 'phase') await this.#phases([`p${step.name}`]);
    else if (step.do === 'together') await this.#phases([`p${step.name}`, `p${step.other}`]);
    else if (step.do === 'commit') await this.bench.checkpoint();
    else if (step.do === 'fail') await this.#failing();
    else if (step.do === 'end') await this.#end();
    else await this.#crash(step.do === 'unanswered');
  }

  /** Each said by another process, at the same time. */
  async #phases(names: string[]): Promise<void> {
    const { commands } = this.bench.attribution;
    await Promise.all(names.map((name, i) => commands.phase(callerOf(BOTH[i] ?? 0), 'r', name)));
    for (const name of names) if (this.named.at(-1) !== name) this.named.push(name);
  }

  /** A phase that is named while the figures can be stored, and the phase itself cannot, for a while. */
  async #failing(): Promise<void> {
    const { persistence, attribution } = this.bench;
    const commit = persistence.commit.bind(persistence);
    this.bench.sampler.spend(processOf(100), 3n);
    persistence.commit = (batch, durable) => {
      if (batch.phases.length > 0) throw new Error('disk full');
      commit(batch, durable);
      this.bench.sampler.spend(processOf(100), 3n);
    };
    const said = attribution.commands.phase(callerOf(100), 'r', 'late');
    if (this.named.at(-1) === 'late') await said;
    else await expect(said).rejects.toThrow('disk full');
    this.check();
    persistence.commit = commit;
    await this.#phases(['late']);
  }

  /** SIGKILL; `unanswered`: while a phase is on its way. What the processes use meanwhile is counted later. */
  async #crash(unanswered: boolean): Promise<void> {
    const { commands } = this.bench.attribution;
    const said = unanswered
      ? commands.phase(callerOf(100), 'r', 'unanswered').catch(() => undefined)
      : undefined;
    this.#generation += 1;
    const into = join(this.folder.path, `g${this.#generation}`);
    this.bench.crash(into);
    await said;
    for (const pid of BOTH) {
      const key = `${pid}:${pid * 100}`;
      this.kernel.set(key, (this.kernel.get(key) ?? 0n) + 77n);
    }
    this.bench = this.#start(into);
  }

  async #end(): Promise<void> {
    const { run } = this;
    await this.bench.attribution.commands.end(callerOf(100), { runId: 'r', status: 'FINISHED', all: true });
    expect(run.phases.map((phase) => phase.name)).toEqual(this.#expected());
    expect(run.phases.every((phase) => phase.endedAtMs !== undefined)).toBe(true);
    const written = this.bench.written.at(-1) as Run;
    expect(partition(written)).toEqual(wholes(written));
    const { phases } = buildSummary(written, [], context);
    expect(phases?.map((phase) => phase.ended_at !== undefined) ?? []).toEqual(
      (phases ?? []).map(() => true),
    );
    await this.begin();
  }

  #expected(): (string | null)[] {
    return this.named.length === 0 ? [] : [null, ...this.named];
  }

  check(): void {
    for (const run of [this.run, this.run.frozen()]) expect(partition(run)).toEqual(wholes(run));
    expect(this.run.phases.map((phase) => phase.name)).toEqual(this.#expected());
    expect(this.run.attempt).toBe(this.attempts);
  }
}

const context = {
  node: { name: 'n', boot_id: 'b', architecture: 'x64', kernel: '6', cpus: 2, memory_bytes: 1 },
  agent: { version: '0' },
  user: 'u',
};

const ADDITIVE = COLUMN_LIST.filter((column) => column.additive);

/** Σ of the phases by column; a run without any has one that nobody named. */
function partition(run: Run): (bigint | undefined)[] {
  const phases = run.phases.length === 0 ? [run.totals] : run.phases.map(({ totals }) => totals);
  const [first = Totals.none, ...others] = phases;
  const sum = Totals.sum(first, others);
  return ADDITIVE.map(({ name }) => sum.native(name));
}

function wholes({ totals }: Run): (bigint | undefined)[] {
  return ADDITIVE.map(({ name }) => totals.native(name));
}

it('partition the totals of every column, whatever happens, and none that was answered for is lost', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const world = new World();
      try {
        await world.begin();
        for (const one of steps) {
          await world.take(one);
          world.check();
        }
        await world.take({ do: 'end' });
      } finally {
        world.bench.close();
        world.folder.remove();
      }
    }),
    { numRuns: 40 },
  );
}, 120_000);

it('of a document that is put together in slices are of the moment it was begun', async () => {
  const world = new World();
  try {
    await world.begin();
    world.bench.sampler.spend(processOf(100), 5n);
    await world.take({ do: 'phase', name: 1, other: 0 });
    const still = world.run.frozen();
    world.bench.sampler.spend(processOf(100), 7n);
    await world.take({ do: 'phase', name: 2, other: 0 });
    expect(partition(still)).toEqual(wholes(still));
    expect(still.phases.map(({ name }) => name)).toEqual([null, 'p1']);
  } finally {
    world.bench.close();
    world.folder.remove();
  }
});
