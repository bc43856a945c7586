// The shape of a run's document, resources/summary.json. Types only. Numbers are in base units; what is not
// known has no key. Sections of later issues (cost, gpus) are absent.

import type { Columns } from '../attribution/totals.js';
import type { ColumnName } from '../native/frame.js';

export const SUMMARY_SCHEMA = 'lezea.resources/v1';

/** How a run's total was got (docs/meaning.md, rule 9). */
export interface SummaryTotal {
  /** In the column's base unit. */
  value: number;
  method: 'measured' | 'estimated';
  /** How it was divided among scopes; absent where there are none. */
  scopes_method?: 'measured' | 'apportioned' | 'estimated';
  /** What it was read from, a stable word. */
  source: string;
  /** Share of the run's time that was observed, 0 to 1. */
  coverage?: number;
}

export interface SummaryScope {
  path: string;
  level: string;
  name: string;
  /** The name before it was encoded or shortened. */
  label?: string;
  /** Path of the scope it lies in; null at the root. */
  parent: string | null;
  self: Columns;
  inclusive: Columns;
  progress?: { steps: number; episodes: number };
}

/** One column's sum, in native integers as decimal strings: they pass 2^53. */
export interface SummaryConservation {
  unit: string;
  /** Σ self over the scopes. */
  scopes: string;
  unattributed: string;
  total: string;
  /** total − scopes − unattributed; always "0". */
  residual: string;
}

/** One ended process, or the sum over those that are not listed one by one (`rest`). */
export interface SummaryProcess {
  pid?: number;
  /** Start, clock ticks since boot; with the node's boot id and the pid, the process's identity. */
  start?: number;
  parent?: number;
  exe?: string;
  comm?: string;
  /** Absent in the rest line, and where how it ended is not known. */
  exit?: { code?: number; signal?: number; oom_killed?: true; released?: true };
  /** From its first to its last sample, seconds. */
  duration_seconds?: number;
  totals: Columns;
  rest?: true;
  /** How many processes the rest line stands for; what the run used beyond those that were seen adds none. */
  count?: number;
}

export interface SummaryPhase {
  /** null: before the first phase was named. */
  name: string | null;
  started_at: string;
  ended_at?: string;
  totals: Columns;
}

export interface SummaryNode {
  name: string;
  boot_id: string;
  architecture: string;
  kernel: string;
  cpus: number;
  memory_bytes: number;
}

/** Fingerprints of environment/full.json: what tells the node's hardware and software apart from another's, and the run. */
export interface SummaryEnvironment {
  /** The stable one of the node. */
  fingerprint: string;
  /** The same with the run's stable facts. */
  run_fingerprint?: string;
}

/** How a limit of the run, of one of its scopes or of its experiment stands. */
export interface SummaryLimit {
  limit: string;
  scope?: string;
  level?: string;
  experiment?: string;
  value: number;
  /** Absent: not known; then so is what follows from it. */
  used?: number;
  remaining?: number;
  ratio?: number;
  state: 'ok' | 'warned' | 'exceeded' | 'unknown';
}

/** The document without its long lists: what comes before the scopes. */
export interface SummaryHead {
  schema: typeof SUMMARY_SCHEMA;
  run: {
    id: string;
    experiment?: string;
    name?: string;
    attempt: number;
    status: string;
    reason?: string;
    user: string;
    started_at: string;
    ended_at?: string;
    tags: Record<string, string>;
    rank?: number;
    world_size?: number;
    progress?: { steps: number; episodes: number };
    /** From the first to the last sample. */
    elapsed_seconds?: number;
    /** Its CPU time in windows of a second or little more: how many there were, and CPUs used in the busiest one. */
    cpu_windows?: { count: number; busiest_cpus: number };
    /** Processes alive when this was written; 0 once the run has ended. */
    processes: number;
    cgroup?: string;
  };
  node: SummaryNode;
  environment?: SummaryEnvironment;
  totals: Partial<Record<ColumnName, SummaryTotal>>;
  /** Only where the run named one. */
  phases?: SummaryPhase[];
  /** By `NAME`, `NAME@SCOPE`, `NAME@LEVEL`, `experiment.NAME`; only where there is one. */
  limits?: Record<string, SummaryLimit>;
}

/** What comes after the scopes. */
export interface SummaryTail {
  unattributed: Columns;
  conservation: Partial<Record<ColumnName, SummaryConservation>>;
}

export interface SummaryAgent {
  version: string;
  /** CPU the agent itself has used since it started, seconds. */
  overhead_cpu_seconds?: number;
  lost_events: number;
  /** Share of the run's time that was observed, 0 to 1. */
  coverage?: number;
}

export interface SummaryDocument extends SummaryHead, SummaryTail {
  scopes: SummaryScope[];
  processes: SummaryProcess[];
  agent: SummaryAgent;
}
