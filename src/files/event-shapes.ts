// The audit trail in the shapes of the tracking systems that read one: LeZeA's, rldk's, SpectraMind's. Pure.

import type { z } from 'zod';
import type { eventLine } from './event-line.js';

/** One line of events.jsonl. */
export type EventLine = z.infer<typeof eventLine>;

/** What those systems know of a run beside its events. */
export interface EventContext {
  experiment?: string;
}

type Shape = (line: EventLine, context: EventContext) => Iterable<Record<string, unknown>>;

export const EVENT_SHAPES = { lezea, rldk, spectramind } as const satisfies Record<string, Shape>;

export type EventShape = keyof typeof EVENT_SHAPES;

/** `ts, kind, exp_id, …`: what the event says stands beside them, under names of its own. */
function* lezea(line: EventLine, { experiment }: EventContext) {
  const { ts, seq, event, run_id, attempt, data } = line;
  yield { ...data, ts, kind: event, exp_id: experiment ?? run_id, run_id, attempt, seq };
}

/** One line for each number that an event says; an event without one happened once. */
function* rldk({ ts, seq, event, run_id, attempt, data }: EventLine) {
  const { step, ...rest } = data;
  const common = {
    ...(isNumber(step) && { step }),
    time: ts,
    run_id,
    tags: { attempt },
  };
  const numbers = Object.entries(rest).filter((entry): entry is [string, number] => isNumber(entry[1]));
  const meta = { seq, ...Object.fromEntries(Object.entries(rest).filter(([, value]) => !isNumber(value))) };
  if (numbers.length === 0) yield { name: event, value: 1, ...common, meta };
  for (const [name, value] of numbers) {
    yield { name: name === 'value' ? event : `${event}/${name}`, value, ...common, meta };
  }
}

function isNumber(value: unknown): value is number {
  return typeof value === 'number';
}

/** `start`, and how it ended: `done`, `error` with the status that a shell would see, `timeout` or `exception`. Nothing else. */
function* spectramind({ ts, event, run_id, attempt, data }: EventLine) {
  const common = { ts, run_dir: `${run_id}/${attempt}`, id: run_id };
  if (event === 'run.started') yield { ...common, event: 'start' };
  if (event === 'run.ended') yield { ...common, ...endOf(data) };
}

function endOf({ status, reason }: Record<string, unknown>): { event: string; rc?: number } {
  if (status === 'FINISHED') return { event: 'done', rc: 0 };
  const text = typeof reason === 'string' ? reason : '';
  // Ended because its time was over (exceededText of src/attribution/run-limits.ts).
  if (/^limit runtime_seconds of \S+ exceeded/.test(text)) return { event: 'timeout' };
  const [, code] = /^exit code (\d+)$/.exec(text) ?? [];
  if (code !== undefined) return { event: 'error', rc: Number(code) };
  const [, signal] = /signal (\d+)/.exec(text) ?? [];
  if (signal !== undefined) return { event: 'error', rc: 128 + Number(signal) };
  // A class and what it said.
  return { event: /^[A-Z]\w*(?::|$)/.test(text) ? 'exception' : 'error' };
}
