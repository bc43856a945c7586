// The document of a run's limits, constraints/constraints.json: what it was allowed, what it used of that, and how that came out.
// Owns its schema, from which docs/schemas/constraints.json is made. Emits JSON.

import { z } from 'zod';
import type { Run } from '../attribution/model.js';
import {
  keyText,
  type LimitState,
  type LimitWord,
  ON_EXCEEDED,
  RUN_LIMIT_NAMES,
} from '../attribution/run-limits.js';

export const CONSTRAINTS_SCHEMA = 'lezea.constraints/v1';

const positive = z.number().positive();
const used = z.number().nonnegative().optional();
const time = z.string();

const constraint = z.strictObject({
  limit: z
    .enum(RUN_LIMIT_NAMES)
    .meta({ description: 'Its unit is in its name; `cost` in the configured currency.' }),
  scope: z
    .string()
    .optional()
    .meta({ description: 'Path of the scope that it is of, with everything below it.' }),
  level: z.string().optional().meta({ description: 'Level whose scopes it is of, together.' }),
  experiment: z
    .string()
    .optional()
    .meta({ description: 'Experiment whose runs on the node it is of, together.' }),
  value: positive,
  used: used.meta({
    description: 'Over all attempts so far. Absent: not known; then so is what follows from it.',
  }),
  remaining: used,
  ratio: used,
  outcome: z
    .enum(['kept', 'warned', 'exceeded', 'unknown'])
    .meta({ description: '`warned`: 80 % were reached; `exceeded`: 100 %; `unknown`: it was not measured.' }),
  warned_at: time.optional().meta({ description: 'When 80 % were first seen; ISO 8601, UTC.' }),
  exceeded_at: time.optional().meta({ description: 'When 100 % were first seen.' }),
});

export const constraintsDocument = z
  .strictObject({
    schema: z.literal(CONSTRAINTS_SCHEMA),
    created_at: time.meta({ description: 'When the run ended; ISO 8601, UTC.' }),
    run: z.strictObject({ id: z.string(), attempt: z.int() }),
    on_exceeded: z.enum(ON_EXCEEDED).meta({ description: 'What the run asked for beside being told.' }),
    runtime_limit_seconds: positive
      .nullable()
      .meta({ description: 'The limit of the wall time, as LeZeA calls it; null: none.' }),
    step_episode_limits: z.record(z.string(), positive).meta({
      description:
        'The limits of steps and episodes, as LeZeA calls them, by `NAME`, `NAME@SCOPE` or `NAME@LEVEL`.',
    }),
    constraints: z.array(constraint),
  })
  .meta({
    title: 'Limits of a run',
    description: 'Only of a run that had a limit, or whose experiment had a budget.',
  });

/** JSON Schema, draft 2020-12. */
export function constraintsSchema(): string {
  return `${JSON.stringify({ $id: CONSTRAINTS_SCHEMA, ...z.toJSONSchema(constraintsDocument) }, null, 2)}\n`;
}

const OUTCOMES: Record<LimitWord, z.output<typeof constraint>['outcome']> = {
  ok: 'kept',
  warned: 'warned',
  exceeded: 'exceeded',
  unknown: 'unknown',
};

/** Of a run that has ended; undefined where nothing was limited. */
export function constraintsText(run: Run): string | undefined {
  if (run.limits.length === 0) return undefined;
  const own = run.limits.filter(({ experiment }) => experiment === undefined);
  const counted = own.filter(({ limit }) => limit === 'steps' || limit === 'episodes');
  const document: z.input<typeof constraintsDocument> = {
    schema: CONSTRAINTS_SCHEMA,
    created_at: isoTime(run.endedAtMs ?? run.startedAtMs),
    run: { id: run.runId, attempt: run.attempt },
    on_exceeded: run.onExceeded ?? 'tell',
    runtime_limit_seconds: own.find(({ limit }) => limit === 'runtime_seconds')?.value ?? null,
    step_episode_limits: Object.fromEntries(counted.map((state) => [keyText(state), state.value])),
    constraints: run.limits.map(constraintOf),
  };
  return `${JSON.stringify(document, null, 2)}\n`;
}

function constraintOf({
  state,
  warnedAtMs,
  exceededAtMs,
  ...figures
}: LimitState): z.input<typeof constraint> {
  return {
    ...figures,
    outcome: OUTCOMES[state],
    ...(warnedAtMs === undefined ? {} : { warned_at: isoTime(warnedAtMs) }),
    ...(exceededAtMs === undefined ? {} : { exceeded_at: isoTime(exceededAtMs) }),
  };
}

function isoTime(milliseconds: number): string {
  return new Date(milliseconds).toISOString();
}
