// A deterministic Sampler in memory: drives the TypeScript side only. Figures come from spend(); processes live and
// die by the test's word. It keeps the sampler's promises: cumulative rows, changes reported once, sums that add up.

import type {
  Bind,
  ExitedProcess,
  NodeFigure,
  ProcessId,
  RunHandle,
  Sampler,
  SessionHandle,
  Slot,
  Snapshot,
  SourceStatus,
} from '../../../src/native/addon.js';
import { columnOf, emptyRow, partsOfRowId, rowId } from '../../../src/native/frame.js';

const CPU = columnOf('cpu_seconds');
const KNOWN = 1n << BigInt(CPU.index);
const GPU_ENERGY = columnOf('gpu_energy_joules');

interface FakeProcess {
  id: ProcessId;
  run: RunHandle;
  slot: Slot | 0;
  cpuNs: bigint;
  parent: number;
}

interface FakeRun {
  unattributed: Slot;
  slots: Map<Slot, Slot | 0>;
  totalNs: bigint;
  dirty: boolean;
}

const keyOf = (process: ProcessId) => `${process.pid}:${process.startTicks}`;

/** What the kernel counts, whoever watches: CPU by process, ns. It outlives a sampler. */
export type FakeKernel = Map<string, bigint>;

export class FakeSampler implements Sampler {
  constructor(readonly kernel: FakeKernel = new Map()) {}

  readonly runs = new Map<RunHandle, FakeRun>();
  readonly slotNs = new Map<Slot, bigint>();
  readonly processes = new Map<string, FakeProcess>();
  readonly maps = new Map<string, Slot>();
  readonly devices = new Map<string, string>();
  /** UUIDs by their numbers, as it was told or gave them. */
  readonly gpus = new Map<number, string>();
  readonly gpuUj = new Map<string, bigint>();
  readonly calls: string[] = [];
  readonly enters: { session: number; tid: number; slot: number; tNs: bigint; activation: boolean }[] = [];
  monoNs = 1_000_000_000n;
  pulls = 0;
  started = false;
  stopped = false;
  resting = false;
  storedNs = 0n;
  /** Binds nothing: the process ends before it can be read. */
  ignoreBinds = false;
  /** Fails the next pulls with this. */
  failure: Error | undefined;
  /** Adds further columns to a row; what follows from its CPU time in proportion still adds up. */
  dress: (row: BigUint64Array) => void = () => undefined;
  /** Resolves pulls only when told to; undefined: at once. */
  gate: Promise<void> | undefined;
  #dirtySlots = new Set<Slot>();
  #dirtyGpus = new Set<string>();
  #dirtyProcesses = new Set<string>();
  #exited: ExitedProcess[] = [];

  start(): void {
    this.started = true;
  }

  rest(): void {
    this.resting = true;
  }

  async stop(storedNs = 0n): Promise<void> {
    this.stopped = true;
    this.storedNs = storedNs;
  }

  openRun(run: RunHandle, unattributed: Slot): void {
    this.runs.set(run, { unattributed, slots: new Map([[unattributed, 0]]), totalNs: 0n, dirty: true });
    this.slotNs.set(unattributed, this.slotNs.get(unattributed) ?? 0n);
  }

  defineSlot(slot: Slot, run: RunHandle, parent: Slot | 0): void {
    const known = this.runs.get(run);
    if (!known) return;
    if (parent !== 0 && !known.slots.has(parent)) throw new Error(`slot ${slot} before its parent ${parent}`);
    known.slots.set(slot, parent);
    if (!this.slotNs.has(slot)) this.slotNs.set(slot, 0n);
    this.#dirtySlots.add(slot);
  }

  mapScope(session: SessionHandle, clientScopeId: number, slot: Slot): void {
    this.maps.set(`${session}:${clientScopeId}`, slot);
  }

  mapDevice(session: SessionHandle, index: number, uuid: string): void {
    this.devices.set(`${session}:${index}`, uuid);
  }

  nameGpu(gpu: number, uuid: string): void {
    this.gpus.set(gpu, uuid);
  }

  /** A slot gets energy of a GPU. */
  spendOfGpu(slot: Slot, uuid: string, uj: bigint): void {
    const known = [...this.gpus].find(([, name]) => name === uuid)?.[0];
    const gpu = known ?? Math.max(0, ...this.gpus.keys()) + 1;
    this.gpus.set(gpu, uuid);
    const key = `${slot}:${gpu}`;
    this.gpuUj.set(key, (this.gpuUj.get(key) ?? 0n) + uj);
    this.#dirtyGpus.add(key);
    this.#dirtySlots.add(slot);
    for (const run of this.runs.values()) if (run.slots.has(slot)) run.dirty = true;
  }

