// One run as the agent holds it: the record that is stored, the tree, its parts and the figures last committed. Owns
// nothing outside itself; the lifecycle changes the record, the ledger publishes figures.

import type { Slot } from '../native/addon.js';
import { type ColumnName, columnOf, columnsInMask } from '../native/frame.js';
import type { CpuWindows } from './cpu-windows.js';
import { frozenRun } from './frozen-run.js';
import { type ByGpu, GpuRows } from './gpu-rows.js';
import type { Coverage, Owner, Phase, Progress, Run, RunStatus } from './model.js';
import type { PartRecord, PhaseRecord, RunFigures, RunRecord } from './records.js';
import { RowTable } from './rows.js';
import type { LimitState, OnExceeded } from './run-limits.js';
import { type Scope, ScopeTree } from './scopes.js';
import { Totals } from './totals.js';

const FINAL = new Set<RunStatus>(['FINISHED', 'FAILED', 'INTERRUPTED', 'KILLED', 'LOST']);

export function isFinal(status: RunStatus): boolean {
  return FINAL.has(status);
}

/** Place of the unattributed remainder among a run's rows; scopes follow in the order of their definition. */
export const UNATTRIBUTED_ROW = 0;

export class TrackedRun implements Run {
  /** The rows of the scopes; the first is the unattributed remainder. */
  readonly rows = new RowTable();
  readonly gpus = new GpuRows();
  readonly tree: ScopeTree;
  /** Every part the run ever had, oldest first. */
  readonly parts: PartRecord[] = [];
  /** In order; they run ahead of those that are committed. */
  readonly phaseRecords: PhaseRecord[] = [];
  /** As committed. */
  readonly committedPhases: PhaseRecord[] = [];
  /** Sequence number of the newest audit entry. */
  eventSeq = 0;
  version = 0;
  /** As committed; another object whenever it changed. */
  unattributed: Totals;
  totals = Totals.none;
  figures: RunFigures | undefined;
  /** As committed; another object whenever it is looked at anew. */
  limits: readonly LimitState[];
  /** As committed; `record.progress` runs ahead of it. */
  progress: Readonly<Progress>;

  constructor(readonly record: RunRecord) {
    this.unattributed = new Totals(this.rows.committed, this.rows.add());
    this.tree = new ScopeTree(record.handle, this.rows, this.gpus);
    this.progress = { ...record.progress };
    this.limits = record.limitStates ?? [];
  }

  get handle(): number {
    return this.record.handle;
  }
  get key(): string {
    return this.record.key;
  }
  get runId(): string {
    return this.record.runId;
  }
  get owner(): Owner {
    return this.record.owner;
  }
  get attempt(): number {
    return this.record.attempt;
  }
  get experiment(): string | undefined {
    return this.record.experiment;
  }
  get name(): string | undefined {
    return this.record.name;
  }
  get tags(): Readonly<Record<string, string>> {
    return this.record.tags;
  }
  get tracker(): Readonly<Record<string, string>> {
    return this.record.tracker;
  }
  get rank(): number | undefined {
    return this.record.rank;
  }
  get worldSize(): number | undefined {
    return this.record.worldSize;
  }
  get localWorldSize(): number | undefined {
    return this.record.localWorldSize;
  }
  get status(): RunStatus {
    return this.record.status;
  }
  get reason(): string | undefined {
    return this.record.outcome?.reason;
  }
  get startedAtMs(): number {
    return this.record.startedAtMs;
  }
  get endedAtMs(): number | undefined {
    return this.record.endedAtMs;
  }
  get onExceeded(): OnExceeded | undefined {
    return this.record.limits?.onExceeded;
  }
  get roots(): readonly Scope[] {
    return this.tree.roots;
  }
  get scopeCount(): number {
    return this.tree.size;
  }
  /** What clients added to the audit trail. */
  get events(): { count: number; bytes: number } {
    return this.record.events ?? { count: 0, bytes: 0 };
  }
  get unattributedSlot(): Slot {
    return this.record.unattributedSlot;
  }
  get unattributedByGpu(): ByGpu {
    return this.gpus.of(this.record.unattributedSlot);
  }

  scopes(): Iterable<Scope> {
    return this.tree.all();
  }

  scope(path: string): Scope | undefined {
    return this.tree.get(path);
  }

  get coverage(): Coverage {
    const observedNs = this.figures?.observedNs ?? 0n;
    const elapsedNs = this.figures?.elapsedNs ?? 0n;
    if (elapsedNs === 0n) return { observedNs, elapsedNs };
    return { observedNs, elapsedNs, ratio: Number(observedNs) / Number(elapsedNs) };
  }

  get cpuWindows(): CpuWindows | undefined {
    return this.figures?.cpuWindows;
  }
  get lostEvents(): bigint {
    return this.figures?.lostEvents ?? 0n;
  }
  get residualColumns(): readonly ColumnName[] {
    return columnsInMask(this.figures?.residualColumns ?? 0);
  }
  get estimatedMask(): number {
    return this.figures?.estimatedColumns ?? 0;
  }
  get apportionedMask(): number {
    return this.figures?.apportionedColumns ?? 0;
  }
  get cgroup(): string | undefined {
    return this.figures?.cgroup ?? undefined;
  }
  get processes(): number {
    return this.isLive ? (this.figures?.liveProcesses ?? 0) : 0;
  }

  method(column: ColumnName): 'measured' | 'apportioned' | 'estimated' {
    const bit = 1 << columnOf(column).index;
    if ((this.estimatedMask & bit) !== 0) return 'estimated';
    return (this.apportionedMask & bit) !== 0 ? 'apportioned' : 'measured';
  }

  /** Each ends where the next begins; the last one where the run is, or has ended. */
  get phases(): readonly Phase[] {
    return this.committedPhases.map((record, at) => {
      const next = this.committedPhases[at + 1];
      const end = next ? Totals.fromRow(next.startRow) : this.totals;
      const phase = {
        name: record.name,
        startedAtMs: record.startedAtMs,
        totals: end.minus(Totals.fromRow(record.startRow)),
      };
      const endedAtMs = next ? next.startedAtMs : this.endedAtMs;
      return endedAtMs === undefined ? phase : { ...phase, endedAtMs };
    });
  }

  frozen(): Run {
    return frozenRun(this);
  }

  get isLive(): boolean {
    return !isFinal(this.record.status);
  }

  /** Shows the rows that were just committed; returns how many of them would have gone down. */
  publishRows(): number {
    let decreases = 0;
    this.rows.publish((index, decreased) => {
      if (decreased) decreases += 1;
      if (index === UNATTRIBUTED_ROW) this.unattributed = new Totals(this.rows.committed, index);
      else this.tree.show(index);
    });
    this.tree.version += 1;
    return decreases + this.gpus.publish();
  }

  liveParts(): PartRecord[] {
    return this.parts.filter((part) => part.end === undefined);
  }
}
