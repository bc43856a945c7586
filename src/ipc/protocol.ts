// The socket's methods: one zod schema for the parameters and one for the result of each. Owns the shapes on
// the wire; docs/protocol.md is generated from here. Unknown fields are ignored, unknown methods refused.

import { z } from 'zod';
import { environment } from '../inventory/document.js';
import { changedLimits, limitViews, newLimits } from './limits-shape.js';
import { type Method, method } from './method.js';
import { OUTBOX_METHODS } from './outbox-methods.js';
import {
  answer,
  attempt,
  chunk,
  columns,
  counts,
  delivery,
  endStatus,
  facts,
  MAX_TAKEN,
  offset,
  runId,
  runState,
  scopePath,
  sinkState,
  standing,
  takenItem,
  text,
  tNs,
  token,
} from './shapes.js';

export type { Method };

export const PROTOCOL_VERSION = 1;
/** What a dear request costs beside its bytes. */
export const DEAR_TOKENS = 20;

/** GPUs that one session may name. */
const MOST_DEVICES = 64;

const settings = (what: string) => z.record(text(250), text(5000)).describe(what);

/** Every method of version 1, in the order of the documentation. */
export const METHODS = {
  hello: method({
    summary: 'Says who is there and agrees on the version. Not needed before other methods.',
    refuses: ['unsupported'],
    params: z.object({
      client: text(128).optional().describe('Name of the client.'),
      version: text(64).optional().describe('Version of the client.'),
      protocols: z.array(z.int()).max(64).default([PROTOCOL_VERSION]).describe('Versions the client speaks.'),
    }),
    result: z.object({
      server: z.literal('lezea-monitor'),
      version: z.string(),
      protocol: z.literal(PROTOCOL_VERSION),
      node: z.string().describe('Host name.'),
      boot_id: z.string().describe('Of the running kernel; with pid and start time it identifies a process.'),
      mode: z.enum(['user', 'system']),
      features: z.array(z.string()).describe('What this agent offers beyond version 1.'),
    }),
  }),
  'run.start': method({
    dear: true,
    summary:
      'Begins a run, or attaches to the live run of that id. An id whose run has ended begins its next attempt. ' +
      'The run belongs to the caller’s user in the caller’s PID namespace.',
    refuses: ['run_ended', 'too_many', 'over_budget', 'unsupported'],
    params: z.object({
      run_id: runId.optional().describe('Default: one of the agent’s making.'),
      experiment: text(1024).optional(),
      name: text(512).optional().describe('Printable, without `/`; see `nameBytes`.'),
      tags: settings('Free text by key.').optional(),
      tracker: settings('Where totals go; user and password in an address are cut off.').optional(),
      limits: newLimits.optional(),
      rank: z
        .int()
        .min(0)
        .max(10_000_000)
        .optional()
        .describe('Of the process among all of the run; a run has the lowest that it was told.'),
      world_size: z
        .int()
        .min(1)
        .max(10_000_000)
        .optional()
        .describe('How many processes there are, on all nodes.'),
      local_world_size: z
        .int()
        .min(1)
        .max(10_000_000)
        .optional()
        .describe('How many of them are on this node; as many as `world_size`: the run is on no other.'),
      attempt: attempt.optional().describe('Number of this attempt; one that has ended answers `run_ended`.'),
    }),
    result: z.object({
      run_id: z.string(),
      created: z.boolean().describe('False: attached.'),
      tracker: standing.optional(),
      limits: limitViews.optional(),
    }),
  }),
  'session.open': method({
    dear: true,
    summary:
      'Binds the calling process, or a living descendant of it, to a run; answers when it is bound. Opening again ' +
      'gives a new token for the same part of the run and voids the old one.',
    refuses: [
      'unknown_run',
      'run_ended',
      'already_bound',
      'clock_mismatch',
      'not_authorized',
      'too_many',
      'unsupported',
    ],
    params: z.object({
      run_id: runId,
      pid: z
        .int()
        .min(1)
        .optional()
        .describe(
          'Default: the caller. A descendant is bound from outside: it announces nothing until it opens a session itself.',
        ),
      tid: z
        .int()
        .min(1)
        .optional()
        .describe('The primary thread; default the group leader, unchanged on reopening.'),
      birth_scope: scopePath.optional().describe('Where the process counts while it announces nothing.'),
      devices: z
        .array(text(128))
        .max(MOST_DEVICES)
        .default([])
        .describe('GPU UUIDs, by the index that ring records use.'),
      t_ns: tNs.describe(
        'CLOCK_MONOTONIC of the client, ns; off by more than 1 s beyond its time namespace: `clock_mismatch`.',
      ),
    }),
    result: z.object({ session: token }),
  }),
  'session.devices': method({
    summary:
      'Which GPUs the session’s ring records mean; sent as a notification, before the first record that names one. The list ' +
      'only grows: an index keeps its GPU.',
    refuses: ['not_authorized'],
    params: z.object({
      session: token,
      devices: z.array(text(128)).max(MOST_DEVICES).describe('UUIDs, by index: all of them each time.'),
    }),
    result: z.object({}),
  }),
  'scope.define': method({
    summary:
      'Gives ids of scopes their meaning, parents first; sent as a notification. Refused ids count on their nearest ' +
      'defined ancestor and come back in a `dropped` notification.',
    params: z.object({
      session: token,
      scopes: z
        .array(z.unknown())
        .max(4096)
        .describe(
          '`{id, parent, level, name, label?}`; `id` u32 > 0 of the client’s choice, `parent` an id defined before, or 0 for the root.',
        ),
    }),
    result: z.object({}),
  }),
  'scope.enter': method({
    summary: 'The thread is inside this scope from now on; for clients without a ring.',
    refuses: ['too_many', 'not_authorized'],
    params: announcement(),
    result: z.object({}),
  }),
  'scope.exit': method({
    summary: 'The thread has left this scope, and is in the one it entered before, if any.',
    refuses: ['not_authorized'],
    params: announcement(),
    result: z.object({}),
  }),
  'run.progress': method({
    summary:
      'Adds to what the program says it got done. What an agent that is killed had not stored yet, of a second at most, is lost.',
    refuses: ['unknown_run', 'run_ended'],
    params: z.object({
      run_id: runId,
      scope: scopePath.optional().describe('Default: the run as a whole.'),
      steps: counts.optional().describe('Increment.'),
      episodes: counts.optional().describe('Increment.'),
    }),
    result: z.object({}),
  }),
  'run.usage': method({
    summary:
      'What a scope, or the run, has used so far: as committed at most a second ago, or after a sample taken now.',
    refuses: ['unknown_run'],
    params: z.object({
      run_id: runId,
      scope: scopePath.optional().describe('Default: the run as a whole.'),
      fresh: z.boolean().default(false).describe('Take a sample first.'),
    }),
    result: z.object({
      run_id: z.string(),
      scope: z.string().nullable(),
      status: runState,
      t_mono_ns: z.number().describe('CLOCK_MONOTONIC of the sample, ns.'),
      self: columns.describe('Without its children; of the whole run: what no scope used.'),
      inclusive: columns.describe('With its children; of the whole run: its totals.'),
      unattributed: columns.optional().describe('Of the whole run only.'),
      limits: limitViews.optional(),
    }),
  }),
  'run.update': method({
    summary:
      'Adds tags, tracker settings, facts and limits, any time before the end; a later value replaces an earlier one. ' +
      'With facts it answers when they are stored, and costs as much as a dear request.',
    refuses: ['unknown_run', 'run_ended', 'too_many', 'too_large'],
    params: z.object({
      run_id: runId,
      tags: settings('Free text by key.').optional(),
      tracker: settings('Where totals go.').optional(),
      facts: facts
        .optional()
        .describe(
          'What is known of the run, merged as JSON Merge Patch (RFC 7386): objects key by key, null takes away. ' +
            'Longer ones in several calls. What reads like a secret is taken out. See docs/facts.md.',
        ),
      limits: changedLimits.optional(),
    }),
    result: z.object({ tracker: standing.optional(), limits: limitViews.optional() }),
  }),
  'run.event': method({
    summary: 'Adds an entry to the run’s audit trail.',
    refuses: ['unknown_run', 'run_ended', 'too_many', 'too_large'],
    params: z.object({
      run_id: runId,
      event: text(512).describe(
        'Name of the entry; not beginning with `run.`, `process.`, `agent.` or `phase.`, nor one of those of limits (docs/limits.md).',
      ),
      data: facts.default({}).describe('See the limits of events.'),
    }),
    result: z.object({}),
  }),
  'run.phase': method({
    dear: true,
    summary:
      'The phase the whole run is in from now on, begun at a sample that is taken now and stored when this is answered. ' +
      'Phases partition the run’s totals by time. Naming the current one again changes nothing.',
    refuses: ['unknown_run', 'run_ended', 'too_many'],
    params: z.object({ run_id: runId, name: text(512) }),
    result: z.object({}),
  }),
  'run.end': method({
    dear: true,
    summary:
      'Ends the caller’s part (its process and what it bound), after a last sample. The run ends with its last part ' +
      'and process, or at `all` from the process that began it; its status is its parts’ worst. Asking again is fine.',
    refuses: ['unknown_run', 'not_authorized'],
    params: z.object({
      run_id: runId,
      status: endStatus,
      reason: text(4096).optional().describe('For example class and message of the exception.'),
      all: z.boolean().default(false),
    }),
    result: z.object({
      final: z
        .boolean()
        .describe('True: the run has ended; its totals and what is to be delivered of them are on the disk.'),
      status: runState,
      totals: columns,
      tracker: standing.optional(),
    }),
  }),
  'run.get': method({
    alone: true,
    summary: 'The state of a run; with `file`, a piece of one of its documents, at most 48 KiB.',
    refuses: ['unknown_run'],
    params: z.object({
      run_id: runId,
      file: text(256).optional().describe('A name from `files`.'),
      offset: offset.default(0).describe('Bytes.'),
    }),
    result: z.union([answer, chunk]),
  }),
  'run.list': method({
    dear: true,
    summary: 'Runs that the caller may see, newest first, ended ones included.',
    params: z.object({ limit: z.int().min(1).max(1000).default(100) }),
    result: z.object({
      runs: z.array(
        z.object({
          run_id: z.string(),
          attempt: z.int(),
          experiment: z.string().optional(),
          name: z.string().optional(),
          status: runState,
          started_at: z.string(),
          ended_at: z.string().optional(),
          owner_uid: z.int(),
          processes: z.int().describe('Living ones.'),
          cpu_seconds: z.number().optional(),
        }),
      ),
    }),
  }),
  'node.status': method({
    summary: 'The node as a whole, without names of runs.',
    params: z.object({}),
    result: z.object({
      node: z.string(),
      mode: z.enum(['user', 'system']),
      version: z.string(),
      uptime_seconds: z.number().describe('Of the agent.'),
      runs_live: z.int(),
      figures: z
        .record(z.string(), z.number())
        .describe('Newest node figures: `name` or `name{label="value"}`.'),
      sources: z.array(
        z.object({ name: z.string(), state: z.string(), reason: z.string(), how: z.string() }),
      ),
    }),
  }),
  'node.inventory': method({
    summary: 'What the node is made of and what it runs, as it is now.',
    dear: true,
    params: z.object({}),
    result: environment,
  }),
  'agent.health': method({
    summary: 'How the agent does.',
    params: z.object({}),
    result: z.object({
      status: z.enum(['ok', 'degraded']),
      checks: z.array(z.object({ name: z.string(), ok: z.boolean(), detail: z.string() })),
    }),
  }),
  'outbox.list': method({
    dear: true,
    summary: 'What is to be delivered of ended runs, and how the places do that it goes to. Newest first.',
    params: z.object({
      run_id: runId.optional(),
      all: z.boolean().default(false).describe('What was delivered, too.'),
      before: z.int().min(1).optional().describe('Only deliveries with a smaller id.'),
    }),
    result: z.object({
      deliveries: z.array(delivery).describe('At most 1000.'),
      sinks: z.array(sinkState),
      more: z.boolean().describe('There are older ones.'),
    }),
  }),
  'outbox.take': method({
    summary: 'The next items of a delivery that the run’s own processes are to bring to its place.',
    refuses: ['unknown_delivery'],
    params: z.object({
      delivery: z.int().min(1),
      limit: z.int().min(1).max(MAX_TAKEN).default(1).describe('How many at most.'),
    }),
    result: z.object({
      item: takenItem.nullable().describe('null: nothing is left for a client.'),
      more: z
        .array(takenItem)
        .max(MAX_TAKEN - 1)
        .optional()
        .describe(
          'Those after it, as many as fit in one answer of 64 KiB; only where `limit` asks for them.',
        ),
    }),
  }),
  'outbox.ack': method({
    summary: 'An item was taken by its place; with `error`, never will be. Saying it again is fine.',
    refuses: ['unknown_delivery'],
    params: z.object({
      delivery: z.int().min(1),
      item: z.int().min(1),
      more: z
        .array(z.int().min(1))
        .max(MAX_TAKEN - 1)
        .default([])
        .describe('Items after it that were taken too; not with `error`.'),
      error: text(4096).optional().describe('Why it can never be delivered; it is kept aside.'),
    }),
    result: z.object({ left: z.int().describe('Items of it that a client is still to bring.') }),
  }),
  'outbox.retry': method({
    dear: true,
    summary: 'Tries a delivery again, now; what was kept aside of it, too.',
    refuses: ['unknown_delivery'],
    params: z.object({ delivery: z.int().min(1) }),
    result: delivery,
  }),
  ...OUTBOX_METHODS,
  subscribe: method({
    summary:
      'From now on, notifications of these topics about runs that the caller may see; replaces earlier topics.',
    params: z.object({ topics: z.array(z.enum(['tick', 'run', 'limit'])).max(8) }),
    result: z.object({}),
  }),
} as const satisfies Record<string, Method>;

function announcement() {
  return z
    .object({
      session: token,
      scope: z.int().min(1).max(0xffff_ffff).optional().describe('A defined id; or else `path`.'),
      path: scopePath.optional().describe('Defined on the way if need be.'),
      tid: z.int().min(1).optional().describe('Default: the primary thread.'),
      t_ns: tNs
        .optional()
        .describe('CLOCK_MONOTONIC of the client, ns; default: when the agent reads the message.'),
      activation: z.boolean().default(true).describe('False: the thread comes back; no activation begins.'),
    })
    .refine((params) => (params.scope === undefined) !== (params.path === undefined), 'either scope or path');
}

export type MethodName = keyof typeof METHODS;
export type Params<M extends MethodName> = z.output<(typeof METHODS)[M]['params']>;
export type Result<M extends MethodName> = z.input<(typeof METHODS)[M]['result']>;
