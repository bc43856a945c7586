// The TypeScript client, `lezea-monitor/client`: says which scope a program works for and asks what it cost. Owns the one
// run that a process can be in.

import { isMainThread } from 'node:worker_threads';
import { LezeaError, messageOf } from '../errors.js';
import type { LimitEvent, Limits } from './limits.js';
import { Link, type StartParams } from './link.js';
import { ranksOf } from './ranks.js';
import { Run } from './run.js';
import { trackerOf } from './tracker.js';

export type { Columns } from '../attribution/totals.js';
export type { Limit, LimitEvent, Limits, LimitValues } from './limits.js';
export type { EndStatus, EnteredScope, Progress, Usage } from './run.js';
export { Run } from './run.js';

export interface StartOptions {
  /** Default: LEZEA_RUN_ID, so that children attach to their parent's run; else the agent makes one. */
  runId?: string;
  experiment?: string;
  name?: string;
  tags?: Record<string, string>;
  /** Where the totals go (docs/delivery.md). Default: what MLFLOW_TRACKING_URI and MLFLOW_RUN_ID say; false: nowhere. */
  tracker?: Record<string, string> | false;
  /** Position among the run's processes, on all nodes, and how many they are. Default: as the launcher says (docs/delivery.md). */
  rank?: number;
  worldSize?: number;
  /** What the run is allowed, by name (docs/limits.md). */
  limits?: Limits;
  /** Called once at 80 % and once at 100 % of each limit. */
  onLimit?: (limit: LimitEvent) => void;
  /** Path of the agent's socket. Default: LEZEA_MONITOR_SOCKET, the system's agent, the user's own. */
  socket?: string;
  /** Longest wait for the agent, milliseconds. @default 2000 */
  timeoutMs?: number;
}

let active: Run | undefined;
/** The start that is under way: they go one after the other, so that the second finds the first's run. */
let starting: Promise<unknown> = Promise.resolve();
let warned = false;
let warnedOfRanks = false;

/**
 * Starts a run, or attaches to the one of that id, and binds this process to it. Without an agent, or when it refuses, it
 * resolves to a run that records nothing, with one warning. It rejects only where a budget is used up and the limits say
 * `on_exceeded: "refuse"` (`over_budget`). A process is in one run at a time: a second call
 * joins it.
 */
export function startRun(options: StartOptions = {}): Promise<Run> {
  const run = starting.then(() => begin(options));
  starting = run.catch(() => undefined);
  return run;
}

async function begin(options: StartOptions): Promise<Run> {
  if (active?.active) {
    if (options.runId === undefined || options.runId === active.id) return active;
    return inert(`this process is in run ${active.id} already, not in ${options.runId}`);
  }
  // A worker thread has no thread id in JavaScript; what it does counts where the main thread is.
  if (!isMainThread) return inert('worker threads announce no scopes of their own');
  const runId = options.runId ?? (process.env.LEZEA_RUN_ID || undefined);
  const tracker = options.tracker ?? trackerOf(process.env);
  const params: StartParams = {
    ...(runId === undefined ? {} : { run_id: runId }),
    ...(options.experiment === undefined ? {} : { experiment: options.experiment }),
    ...(options.name === undefined ? {} : { name: options.name }),
    ...(options.tags === undefined ? {} : { tags: options.tags }),
    ...(tracker ? { tracker } : {}),
    ...ranksOf(process.env, warnOfRanks),
    ...(options.rank === undefined ? {} : { rank: options.rank }),
    ...(options.worldSize === undefined ? {} : { world_size: options.worldSize }),
    ...(options.limits === undefined ? {} : { limits: options.limits }),
  };
  const link = new Link(params, options.socket);
  try {
    await link.open(options.timeoutMs ?? 2000);
  } catch (error) {
    const known = error instanceof LezeaError && error.code === 'no_agent';
    if (error instanceof LezeaError && error.code === 'over_budget') throw error;
    return inert(known ? messageOf(error) : `the agent refused: ${messageOf(error)}`);
  }
  active = new Run(link, options.onLimit);
  return active;
}

function inert(why: string): Run {
  if (!warned) process.emitWarning(`nothing is recorded: ${why}`, { type: 'LezeaMonitorWarning' });
  warned = true;
  return new Run(null);
}

function warnOfRanks(text: string): void {
  if (!warnedOfRanks) process.emitWarning(text, { type: 'LezeaMonitorWarning' });
  warnedOfRanks = true;
}
