// Puts the document of a run, resources/summary.json, together from the run and its ended processes. Writes nothing.
// It is made in pieces (head, scopes, tail, processes), so that a big one can be written without stopping anything.

import type { ByGpu } from '../attribution/gpu-rows.js';
import type { Phase, ProcessTotals, Run, ScopeNode } from '../attribution/model.js';
import { keyText, type LimitState } from '../attribution/run-limits.js';
import { type Columns, Totals } from '../attribution/totals.js';
import { COLUMN_LIST, type Column, type ColumnName } from '../native/frame.js';
import { costTotal } from './cost.js';
import type { CostSettings } from './cost-rates.js';
import {
  SUMMARY_SCHEMA,
  type SummaryAgent,
  type SummaryConservation,
  type SummaryDocument,
  type SummaryEnvironment,
  type SummaryExit,
  type SummaryGpu,
  type SummaryHead,
  type SummaryLimit,
  type SummaryNode,
  type SummaryPhase,
  type SummaryProcess,
  type SummaryScope,
  type SummaryTail,
} from './summary-document.js';

export type { SummaryDocument } from './summary-document.js';

/** What the document says beside the run itself. */
export interface SummaryContext {
  node: SummaryNode;
  agent: Pick<SummaryAgent, 'version' | 'overhead_cpu_seconds'>;
  /** Account name of the run's owner, or the user id where it has none. */
  user: string;
  /** Of an ended run, where it is known what it ran on. */
  environment?: SummaryEnvironment;
  /** Absent: nothing is said of cost. */
  prices?: CostSettings;
}

/** What a column is read from. The client's announcements are the only source that is not the kernel. */
const SOURCES: Record<ColumnName, string> = {
  cpu_seconds: 'process_cpu_clock',
  // Linux scales the precise CPU time by ticks seen in user and system mode.
  cpu_user_seconds: 'proc_stat_ticks',
  cpu_system_seconds: 'proc_stat_ticks',
  runqueue_wait_seconds: 'proc_schedstat',
  memory_byte_seconds: 'proc_smaps_rollup',
  io_read_bytes: 'proc_io',
  io_write_bytes: 'proc_io',
  io_cancelled_write_bytes: 'proc_io',
  io_logical_read_bytes: 'proc_io',
  io_logical_write_bytes: 'proc_io',
  io_read_ops: 'proc_io',
  io_write_ops: 'proc_io',
  minor_faults: 'proc_stat',
  major_faults: 'proc_stat',
  voluntary_switches: 'proc_status',
  involuntary_switches: 'proc_status',
  active_seconds: 'announcements',
  activations: 'announcements',
  memory_peak_bytes: 'proc_smaps_rollup',
  cpu_energy_joules: 'rapl',
  gpu_active_seconds: 'nvml_utilization',
  gpu_allocated_seconds: 'nvml_process_list',
  gpu_energy_joules: 'nvml_energy_counter',
  gpu_memory_byte_seconds: 'nvml_process_list',
  gpu_memory_peak_bytes: 'nvml_process_list',
};

const ALWAYS_ESTIMATED = new Set<ColumnName>([
  'cpu_user_seconds',
  'cpu_system_seconds',
  'cpu_energy_joules',
  'gpu_active_seconds',
  'gpu_energy_joules',
]);

/** Time and times announced: nothing of them is unattributed (docs/meaning.md, columns). */
const ANNOUNCED = new Set<ColumnName>(['active_seconds', 'activations']);

export function summaryHead(run: Run, context: SummaryContext): SummaryHead {
  const head: SummaryHead = {
    schema: SUMMARY_SCHEMA,
    run: {
      id: run.runId,
      ...optional('experiment', run.experiment),
      ...optional('name', run.name),
      attempt: run.attempt,
      status: run.status,
      ...optional('reason', run.reason),
      user: context.user,
      started_at: isoTime(run.startedAtMs),
      ...optional('ended_at', run.endedAtMs === undefined ? undefined : isoTime(run.endedAtMs)),
      tags: { ...run.tags },
      ...optional('rank', run.rank),
      ...optional('world_size', run.worldSize),
      ...progressOf(run),
      ...load(run),
      processes: run.processes,
      ...optional('cgroup', run.cgroup),
    },
    node: context.node,
    ...optional('environment', context.environment),
    totals: summaryTotals(run),
  };
  if (run.phases.some((phase) => phase.name !== null)) head.phases = run.phases.map(summaryPhase);
  if (run.limits.length > 0) {
    head.limits = Object.fromEntries(run.limits.map((state) => [keyText(state), summaryLimit(state)]));
  }
  const cost = context.prices && costTotal(run, context.prices);
  if (cost) head.cost = cost;
  return head;
}

