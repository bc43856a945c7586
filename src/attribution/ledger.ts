// The ledger: collects what changed (samples, trees, statuses), has it committed as one batch and only then publishes
// the figures. Owns the pending batch and the index of slots. A batch that could not be written is kept and added to:
// the sampler reports a change once.

import type { ProcessId, RunSnapshot, Slot, Snapshot } from '../native/addon.js';
import { halvesOf, ROW_HALVES } from '../native/frame.js';
import { withSample } from './cpu-windows.js';
import { FIRST_GPU_PAGE } from './gpu-rows.js';
import {
  type Batch,
  type ExperimentRecord,
  emptyBatch,
  type FactRecord,
  factKey,
  isEmpty,
  type PageRecord,
  type PartRecord,
  type Persistence,
  type PhaseRecord,
  processKey,
  type RunFigures,
} from './records.js';
import type { Scope } from './scopes.js';
import { Totals } from './totals.js';
import { type TrackedRun, UNATTRIBUTED_ROW } from './tracked-run.js';

/** Ended processes that may wait for a database that cannot be written; beyond it the oldest are counted and dropped. */
const MAX_WAITING_EXITS = 100_000;

export class Ledger {
  readonly #runs = new Map<number, TrackedRun>();
  /** Where the row of a slot is: of which run, and at which place among its rows. */
  readonly #slots = new Map<number, { run: TrackedRun; index: number }>();
  /** Runs with rows that are not committed. */
  readonly #sampled = new Set<TrackedRun>();
  #batch = emptyBatch();
  /** Processes whose state is in the database, by processKey: only of these an end has to be written. */
  readonly #stored = new Set<string>();
  /** Times a sample said less than was published; 0 unless the sampler is broken. */
  decreases = 0;
  /** Ended processes whose own line was lost because the database could not be written. */
  droppedExits = 0;
  /** CLOCK_MONOTONIC of the newest committed sample, ns. */
  committedMonoNs = 0n;
  #sampledMonoNs = 0n;

  /** Begins to keep the figures of a run. */
  track(run: TrackedRun): void {
    this.#runs.set(run.handle, run);
    this.#slots.set(run.unattributedSlot, { run, index: UNATTRIBUTED_ROW });
    for (const scope of run.scopes()) this.#slots.set(scope.slot, { run, index: scope.index });
  }

  forget(run: TrackedRun): void {
    this.#runs.delete(run.handle);
    this.#slots.delete(run.unattributedSlot);
    for (const scope of run.scopes()) this.#slots.delete(scope.slot);
  }

  scopeDefined(run: TrackedRun, scope: Scope): void {
    this.#slots.set(scope.slot, { run, index: scope.index });
    this.scopeChanged(scope);
  }

  scopeChanged(scope: Scope): void {
    this.#batch.scopes.set(scope.slot, scope.record);
  }

  /** Stored with what became of the runs of the boot before: half of it would bring dead processes back to life. */
  bootChanged(bootId: string): void {
    this.#batch.bootId = bootId;
  }

  runChanged(run: TrackedRun): void {
    this.#batch.runs.set(run.handle, run.record);
  }

  partChanged(part: PartRecord): void {
    this.#batch.parts.set(part.id, part);
  }

  phaseAdded(phase: PhaseRecord): void {
    this.#batch.phases.push(phase);
  }

  eventAdded(event: Batch['events'][number]): void {
    this.#batch.events.push(event);
  }

  /** `key`: experimentKey of it; null: it has no budget any more. */
  experimentChanged(key: string, record: ExperimentRecord | null): void {
    this.#batch.experiments.set(key, record);
  }

  factChanged(fact: FactRecord): void {
    this.#batch.facts.set(factKey(fact), fact);
  }

  /** Not committed yet; undefined: what is stored of it stands. */
  changedFact(run: number, key: string): FactRecord | undefined {
    return this.#batch.facts.get(factKey({ run, key }));
  }

  /** Stored states of processes that are no more. */
  dropProcesses(gone: readonly { process: ProcessId }[]): void {
    for (const { process } of gone) this.#batch.processes.set(processKey(process), null);
  }

