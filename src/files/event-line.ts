// A line of a run's audit trail, events.jsonl. Owns its schema, from which docs/schemas/events.json is made.

import { z } from 'zod';
import { EVENTS_SCHEMA } from './run-files.js';

export const eventLine = z
  .strictObject({
    schema: z.literal(EVENTS_SCHEMA),
    seq: z.int().min(1).describe('Counts from 1 without a gap, over restarts of the agent.'),
    ts: z.iso.datetime().describe('ISO 8601, UTC.'),
    mono: z.int().min(0).describe('CLOCK_MONOTONIC of the node, ns.'),
    run_id: z.string(),
    attempt: z.int().min(1),
    event: z.string().min(1),
    data: z.record(z.string(), z.unknown()),
  })
  .meta({ title: 'A line of the audit trail of a run' });

/** JSON Schema, draft 2020-12. */
export function eventsSchema(): string {
  return `${JSON.stringify({ $id: EVENTS_SCHEMA, ...z.toJSONSchema(eventLine) }, null, 2)}\n`;
}
