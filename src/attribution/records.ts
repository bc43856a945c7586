// What attribution asks to be stored and gets back after a restart: plain records and the Persistence interface that
// src/state implements. Everything of one checkpoint travels in one Batch and is committed in one transaction, so that
// totals, the kernel counters they correspond to and the tree they hang on can never disagree.

import type { ExitedProcess, ProcessId, RunHandle, SessionHandle, Slot } from '../native/addon.js';
import type { CpuWindows } from './cpu-windows.js';
import type { FactsSize } from './facts.js';
import type { Part } from './limit-figures.js';
import type { FinalStatus, Outcome, Owner, ProcessTotals, Progress, RunEvent, RunStatus } from './model.js';
import type { Page } from './rows.js';
import type { LimitState, LimitTable, RunLimits } from './run-limits.js';

/** A run as stored, without its figures. */
export interface RunRecord {
  handle: RunHandle;
  key: string;
  runId: string;
  owner: Owner;
  attempt: number;
  experiment?: string;
  name?: string;
  tags: Record<string, string>;
  tracker: Record<string, string>;
  rank?: number;
  worldSize?: number;
  localWorldSize?: number;
  /** It has ended, and its documents could not be written: they are tried again later. */
  undocumented?: true;
  status: RunStatus;
  /** Known from FINISHING on, before the status is final. */
  outcome?: Outcome;
  creator: ProcessId;
  startedAtMs: number;
  startedMonoNs: bigint;
  endedAtMs?: number;
  /** Wall time by CLOCK_MONOTONIC, known from FINISHING on. */
  runtimeSeconds?: number;
  unattributedSlot: Slot;
  progress: Progress;
  /** Audit entries that clients added, and the bytes of JSON in them; absent: none. */
  events?: { count: number; bytes: number };
  limits?: RunLimits;
  /** How its limits, and its experiment's, stood when it ended; absent: it had none. */
  limitStates?: LimitState[];
  /** What clients said of it, which is stored apart; absent: nothing. */
  facts?: FactsSize;
  /** UUIDs by the numbers that GPUs have in its rows; absent: it has used none. */
  gpus?: Record<string, string>;
}

/** The budget of an experiment: limits of all runs of one owner that name it, by the limit's name. */
export interface ExperimentRecord extends LimitTable {
  owner: Owner;
  name: string;
}

/** A run's figures: what the sampler said of it last. */
export interface RunFigures {
  row: BigUint64Array;
  /** Opaque; given back to the sampler after a restart. */
  state: Buffer;
  liveProcesses: number;
  observedNs: bigint;
  elapsedNs: bigint;
  lostEvents: bigint;
  residualColumns: number;
  estimatedColumns: number;
  apportionedColumns: number;
  cgroup: string | null;
  cpuWindows?: CpuWindows;
}

export interface ScopeRecord {
  slot: Slot;
  run: RunHandle;
  parent: Slot | 0;
  level: string;
  name: string;
  label?: string;
  progress: Progress;
}

/** One process's part of a run: it began with a session (its own, or from outside) and ends with the process. */
export interface PartRecord {
  id: number;
  /** The newest session of it; from the same numbers as `id`. */
  session: SessionHandle;
  run: RunHandle;
  process: ProcessId;
  /** Who opened it: the process itself, or the ancestor that bound it. */
  opener: ProcessId;
  outside: boolean;
  /** It descends from a process that had a part of the run before. */
  worker: boolean;
  primaryTid: number;
  openedAtMs: number;
  /** Absent while it lasts. A moved part came to nothing and counts for nothing. */
  end?: { status: FinalStatus | 'MOVED'; reason?: string; atMs: number };
}

/** A phase ends where the next one begins: what they say cannot disagree. */
export interface PhaseRecord {
  run: RunHandle;
  seq: number;
  name: string | null;
  startedAtMs: number;
  /** The run's totals then. */
  startRow: BigUint64Array;
}

export interface EventRecord extends RunEvent {
  run: RunHandle;
}

/** One of a run's facts. */
export interface FactRecord {
  run: RunHandle;
  key: string;
  /** JSON; null: no longer there. */
  text: string | null;
}

export interface ProcessStateRecord {
  run: RunHandle;
  process: ProcessId;
  state: Buffer;
}

/** Rows of a run that are stored together; each says its slot itself. */
export interface PageRecord extends Page {
  run: RunHandle;
}

