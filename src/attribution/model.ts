// What the rest of the program sees of runs: read interfaces for metrics, HTTP, files and queries, and the command
// interface that the socket server drives. Types only. Names, trees, owners and times live here; the integers
// behind every figure come from the sampler and are published only once they are committed to the database.

import type { ProcessId, RunHandle, SessionHandle, Slot } from '../native/addon.js';
import type { ColumnName } from '../native/frame.js';
import type { CpuWindows } from './cpu-windows.js';
import type { Facts } from './facts.js';
import type { ByGpu } from './gpu-rows.js';
import type { LimitChange, LimitState, OnExceeded } from './run-limits.js';
import type { Columns, Totals } from './totals.js';

export { type Columns, Totals } from './totals.js';

export type FinalStatus = 'FINISHED' | 'FAILED' | 'INTERRUPTED' | 'KILLED' | 'LOST';
export type RunStatus = 'REGISTERED' | 'RUNNING' | 'FINISHING' | FinalStatus;

/** Whose a run is: user id and PID namespace (inode; 0 where it may not be read) of who started it. */
export interface Owner {
  uid: number;
  pidNamespace: bigint;
}

/** How a run, or one process's part of it, came out. */
export interface Outcome {
  status: FinalStatus;
  reason?: string;
}

/** What the program itself says it got done. */
export interface Progress {
  steps: number;
  episodes: number;
}

/** One scope of a run's tree. */
export interface ScopeNode {
  readonly slot: Slot;
  /** `level:name` of every ancestor and itself, joined with `/`. */
  readonly path: string;
  readonly level: string;
  readonly name: string;
  /** The name as the client had it before it was encoded or shortened. */
  readonly label?: string;
  readonly parent: ScopeNode | null;
  readonly children: readonly ScopeNode[];
  /** Its own use, its children's left out. The peak is the exception: always its subtree's. */
  readonly self: Totals;
  /** Of that, what is of each GPU. */
  readonly byGpu: ByGpu;
  /** Its use with everything below it. Remembered until something below changes. */
  inclusive(): Totals;
  readonly progress: Readonly<Progress>;
}

/** A stretch of a run's time; the phases of a run partition its totals. */
export interface Phase {
  /** null: the time before the first phase was named. */
  readonly name: string | null;
  readonly startedAtMs: number;
  /** Absent while it lasts. */
  readonly endedAtMs?: number;
  /** Additive columns only. */
  readonly totals: Totals;
}

/** How much of a run was seen. */
export interface Coverage {
  /** Time inside samples and time since the run's first process was bound, ns. */
  readonly observedNs: bigint;
  readonly elapsedNs: bigint;
  /** observed / elapsed, 0 to 1; absent before anything elapsed. */
  readonly ratio?: number;
}

/** One attempt of one run. `owner` and `runId` say which run, `attempt` which time it was started. */
export interface Run {
  readonly handle: RunHandle;
  /** Of the agent's making, the same for every attempt; safe as a folder name and a URL part. */
  readonly key: string;
  readonly runId: string;
  readonly owner: Owner;
  readonly attempt: number;
  readonly experiment?: string;
  readonly name?: string;
  readonly tags: Readonly<Record<string, string>>;
  /** Where its totals go, as clients said. */
  readonly tracker: Readonly<Record<string, string>>;
  /** The lowest of its processes on this node. */
  readonly rank?: number;
  /** How many processes it has, on all nodes, and on this one. */
  readonly worldSize?: number;
  readonly localWorldSize?: number;
  readonly status: RunStatus;
  readonly reason?: string;
  /** Wall clock, milliseconds since 1970. */
  readonly startedAtMs: number;
  readonly endedAtMs?: number;
  /** Scopes without a parent, in the order they were defined. */
  readonly roots: readonly ScopeNode[];
  readonly scopeCount: number;
  /** Every scope, parents before children. */
  scopes(): Iterable<ScopeNode>;
  scope(path: string): ScopeNode | undefined;
  readonly unattributedSlot: Slot;
  /** Spent while no scope was active. */
  readonly unattributed: Totals;
  readonly unattributedByGpu: ByGpu;
  /** The whole run; for every additive column the sum over scopes and unattributed. */
  readonly totals: Totals;
  /** Goes up by one whenever anything published of the run changes. */
  readonly version: number;
  readonly coverage: Coverage;
  readonly lostEvents: bigint;
  /** Undefined where its CPU time is not known. */
  readonly cpuWindows?: CpuWindows | undefined;
  /** Columns that did not add up at the last checkpoint; must be empty. */
  readonly residualColumns: readonly ColumnName[];
  /** Bit masks of columns: somewhere estimated; somewhere divided by overlap. */
  readonly estimatedMask: number;
  readonly apportionedMask: number;
  method(column: ColumnName): 'measured' | 'apportioned' | 'estimated';
  /** cgroup v2 path that holds the run alone, where there is one. */
  readonly cgroup?: string;
  readonly phases: readonly Phase[];
  readonly progress: Readonly<Progress>;
  /** How its limits stand, and those of its experiment; empty where it has none. */
  readonly limits: readonly LimitState[];
  /** What it asked for past a limit; absent: nothing was limited by it. */
  readonly onExceeded?: OnExceeded;
  /** Living processes. */
  readonly processes: number;
  /** The same as it is published now, whatever is published later. */
  frozen(): Run;
}

