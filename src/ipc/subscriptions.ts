// Topics: what connections asked to hear of, as runs change. Reads the store's events; each connection hears only of
// runs that it may see, and a slow one loses notifications instead of slowing anything.

import type { Run, RunCommands, RunStore } from '../attribution/model.js';
import type { Connection } from './connection.js';

export interface SubscriptionDeps {
  store: RunStore;
  commands: RunCommands;
  connections: ReadonlySet<Connection>;
  /** CLOCK_MONOTONIC of the newest committed sample, ns. */
  committedMonoNs(): bigint;
}

/** Begins to tell; the answer stops it. */
export function tellSubscribers(deps: SubscriptionDeps): () => void {
  const stops = [
    deps.store.on('committed', (runs) => tellTick(deps, runs)),
    deps.store.on('status', (run) => tellStatus(deps, run)),
  ];
  return () => {
    for (const stop of stops) stop();
  };
}

function tellTick(deps: SubscriptionDeps, runs: readonly Run[]): void {
  if (runs.length === 0) return;
  for (const connection of deps.connections) {
    if (!connection.topics.has('tick')) continue;
    const seen = runs.filter((run) => deps.commands.mayWatch(connection.caller, run));
    if (seen.length === 0) continue;
    const lines = seen.map((run) => ({
      run_id: run.runId,
      attempt: run.attempt,
      status: run.status,
      processes: run.processes,
      totals: run.totals.toColumns(),
    }));
    connection.notify('tick', { t_mono_ns: Number(deps.committedMonoNs()), runs: lines });
  }
}

function tellStatus(deps: SubscriptionDeps, run: Run): void {
  const { runId, attempt, status, reason } = run;
  const line = { run_id: runId, attempt, status, ...(reason === undefined ? {} : { reason }) };
  for (const connection of deps.connections) {
    if (!connection.topics.has('run') || !deps.commands.mayWatch(connection.caller, run)) continue;
    connection.notify('run', line);
  }
}