  /** Of all GPUs; undefined: none was used by these slots. */
  #energyOf(slots: Iterable<Slot>): bigint | undefined {
    const wanted = new Set(slots);
    const of = [...this.gpuUj].filter(([key]) => wanted.has(Number(key.split(':')[0])));
    return of.length === 0 ? undefined : of.reduce((sum, [, uj]) => sum + uj, 0n);
  }

  bind(bind: Bind): void {
    const key = keyOf(bind.process);
    this.calls.push(`bind ${bind.session} ${key} run ${bind.run}`);
    const known = this.processes.get(key);
    if (known && known.run === bind.run) return;
    if (known) this.#leave(known, { released: true });
    if (this.ignoreBinds || !this.runs.has(bind.run)) return;
    this.processes.set(key, { id: bind.process, run: bind.run, slot: bind.birthSlot, cpuNs: 0n, parent: 1 });
    this.kernel.set(key, 0n);
    this.#touch(key);
  }

  /** A child of a bound process that nobody announced. */
  fork(parent: ProcessId, child: ProcessId): void {
    const from = this.processes.get(keyOf(parent));
    if (!from) throw new Error('the parent is not bound');
    this.processes.set(keyOf(child), { ...from, id: child, cpuNs: 0n, parent: parent.pid });
    this.kernel.set(keyOf(child), 0n);
    this.#touch(keyOf(child));
  }

  enter(session: SessionHandle, tid: number, slot: Slot | 0, tNs: bigint, activation: boolean): void {
    this.enters.push({ session, tid, slot, tNs, activation });
  }

  closeSession(session: SessionHandle): void {
    this.calls.push(`closeSession ${session}`);
  }

  endPart(process: ProcessId, ownParts: readonly ProcessId[]): void {
    const known = this.processes.get(keyOf(process));
    if (!known) return;
    const own = new Set(ownParts.map(keyOf));
    const children = [...this.processes.values()].filter(
      ({ id, parent, run }) => parent === process.pid && run === known.run && !own.has(keyOf(id)),
    );
    for (const { id } of children) this.endPart(id, ownParts);
    this.#leave(known, { released: true });
  }

  closeRun(run: RunHandle): void {
    this.calls.push(`closeRun ${run}`);
    for (const process of [...this.processes.values()]) {
      if (process.run === run) this.#leave(process, { released: true });
    }
  }

  /** The process uses CPU in its slot (or the given one). */
  spend(process: ProcessId, ns: bigint, slot?: Slot): void {
    const key = keyOf(process);
    this.kernel.set(key, (this.kernel.get(key) ?? 0n) + ns);
    this.#catchUp(key, slot);
  }

  /** Gives what the kernel counted since the last reading to a slot and to the run. */
  #catchUp(key: string, slot?: Slot): void {
    const known = this.processes.get(key);
    const run = known && this.runs.get(known.run);
    if (!known || !run) throw new Error('the process is not bound');
    const ns = (this.kernel.get(key) ?? 0n) - known.cpuNs;
    const where = slot ?? (known.slot === 0 ? run.unattributed : known.slot);
    known.cpuNs += ns;
    run.totalNs += ns;
    this.slotNs.set(where, (this.slotNs.get(where) ?? 0n) + ns);
    this.#dirtySlots.add(where);
    this.#touch(key);
  }

  exit(process: ProcessId, how: Partial<ExitedProcess> = {}): void {
    const known = this.processes.get(keyOf(process));
    if (!known) throw new Error('the process is not bound');
    this.#leave(known, { released: false, ...how });
  }

  restoreSlot(row: BigUint64Array): void {
    const { slot, gpu } = partsOfRowId(rowId(row));
    if (gpu > 0) {
      if (!this.gpus.has(gpu)) throw new Error('a row of a GPU that has no name');
      this.gpuUj.set(`${slot}:${gpu}`, row[GPU_ENERGY.word]!);
      return;
    }
    this.slotNs.set(Number(row[0]), row[CPU.word]!);
  }

  restoreRun(row: BigUint64Array, state: Buffer): void {
    const run = this.runs.get(Number(row[0]));
    if (!run) throw new Error('restoreRun before openRun');
    run.totalNs = row[CPU.word]!;
    if (state.toString() !== `run ${row[0]}`) throw new Error('another state came back');
  }

  restoreProcess(run: RunHandle, state: Buffer): void {
    const [pid, ticks, slot, cpuNs, parent] = state.toString().split(' ').map(BigInt);
    const id = { pid: Number(pid), startTicks: ticks! };
    this.processes.set(keyOf(id), { id, run, slot: Number(slot), cpuNs: cpuNs!, parent: Number(parent) });
    this.#catchUp(keyOf(id));
  }

  async pull(_fresh: boolean): Promise<Snapshot> {
    await this.gate;
    if (this.failure) throw this.failure;
    this.pulls += 1;
    this.monoNs += 1_000_000n;
    const snapshot = this.#snapshot();
    this.#dirtySlots.clear();
    this.#dirtyGpus.clear();
    this.#dirtyProcesses.clear();
    this.#exited = [];
    for (const run of this.runs.values()) run.dirty = false;
    return snapshot;
  }

  #snapshot(): Snapshot {
    const rows = [...this.#dirtySlots].flatMap((slot) => [
      ...this.#row(slot, this.slotNs.get(slot) ?? 0n, this.#energyOf([slot])),
    ]);
    return {
      tMonoNs: this.monoNs,
      tWallMs: Number(this.monoNs / 1_000_000n),
      slots: BigUint64Array.from([...rows, ...[...this.#dirtyGpus].flatMap((key) => [...this.#gpuRow(key)])]),
      runs: [...this.runs]
        .filter(([, run]) => run.dirty)
        .map(([handle, run]) => this.#runSnapshot(handle, run)),
      processes: [...this.#dirtyProcesses].flatMap((key) => {
        const p = this.processes.get(key);
        if (!p) return [];
        const state = Buffer.from(`${p.id.pid} ${p.id.startTicks} ${p.slot} ${p.cpuNs} ${p.parent}`);
        return [{ run: p.run, process: p.id, state }];
      }),
      exited: this.#exited,
      acceptedRings: 0,
      refusedRings: 0,
      late: false,
      lostRecords: 0n,
      lostExitEvents: 0n,
      forgedRecords: 0n,
      undefinedRecords: 0n,
      cutStamps: 0n,
      self: {
        cpuNs: 0n,
        rssBytes: 0,
        ticks: BigInt(this.pulls),
        overruns: 0n,
        intervalMs: 100,
        tickDurationNs: new BigUint64Array(1),
        tickDurationSumNs: 0n,
      },
      gpus: [...this.gpus].map(([gpu, uuid]) => ({ gpu, uuid, runs: {}, others: {}, nobody: {} })),
    };
  }

  #gpuRow(key: string): BigUint64Array {
    const [slot = 0, gpu = 0] = key.split(':').map(Number);
    const row = emptyRow(gpu * 2 ** 32 + slot);
    row[1] = 1n << BigInt(GPU_ENERGY.index);
    row[GPU_ENERGY.word] = this.gpuUj.get(key) ?? 0n;
    return row;
  }

  #runSnapshot(handle: RunHandle, run: FakeRun): Snapshot['runs'][number] {
    return {
      run: handle,
      row: this.#row(handle, run.totalNs, this.#energyOf(run.slots.keys())),
      state: Buffer.from(`run ${handle}`),
      residualColumns: 0,
      liveProcesses: [...this.processes.values()].filter((process) => process.run === handle).length,
      observedNs: this.monoNs,
      elapsedNs: this.monoNs,
      lostEvents: 0n,
      estimatedColumns: 0,
      apportionedColumns: 0,
      cgroup: null,
    };
  }

  sources(): SourceStatus[] {
    return [{ name: 'proc', state: 'ok', reason: 'a fake', how: '' }];
  }

  heartbeat(): bigint {
    return this.monoNs;
  }

  nodeFigures(): NodeFigure[] {
    return [{ name: 'load1', labels: {}, value: 0.5, kind: 'gauge' }];
  }

  #leave(process: FakeProcess, how: Partial<ExitedProcess>): void {
    this.processes.delete(keyOf(process.id));
    const run = this.runs.get(process.run);
    if (run) run.dirty = true;
    this.#exited.push({
      run: process.run,
      process: process.id,
      session: 0,
      parent: process.parent,
      exe: '/usr/bin/fake',
      comm: 'fake',
      row: this.#row(process.run, process.cpuNs),
      startedMonoNs: 1n,
      endedMonoNs: this.monoNs,
      released: false,
      ...how,
    });
  }

  #touch(key: string): void {
    this.#dirtyProcesses.add(key);
    const run = this.runs.get(this.processes.get(key)!.run);
    if (run) run.dirty = true;
  }

  #row(id: number, cpuNs: bigint, gpuUj?: bigint): BigUint64Array {
    const row = emptyRow(id);
    row[1] = KNOWN;
    row[CPU.word] = cpuNs;
    if (gpuUj !== undefined) {
      row[1] |= 1n << BigInt(GPU_ENERGY.index);
      row[GPU_ENERGY.word] = gpuUj;
    }
    this.dress(row);
    return row;
  }
}