  /** Takes a sample into the pending batch. */
  absorb(snapshot: Snapshot): void {
    this.#sampledMonoNs = snapshot.tMonoNs;
    const halves = halvesOf(snapshot.slots);
    for (let at = 0; at < halves.length; at += ROW_HALVES) {
      const slot = halves[at] ?? 0;
      const place = this.#slots.get(slot);
      if (!place) continue;
      const gpu = halves[at + 1] ?? 0;
      if (gpu === 0) place.run.rows.write(place.index, halves, at);
      else place.run.gpus.rows.write(this.#gpuPlace(place.run, slot, gpu, snapshot), halves, at);
      this.#sampled.add(place.run);
    }
    for (const sample of snapshot.runs) {
      const run = this.#runs.get(sample.run);
      if (run) this.#batch.figures.set(sample.run, this.#figures(run, sample));
    }
    const livingIn = new Map<string, number>();
    for (const living of snapshot.processes) {
      const key = processKey(living.process);
      livingIn.set(key, living.run);
      this.#batch.processes.set(key, living);
    }
    for (const exited of snapshot.exited) {
      const key = processKey(exited.process);
      // A process that moved is living in another run: what this sample says of it there stands.
      if ((livingIn.get(key) ?? exited.run) === exited.run) this.#processEnded(key);
      this.#batch.exited.push({ ...exited, row: exited.row.slice() });
    }
    this.#boundExits();
  }

  /** Which device a number means is kept with the run: the number of another agent's time may be another's. */
  #gpuPlace(run: TrackedRun, slot: Slot, gpu: number, { gpus }: Snapshot): number {
    const { record } = run;
    let uuid = record.gpus?.[gpu];
    if (uuid === undefined) {
      uuid = gpus.find((books) => books.gpu === gpu)?.uuid ?? `unknown-${gpu}`;
      record.gpus = { ...record.gpus, [gpu]: uuid };
      this.runChanged(run);
    }
    return run.gpus.place(slot, gpu, uuid);
  }

  #figures(run: TrackedRun, sample: RunSnapshot): RunFigures {
    const row = sample.row.slice();
    const { cpuWindows: before } = this.#batch.figures.get(run.handle) ?? run.figures ?? {};
    const cpuWindows = withSample(before, { elapsedNs: sample.elapsedNs, totals: Totals.fromRow(row) });
    return { ...sample, row, ...(cpuWindows && { cpuWindows }) };
  }

  /** What was never stored leaves no trace: while nothing can be stored, processes come and go without end. */
  #processEnded(key: string): void {
    if (this.#stored.has(key)) this.#batch.processes.set(key, null);
    else this.#batch.processes.delete(key);
  }

  /** These are in the database, from before a restart. */
  processesStored(processes: readonly { process: ProcessId }[]): void {
    for (const { process } of processes) this.#stored.add(processKey(process));
  }

  /** Commits the pending batch and publishes it. Throws, and keeps the batch, when it could not be written. */
  commit(persistence: Persistence, durable: boolean): TrackedRun[] {
    const batch = this.#batch;
    batch.pages = [...this.#pages()];
    if (!isEmpty(batch)) persistence.commit(batch, durable);
    for (const [key, living] of batch.processes) {
      if (living) this.#stored.add(key);
      else this.#stored.delete(key);
    }
    this.#batch = emptyBatch();
    this.committedMonoNs = this.#sampledMonoNs;
    return this.#publish(batch);
  }

  *#pages(): Generator<PageRecord> {
    for (const run of this.#sampled) {
      for (const page of run.rows.dirtyPages()) yield { run: run.handle, ...page };
      for (const { page, bytes } of run.gpus.rows.dirtyPages())
        yield { run: run.handle, page: FIRST_GPU_PAGE + page, bytes };
    }
  }

  #publish(batch: Batch): TrackedRun[] {
    const changed = new Set(this.#sampled);
    this.#sampled.clear();
    for (const run of changed) {
      const decreases = run.publishRows();
      this.decreases += decreases;
    }
    for (const [handle, figures] of batch.figures) {
      const run = this.#runs.get(handle);
      if (!run) continue;
      run.totals = this.#notBelow(run.totals, figures.row);
      run.figures = figures;
      changed.add(run);
    }
    for (const phase of batch.phases) {
      const run = this.#runs.get(phase.run);
      run?.committedPhases.push(phase);
      if (run) changed.add(run);
    }
    for (const record of batch.scopes.values()) {
      const run = this.#runs.get(record.run);
      run?.tree.publishProgress(record);
      if (run) changed.add(run);
    }
    for (const record of batch.runs.values()) {
      const run = this.#runs.get(record.handle);
      if (!run) continue;
      run.progress = { ...record.progress };
      changed.add(run);
    }
    for (const run of changed) run.version += 1;
    return [...changed];
  }

  #notBelow(published: Totals, row: BigUint64Array): Totals {
    const next = Totals.fromRow(row);
    if (!next.isBelow(published)) return next;
    this.decreases += 1;
    return published;
  }

  #boundExits(): void {
    const excess = this.#batch.exited.length - MAX_WAITING_EXITS;
    if (excess <= 0) return;
    this.#batch.exited.splice(0, excess);
    this.droppedExits += excess;
  }
}