function load({ coverage, cpuWindows }: Run): Pick<SummaryHead['run'], 'elapsed_seconds' | 'cpu_windows'> {
  const { count = 0, busiestCpus } = cpuWindows ?? {};
  return {
    ...optional('elapsed_seconds', coverage.elapsedNs > 0n ? Number(coverage.elapsedNs) / 1e9 : undefined),
    ...optional('cpu_windows', busiestCpus === undefined ? undefined : { count, busiest_cpus: busiestCpus }),
  };
}

/** Each known column of the run with how it was got. */
function summaryTotals(run: Run): SummaryHead['totals'] {
  const totals: SummaryHead['totals'] = {};
  for (const column of COLUMN_LIST) {
    const value = run.totals.value(column.name);
    if (value === undefined) continue;
    const estimated = ALWAYS_ESTIMATED.has(column.name) || (run.estimatedMask & (1 << column.index)) !== 0;
    totals[column.name] = {
      value,
      method: estimated ? 'estimated' : 'measured',
      ...optional(
        'scopes_method',
        run.scopeCount === 0 ? undefined : estimated ? 'estimated' : run.method(column.name),
      ),
      source: sourceOf(column.name, estimated),
      ...optional('coverage', run.coverage.ratio),
    };
  }
  return totals;
}

function sourceOf(column: ColumnName, estimated: boolean): string {
  // Proportional memory that could not be read somewhere was replaced by resident memory.
  const isMemory = SOURCES[column] === 'proc_smaps_rollup';
  return isMemory && estimated ? 'proc_statm' : SOURCES[column];
}

function summaryLimit({ warnedAtMs: _warned, exceededAtMs: _exceeded, ...state }: LimitState): SummaryLimit {
  return state;
}

function summaryPhase(phase: Phase): SummaryPhase {
  return {
    name: phase.name,
    started_at: isoTime(phase.startedAtMs),
    ...optional('ended_at', phase.endedAtMs === undefined ? undefined : isoTime(phase.endedAtMs)),
    totals: phase.totals.toColumns(),
  };
}

export function summaryScope(scope: ScopeNode): SummaryScope {
  return {
    path: scope.path,
    level: scope.level,
    name: scope.name,
    ...optional('label', scope.label),
    parent: scope.parent?.path ?? null,
    self: scope.self.toColumns(),
    inclusive: scope.inclusive().toColumns(),
    ...optional('by_gpu', scope.byGpu.size > 0 ? columnsByGpu(scope.byGpu) : undefined),
    ...progressOf(scope),
  };
}

function columnsByGpu(byGpu: ByGpu): Record<string, Columns> {
  return Object.fromEntries([...byGpu].map(([uuid, totals]) => [uuid, totals.toColumns()]));
}

function progressOf(from: { progress: { steps: number; episodes: number } }): Pick<SummaryScope, 'progress'> {
  const { steps, episodes } = from.progress;
  return steps === 0 && episodes === 0 ? {} : { progress: { steps, episodes } };
}

/** Adds up what the scopes used, exactly, while they pass by one at a time. */
export class ScopeSum {
  readonly #sums = new Map<ColumnName, bigint>();
  readonly #byGpu = new Map<string, Totals>();

