// What the agent sends without being asked, by the schemas that docs/protocol.md is generated from. Owns those shapes.

import { z } from 'zod';
import { limitView } from './limits-shape.js';
import { columns, runState, token } from './shapes.js';

/** What the agent sends on its own. */
export const NOTIFICATIONS = {
  tick: {
    summary: 'Figures were committed (topic `tick`).',
    params: z.object({
      t_mono_ns: z.number(),
      runs: z.array(
        z.object({
          run_id: z.string(),
          attempt: z.int(),
          status: runState,
          processes: z.int(),
          totals: columns,
        }),
      ),
    }),
  },
  run: {
    summary: 'A run began, changed its status or ended (topic `run`).',
    params: z.object({
      run_id: z.string(),
      attempt: z.int(),
      status: runState,
      reason: z.string().optional(),
    }),
  },
  limit: {
    summary:
      'A limit of a run, or of its experiment, has come to 80 % or to 100 % (topic `limit`; the connections of the run’s own ' +
      'sessions hear it unasked). Once each.',
    params: limitView.extend({
      run_id: z.string(),
      attempt: z.int(),
      event: z.enum(['limit_warning', 'limit_exceeded']),
    }),
  },
  dropped: {
    summary: 'Scope ids that were refused; sent to the connection of the session.',
    params: z.object({ session: token, ids: z.array(z.int()), reason: z.string() }),
  },
  resync: {
    summary:
      'Notifications were left out because the connection was read too slowly; what was shown may be old.',
    params: z.object({ lost: z.int() }),
  },
} as const;

export type NotificationName = keyof typeof NOTIFICATIONS;