/** A process that ended or left its run, with its own totals; or (`rest`) the sum over those not kept one by one. */
export interface ProcessTotals {
  readonly pid: number;
  readonly startTicks: bigint;
  readonly parent: number;
  readonly exe: string;
  readonly comm: string;
  readonly totals: Totals;
  readonly exitCode?: number;
  readonly exitSignal?: number;
  readonly oomKilled?: boolean;
  readonly startedMonoNs: bigint;
  readonly endedMonoNs: bigint;
  /** It left the run alive. */
  readonly released: boolean;
  /** How many processes this line stands for; above 1 only in the rest line. */
  readonly count: number;
}

/** One line of a run's audit trail. */
export interface RunEvent {
  /** From 1, without gaps within an attempt. */
  readonly seq: number;
  readonly wallMs: number;
  readonly monoNs: bigint;
  readonly event: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** One line of a list of runs. */
export interface RunSummary {
  readonly key: string;
  readonly runId: string;
  readonly owner: Owner;
  readonly attempt: number;
  readonly experiment?: string;
  readonly name?: string;
  readonly status: RunStatus;
  readonly startedAtMs: number;
  readonly endedAtMs?: number;
  readonly processes: number;
  readonly cpuSeconds?: number;
}

/** A limit has come to 80 % or to 100 %. */
export interface LimitTold {
  readonly event: 'limit_warning' | 'limit_exceeded';
  readonly state: LimitState;
}

export interface RunStoreEvents {
  /** A checkpoint was committed and published; the runs whose figures changed. */
  committed: (runs: readonly Run[]) => void;
  /** A run began or changed its status. */
  status: (run: Run) => void;
  /** A limit of a live run, or of its experiment, was reached; said once, when that is stored. */
  limit: (run: Run, told: LimitTold) => void;
  /** A run has its final status; its files are written. */
  ended: (run: Run) => void;
  /** An ended run is no longer held in memory (`keepEndedMs` after its end). */
  forgotten: (run: Run) => void;
}

/** Everything that may be read of runs. Figures are those of the last committed checkpoint. */
export interface RunStore {
  /** Runs without a final status. */
  live(): Iterable<Run>;
  /** Live runs and those that ended less than `keepEndedMs` ago: what /metrics shows. */
  recent(): Iterable<Run>;
  /** The newest attempt (or the one asked for) of an owner's run, from the database if need be. */
  get(owner: Owner, runId: string, attempt?: number): Run | undefined;
  /** The same by the agent's key. */
  byKey(key: string, attempt?: number): Run | undefined;
  /** The numbers of a run's stored attempts, ascending. */
  attempts(key: string): number[];
  /** The newest attempt of every owner's run of that id. */
  find(runId: string): Run[];
  /** Newest attempts of all runs, or of one owner's, newest first, ended ones included. */
  list(limit: number, owner?: Owner): RunSummary[];
  /** The ended processes that used most CPU, most first, then the line for the rest. */
  endedProcesses(run: Run): ProcessTotals[];
  events(run: Run): Iterable<RunEvent>;
  /** What clients said of it. */
  facts(run: Run): Facts;
  on<E extends keyof RunStoreEvents>(event: E, listener: RunStoreEvents[E]): () => void;
}

/** Who asks: what the kernel says of the peer, never what it says of itself. */
export interface Caller {
  readonly process: ProcessId;
  readonly owner: Owner;
  /** Root of the agent's PID namespace, or a configured operator: sees and ends every run. */
  readonly privileged: boolean;
}

export interface StartRequest {
  runId?: string;
  experiment?: string;
  name?: string;
  tags?: Record<string, string>;
  tracker?: Record<string, string>;
  rank?: number;
  worldSize?: number;
  localWorldSize?: number;
  attempt?: number;
  limits?: LimitChange;
}

export interface OpenRequest {
  runId: string;
  /** The process to bind; already checked to be the caller or a living descendant of the same owner. */
  process: ProcessId;
  /** Its parent, grandparent, … as far as they could be told. */
  ancestors: ProcessId[];
  /** In the agent's PID namespace; absent: the group leader, or the one of the earlier session. */
  primaryTid?: number;
  birthScope?: string;
  devices: string[];
  clockOffsetNs: bigint;
}

/** One process's standing with the agent; the token is a secret between both. */
export interface Session {
  readonly token: string;
  readonly handle: SessionHandle;
  readonly run: Run;
  readonly process: ProcessId;
  readonly owner: Owner;
  /** In the agent's PID namespace. */
  readonly primaryTid: number;
  /** Client's CLOCK_MONOTONIC minus the agent's, ns. */
  readonly clockOffsetNs: bigint;
  /** Bound by someone else: it announces nothing. */
  readonly outside: boolean;
  /** False once it was closed, or opened anew. */
  readonly isOpen: boolean;
}

export interface ScopeDefinition {
  id: number;
  parent: number;
  level: string;
  name: string;
  label?: string;
}

/** Scope ids that were refused; their records count on the nearest defined ancestor. */
export interface Dropped {
  ids: number[];
  reason: string;
}

export interface EnterRequest {
  /** Either the client's id of a defined scope or a path. */
  scope: number | string;
  /** In the agent's PID namespace. */
  tid: number;
  /** CLOCK_MONOTONIC of the agent, ns. */
  tNs: bigint;
  /** Whether an activation begins; coming back to a scope after a wait is none. @default true */
  activation?: boolean;
}

export interface EndRequest {
  runId: string;
  status: Exclude<FinalStatus, 'LOST'>;
  reason?: string;
  all: boolean;
}

export interface UsageRequest {
  runId: string;
  scope?: string;
  fresh: boolean;
}

/** The answer to a usage question; `scope` absent: the whole run, whose `self` is what no scope used. */
export interface Usage {
  run: Run;
  scope?: ScopeNode;
  self: Columns;
  inclusive: Columns;
  /** CLOCK_MONOTONIC of the sample behind the figures, ns. */
  tMonoNs: bigint;
}

/** What a caller may have done to runs. Refusals are LezeaErrors whose code is a word of the protocol. */
export interface RunCommands {
  start(caller: Caller, request: StartRequest): { run: Run; created: boolean };
  /** The end of the caller's run of that id, if it is just being finished: a start waits for it, to be the next attempt. */
  finishing(caller: Caller, runId: string): Promise<void> | undefined;
  /** Resolves once the process is bound and that is committed. */
  openSession(caller: Caller, request: OpenRequest): Promise<Session>;
  /** The connection of a session has gone; its process may live on. */
  disconnectSession(session: Session): void;
  session(caller: Caller, token: string): Session;
  /** Whether the process belongs to a run that the caller created or is part of. */
  isBoundUnder(caller: Caller, process: ProcessId): boolean;
  defineScopes(session: Session, scopes: ScopeDefinition[]): Dropped[];
  /** The GPUs that the session's records mean, by index: UUIDs, the whole list. */
  nameDevices(session: Session, devices: readonly string[]): void;
  enterScope(session: Session, request: EnterRequest): void;
  exitScope(session: Session, request: EnterRequest): void;
  progress(caller: Caller, request: { runId: string; scope?: string } & Partial<Progress>): void;
  update(
    caller: Caller,
    runId: string,
    changes: Pick<StartRequest, 'tags' | 'tracker' | 'limits'> & { facts?: Facts },
  ): Run;
  /** Resolves when what was said of runs so far is stored. */
  stored(): Promise<void>;
  event(caller: Caller, runId: string, event: string, data: Record<string, unknown>): void;
  phase(caller: Caller, runId: string, name: string): Promise<void>;
  usage(caller: Caller, request: UsageRequest): Promise<Usage>;
  end(caller: Caller, request: EndRequest): Promise<{ final: boolean; run: Run }>;
  /** The run as the caller may see it; another owner's answers unknown_run. */
  visible(caller: Caller, runId: string): Run;
  mayWatch(caller: Caller, run: { owner: Owner }): boolean;
}