  add({ self, byGpu }: Pick<ScopeNode, 'self' | 'byGpu'>): void {
    for (const column of COLUMN_LIST) {
      const value = column.additive ? self.native(column.name) : undefined;
      if (value !== undefined) this.#sums.set(column.name, (this.#sums.get(column.name) ?? 0n) + value);
    }
    addByGpu(this.#byGpu, byGpu);
  }

  /** What the run had of each GPU, by UUID: its scopes and what is unattributed. */
  gpus(run: Run): SummaryGpu[] {
    const whole = new Map(this.#byGpu);
    addByGpu(whole, run.unattributedByGpu);
    return [...whole]
      .map(([uuid, totals]) => ({ uuid, totals: totals.toColumns() }))
      .sort((a, b) => (a.uuid < b.uuid ? -1 : 1));
  }

  /** The sum checked against the run's own totals, column by column. */
  conservation(run: Run): SummaryTail['conservation'] {
    const lines: SummaryTail['conservation'] = {};
    for (const column of COLUMN_LIST) {
      if (!column.additive) continue;
      const line = this.#line(run, column);
      if (line) lines[column.name] = line;
    }
    return lines;
  }

  #line(run: Run, column: Column): SummaryConservation | undefined {
    const scopes = this.#sums.get(column.name);
    const announced = ANNOUNCED.has(column.name);
    const unattributed = announced ? undefined : run.unattributed.native(column.name);
    const total = run.totals.native(column.name) ?? (announced ? scopes : undefined);
    if (scopes === undefined && unattributed === undefined && total === undefined) return undefined;
    const residual = (total ?? 0n) - (scopes ?? 0n) - (unattributed ?? 0n);
    return {
      unit: column.unit,
      scopes: String(scopes ?? 0n),
      unattributed: String(unattributed ?? 0n),
      total: String(total ?? 0n),
      residual: String(residual),
    };
  }
}

function addByGpu(sums: Map<string, Totals>, byGpu: ByGpu): void {
  for (const [uuid, totals] of byGpu) sums.set(uuid, (sums.get(uuid) ?? Totals.none).plus(totals));
}

export function summaryTail(run: Run, sum: ScopeSum): SummaryTail {
  const gpus = sum.gpus(run);
  return {
    unattributed: run.unattributed.toColumns(),
    conservation: sum.conservation(run),
    ...optional('gpus', gpus.length > 0 ? gpus : undefined),
  };
}

export function summaryProcess(process: ProcessTotals): SummaryProcess {
  if (process.pid === 0) return { rest: true, count: process.count, totals: process.totals.toColumns() };
  return {
    pid: process.pid,
    start: Number(process.startTicks),
    parent: process.parent,
    exe: process.exe,
    comm: process.comm,
    ...optional('exit', exitOf(process)),
    duration_seconds: Number(process.endedMonoNs - process.startedMonoNs) / 1e9,
    totals: process.totals.toColumns(),
  };
}

function exitOf(process: ProcessTotals): SummaryExit | undefined {
  if (process.released) return { released: true };
  const exit = {
    ...optional('code', process.exitCode),
    ...optional('signal', process.exitSignal || undefined),
    ...optional('oom_killed', process.oomKilled || undefined),
  } as SummaryExit;
  return Object.keys(exit).length > 0 ? exit : undefined;
}

export function summaryAgent(run: Run, context: SummaryContext): SummaryAgent {
  return {
    ...context.agent,
    lost_events: Number(run.lostEvents),
    ...optional('coverage', run.coverage.ratio),
  };
}

/** The whole document at once, for answers. Files of big runs are written piece by piece instead (summary-text.ts). */
export function buildSummary(
  run: Run,
  processes: readonly ProcessTotals[],
  context: SummaryContext,
): SummaryDocument {
  const sum = new ScopeSum();
  const scopes: SummaryScope[] = [];
  for (const scope of run.scopes()) {
    sum.add(scope);
    scopes.push(summaryScope(scope));
  }
  return {
    ...summaryHead(run, context),
    scopes,
    ...summaryTail(run, sum),
    processes: processes.map(summaryProcess),
    agent: summaryAgent(run, context),
  };
}

function isoTime(milliseconds: number): string {
  return new Date(milliseconds).toISOString();
}

/** `{key: value}`, or nothing where the value is not known: an unknown figure has no key. */
function optional<K extends string, V>(key: K, value: V | undefined): { [P in K]?: V } {
  return value === undefined ? {} : ({ [key]: value } as { [P in K]: V });
}