/** What one transaction writes. Later entries of a map replace earlier ones, so a failed batch can be added to. */
export interface Batch {
  /** From now on stored counters belong to this boot; those of another have been dealt with in this batch. */
  bootId?: string;
  runs: Map<RunHandle, RunRecord>;
  figures: Map<RunHandle, RunFigures>;
  scopes: Map<Slot, ScopeRecord>;
  pages: PageRecord[];
  parts: Map<number, PartRecord>;
  phases: PhaseRecord[];
  /** By processKey; null: no longer living, drop it. */
  processes: Map<string, ProcessStateRecord | null>;
  exited: ExitedProcess[];
  events: EventRecord[];
  /** By experimentKey; null: it has no budget any more. */
  experiments: Map<string, ExperimentRecord | null>;
  /** By `factKey`. */
  facts: Map<string, FactRecord>;
}

/** One stored run with everything that belongs to it. */
export interface SavedRun {
  record: RunRecord;
  figures?: RunFigures;
  /** Parents before children. */
  scopes: ScopeRecord[];
  /** By rowId, in the order of their pages. */
  rows: Map<number, BigUint64Array>;
  parts: PartRecord[];
  phases: PhaseRecord[];
  processes: ProcessStateRecord[];
  lastEventSeq: number;
}

export interface Persistence {
  /** The boot in which the stored kernel counters were read. */
  readonly bootId: string;
  /** Highest numbers in use, so that none is given twice; `session` counts parts too. */
  highestIds(): { run: RunHandle; slot: Slot; session: SessionHandle };
  /** Writes all of it or nothing; `durable`: on the disk, not only in its cache, when this returns. */
  commit(batch: Batch, durable: boolean): void;
  openRuns(): SavedRun[];
  /** Runs that ended at this time or later, milliseconds since 1970; newest first, at most so many. */
  endedSince(ms: number, limit: number): Iterable<SavedRun>;
  /** The attempts of a run that are stored, ascending. */
  attempts(key: string): number[];
  /** Ended runs without their documents, oldest first. */
  undocumented(limit: number): { key: string; attempt: number }[];
  load(handle: RunHandle): SavedRun | undefined;
  /** The newest attempt, or that one. */
  find(owner: Owner, runId: string, attempt?: number): RunRecord | undefined;
  findByKey(key: string, attempt?: number): RunRecord | undefined;
  /** The newest attempt of every owner's run of that id. */
  findById(runId: string): RunRecord[];
  /** Newest attempts, of all or of one owner, newest first. */
  list(limit: number, owner?: Owner): { record: RunRecord; figures?: RunFigures }[];
  endedProcesses(run: RunHandle): ProcessTotals[];
  events(run: RunHandle): Iterable<RunEvent>;
  /** Every experiment with a budget. */
  experiments(): ExperimentRecord[];
  /** What the ended runs of an experiment used, those that are removed by now too; without the given ones. */
  usedByEnded(owner: Owner, experiment: string, without: ReadonlySet<RunHandle>): Part;
  /** Facts of a run by their keys, JSON. */
  facts(run: RunHandle): Map<string, string>;
  fact(run: RunHandle, key: string): string | undefined;
  close(): void;
}

/** A process as a map key: pid and start, never a bare pid. */
export function processKey(process: ProcessId): string {
  return `${process.pid}:${process.startTicks}`;
}

export function factKey({ run, key }: Pick<FactRecord, 'run' | 'key'>): string {
  return `${run}:${key}`;
}

/** The process of such a key. */
export function processOfKey(key: string): ProcessId {
  const [pid = '', startTicks = ''] = key.split(':');
  return { pid: Number(pid), startTicks: BigInt(startTicks) };
}

export function emptyBatch(): Batch {
  return {
    runs: new Map(),
    figures: new Map(),
    scopes: new Map(),
    pages: [],
    parts: new Map(),
    phases: [],
    processes: new Map(),
    exited: [],
    events: [],
    experiments: new Map(),
    facts: new Map(),
  };
}

export function isEmpty(batch: Batch): boolean {
  const { bootId, ...parts } = batch;
  return (
    bootId === undefined &&
    Object.values(parts).every((part: Map<unknown, unknown> | unknown[]) =>
      Array.isArray(part) ? part.length === 0 : part.size === 0,
    )
  );
}
