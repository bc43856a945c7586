// How runs look on the wire. Pure: from the model to the shapes of protocol.ts.

import type { Run, RunSummary, ScopeDefinition } from '../attribution/model.js';
import type { DeliveryState, ItemState, SinkState } from '../delivery/outbox.js';
import type { NodeFigure } from '../native/addon.js';
import type { Result } from './protocol.js';

export function iso(ms: number): string {
  return new Date(ms).toISOString();
}

/** The fields that are there; an absent one has no key. */
function present<T extends Record<string, unknown>>(
  fields: T,
): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as never;
}

export function runView(run: Run, files: string[]): Result<'run.get'> {
  return {
    run_id: run.runId,
    key: run.key,
    attempt: run.attempt,
    status: run.status,
    owner_uid: run.owner.uid,
    started_at: iso(run.startedAtMs),
    tags: { ...run.tags },
    files,
    phases: run.phases.map((phase) => ({
      name: phase.name,
      started_at: iso(phase.startedAtMs),
      totals: phase.totals.toColumns(),
      ...present({ ended_at: phase.endedAtMs === undefined ? undefined : iso(phase.endedAtMs) }),
    })),
    progress: { ...run.progress },
    processes: run.processes,
    lost_events: Number(run.lostEvents),
    ...present({
      experiment: run.experiment,
      name: run.name,
      reason: run.reason,
      ended_at: run.endedAtMs === undefined ? undefined : iso(run.endedAtMs),
      coverage: run.coverage.ratio,
    }),
  };
}

export function listLine(line: RunSummary): Result<'run.list'>['runs'][number] {
  return {
    run_id: line.runId,
    attempt: line.attempt,
    status: line.status,
    started_at: iso(line.startedAtMs),
    owner_uid: line.owner.uid,
    processes: line.processes,
    ...present({
      experiment: line.experiment,
      name: line.name,
      ended_at: line.endedAtMs === undefined ? undefined : iso(line.endedAtMs),
      cpu_seconds: line.cpuSeconds,
    }),
  };
}

export function deliveryView(state: DeliveryState): Result<'outbox.retry'> {
  return {
    id: state.id,
    run_id: state.run.runId,
    attempt: state.run.attempt,
    sink: state.sink,
    state: stateOf(state),
    waiting: state.waiting,
    with_client: state.withClient,
    dead: state.dead,
    delivered: state.delivered,
    bytes: state.bytes,
    created_at: iso(state.createdMs),
    settings: { ...state.target.settings },
    ...present({
      delivered_at: state.doneMs === undefined ? undefined : iso(state.doneMs),
      error: state.error,
    }),
  };
}

function stateOf(state: DeliveryState): Result<'outbox.retry'>['state'] {
  if (!state.ready) return 'pending';
  if (state.doneMs !== undefined) return 'delivered';
  if (state.waiting > 0) return 'waiting';
  return state.withClient > 0 ? 'with_client' : 'failed';
}

export function itemView(item: ItemState): Result<'outbox.show'>['items'][number] {
  const { id, stage, kind, bearer, dead, bytes } = item;
  return { id, stage, kind, by: bearer, dead, bytes, ...present({ error: item.error }) };
}

export function sinkView(sink: SinkState): Result<'outbox.list'>['sinks'][number] {
  return {
    name: sink.name,
    failures: sink.failures,
    ...present({
      retry_at: sink.failures === 0 ? undefined : iso(sink.retryMs),
      refused: sink.refused,
      error: sink.error,
      last_delivered_at: sink.deliveredMs === undefined ? undefined : iso(sink.deliveredMs),
    }),
  };
}

/** Node figures by one flat key each, e.g. `cpu_seconds_total{cpu="0",mode="user"}`. */
export function figuresView(figures: readonly NodeFigure[]): Record<string, number> {
  const view: Record<string, number> = {};
  for (const { name, labels, value } of figures) {
    const pairs = Object.entries(labels).map(([label, text]) => `${label}=${JSON.stringify(text)}`);
    view[pairs.length === 0 ? name : `${name}{${pairs.join(',')}}`] = value;
  }
  return view;
}

/** One entry of scope.define; undefined when it is none, its id when only that can be told. */
export function definitionOf(entry: unknown): ScopeDefinition | { id: number } | undefined {
  if (typeof entry !== 'object' || entry === null) return undefined;
  const { id, parent, level, name, label } = entry as Record<string, unknown>;
  if (!isId(id)) return undefined;
  const shaped = (parent === 0 || isId(parent)) && typeof level === 'string' && typeof name === 'string';
  if (!shaped || (label !== undefined && typeof label !== 'string')) return { id };
  return { id, parent, level, name, ...(label === undefined ? {} : { label }) };
}

function isId(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) > 0 && (value as number) <= 0xffff_ffff;
}
