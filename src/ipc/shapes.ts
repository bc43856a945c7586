// Shapes that several methods of the protocol share. Owns nothing.

import { z } from 'zod';

/** Free text of at most so many UTF-16 units; requests are bounded to 64 KiB anyway. */
export const text = (max: number) => z.string().max(max);

export const runId = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/)
  .describe('`[A-Za-z0-9][A-Za-z0-9._-]{0,63}`, unique per owner.');
export const token = z
  .string()
  .regex(/^[0-9a-f]{32}$/)
  .describe('The session’s token, 32 hexadecimal digits; a secret between agent and process.');
export const scopePath = z.string().min(3).max(4200).describe('`level:name/level:name…`');
export const tNs = z.int().min(0);
export const counts = z.number().min(0).max(1e15);
export const attempt = z.int().min(1).max(1_000_000);
export const offset = z.int().min(0);

/** Any JSON object. */
export const facts = z.record(z.string().max(250), z.unknown());

export const columns = z
  .record(z.string(), z.number())
  .describe('Column to number in its base unit; a column that is not known has no key.');

export const endStatus = z.enum(['FINISHED', 'FAILED', 'INTERRUPTED', 'KILLED']);
export const runState = z.enum([
  'REGISTERED',
  'RUNNING',
  'FINISHING',
  'FINISHED',
  'FAILED',
  'INTERRUPTED',
  'KILLED',
  'LOST',
]);

export const progress = z.object({ steps: z.number(), episodes: z.number() });

/** Times are ISO 8601, UTC. */
export const answer = z.object({
  run_id: z.string(),
  key: z.string().describe('The agent’s own name of the run; folders are called by it.'),
  attempt: z.int(),
  experiment: z.string().optional(),
  name: z.string().optional(),
  status: runState,
  reason: z.string().optional(),
  owner_uid: z.int(),
  started_at: z.string(),
  ended_at: z.string().optional(),
  tags: z.record(z.string(), z.string()),
  files: z.array(z.string()).describe('Documents that are written, for `file`.'),
  phases: z.array(
    z.object({
      name: z.string().nullable().describe('null: before the first phase was named.'),
      started_at: z.string(),
      ended_at: z.string().optional(),
      totals: columns,
    }),
  ),
  progress,
  processes: z.int().describe('Living ones.'),
  coverage: z.number().optional().describe('Share of the run’s wall time that was observed, 0 to 1.'),
  lost_events: z.number(),
});

export const chunk = z.object({
  file: z.string(),
  offset: z.int(),
  size: z.int().describe('Of the whole document, bytes.'),
  data: z.string().describe('Base64.'),
  eof: z.boolean(),
});

/** Items of a delivery in one answer. */
export const MAX_TAKEN = 32;

export const takenItem = z.object({ id: z.int(), kind: z.string(), body: z.string().describe('JSON.') });

/** What a client is told of its run's tracker. */
export const standing = z
  .object({ by: z.enum(['agent', 'client', 'nobody']), reason: z.string().optional() })
  .describe('Who brings the totals to the tracker, and why it is not the agent. Only where the run has one.');

export const delivery = z.object({
  id: z.int(),
  run_id: z.string(),
  attempt: z.int(),
  sink: z.string().describe('Kind and address of the place.'),
  state: z
    .enum(['pending', 'waiting', 'with_client', 'failed', 'delivered'])
    .describe(
      '`pending`: the run is just being ended, or an import is under way; `with_client`: only the run’s own processes can bring what is left; ' +
        '`failed`: nothing is left but what the place will never take.',
    ),
  waiting: z.int().describe('Items for the agent to bring.'),
  with_client: z.int().describe('Items for a process of the run to bring.'),
  dead: z.int().describe('Items that were refused for good.'),
  delivered: z.int().describe('Items that the place has.'),
  bytes: z.int().describe('Stored of it.'),
  created_at: z.string(),
  delivered_at: z.string().optional(),
  error: z.string().optional().describe('What the place said of an item that is left.'),
  settings: z.record(z.string(), z.string()).describe('As the run’s `tracker` said.'),
});

export const sinkState = z.object({
  name: z.string(),
  failures: z.int().describe('In a row; 0: the last try was fine.'),
  retry_at: z.string().optional().describe('When it is tried again.'),
  refused: z.string().optional().describe('Why it does not let the agent in.'),
  error: z.string().optional().describe('Of the last failure.'),
  last_delivered_at: z.string().optional(),
});
