// Topics: what connections asked to hear of, as runs change. Reads the store's events; each connection hears only of
// runs that it may see, and a slow one loses notifications instead of slowing anything. What several hear alike is
// put together once.

import type { Caller, LimitTold, Run, RunCommands, RunStore } from '../attribution/model.js';
import type { Connection } from './connection.js';
import { viewOfLimit } from './limits-shape.js';
import type { NotificationName } from './notifications.js';

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
    deps.store.on('limit', (run, told) => tellLimit(deps, run, told)),
  ];
  return () => {
    for (const stop of stops) stop();
  };
}

function tellTick(deps: SubscriptionDeps, runs: readonly Run[]): void {
  if (runs.length === 0) return;
  const lines = new Map<Run, object>();
  const lineOf = (run: Run) => {
    const line = lines.get(run) ?? tickLine(run);
    lines.set(run, line);
    return line;
  };
  tell(deps, 'tick', (caller) => {
    const seen = runs.filter((run) => deps.commands.mayWatch(caller, run));
    if (seen.length === 0) return undefined;
    return { t_mono_ns: Number(deps.committedMonoNs()), runs: seen.map(lineOf) };
  });
}

function tickLine(run: Run): object {
  const { runId, attempt, status, processes } = run;
  return { run_id: runId, attempt, status, processes, totals: run.totals.toColumns() };
}

function tellStatus(deps: SubscriptionDeps, run: Run): void {
  const { runId, attempt, status, reason } = run;
  const line = { run_id: runId, attempt, status, ...(reason === undefined ? {} : { reason }) };
  tell(deps, 'run', (caller) => (deps.commands.mayWatch(caller, run) ? line : undefined));
}

/** The run's own processes need not ask: one of many would not get a place among the subscriptions. */
function tellLimit({ connections, commands }: SubscriptionDeps, run: Run, { event, state }: LimitTold): void {
  const params = { run_id: run.runId, attempt: run.attempt, event, ...viewOfLimit(state) };
  const line = `${JSON.stringify({ jsonrpc: '2.0', method: 'limit', params })}\n`;
  for (const connection of connections) {
    const asked = connection.topics.has('limit') && commands.mayWatch(connection.caller, run);
    const own = [...connection.sessions].some((session) => session.isOpen && session.run === run);
    if (asked || own) connection.tell(line);
  }
}

/** Tells everyone with this topic what its kind may hear; `params`: undefined for nothing. */
function tell(
  { connections }: SubscriptionDeps,
  topic: NotificationName,
  params: (caller: Caller) => object | undefined,
): void {
  const texts = new Map<string, string | undefined>();
  for (const connection of connections) {
    if (!connection.topics.has(topic)) continue;
    const kind = kindOf(connection.caller);
    if (!texts.has(kind)) {
      const said = params(connection.caller);
      texts.set(kind, said && `${JSON.stringify({ jsonrpc: '2.0', method: topic, params: said })}\n`);
    }
    const text = texts.get(kind);
    if (text !== undefined) connection.tell(text);
  }
}

/** Callers of one kind may see the same runs. */
function kindOf({ privileged, owner }: Caller): string {
  return privileged ? 'all' : `${owner.uid}:${owner.pidNamespace}`;
}
