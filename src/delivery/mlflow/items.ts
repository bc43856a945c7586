// The items of an MLflow delivery, as they lie in the outbox and go to the Python client: their kinds, stages and bodies.
// Reads bodies back; owns nothing. A body is written once and never changed.

import { z } from 'zod';
import { type Draft, type Item, SendError } from '../model.js';

/** Lower stages first: what a later one speaks of is there before it. */
export const STAGES = { create: 0, metrics: 1, params: 1, artifact: 2, merge: 3, tags: 4, end: 5 } as const;

export type ItemKind = keyof typeof STAGES;

/** MLflow's own words for how a run ended. */
const END_STATUSES = ['FINISHED', 'FAILED', 'KILLED'] as const;
export type EndStatus = (typeof END_STATUSES)[number];

const metric = z.object({
  key: z.string(),
  value: z.number(),
  /** Milliseconds since 1970. */
  timestamp: z.int(),
  step: z.int(),
});

const tag = z.object({ key: z.string(), value: z.string() });

const param = z.object({ key: z.string(), value: z.string() });

const artifact = z.object({
  /** Inside the run's folder, and inside the MLflow run's artifacts. */
  path: z.string(),
  bytes: z.int(),
  /** Lower-case hexadecimal. */
  sha256: z.string(),
  /** Of earlier attempts' documents of that path, which this one may take the place of. */
  replaces: z.array(z.string()).readonly().optional(),
});

/** An imported delivery is somebody's file: what it says is looked at before it is sent. */
const BODIES = {
  create: z.object({ run_name: z.string(), start_time: z.int() }),
  metrics: z.object({ metrics: z.array(metric) }),
  /** Each is there for ever: one that has another value there already stays as it is, and a tag has ours. */
  params: z.object({ params: z.array(param) }),
  artifact,
  /** One node's summary, to be merged with those of the other nodes that are there. `path` is where the node's own goes. */
  merge: artifact.extend({ node: z.string() }),
  tags: z.object({ tags: z.array(tag) }),
  end: z.object({ status: z.enum(END_STATUSES), end_time: z.int() }),
};

export type Metric = z.infer<typeof metric>;
export type Tag = z.infer<typeof tag>;
export type Param = z.infer<typeof param>;
export type ArtifactBody = z.infer<typeof artifact>;
export type MergeBody = Bodies['merge'];
export type Bodies = { [K in ItemKind]: z.infer<(typeof BODIES)[K]> };

export function draft<K extends ItemKind>(kind: K, body: Bodies[K]): Draft {
  return { stage: STAGES[kind], kind, body: JSON.stringify(body) };
}

/** The body of an item of that kind; undefined where it is none. */
export function readBody<K extends ItemKind>(item: Pick<Item, 'body'>, kind: K): Bodies[K] | undefined {
  try {
    const read = BODIES[kind].safeParse(JSON.parse(item.body));
    return read.success ? (read.data as Bodies[K]) : undefined;
  } catch {
    return undefined; // no JSON
  }
}

/** The same; throws SendError, for nobody ever takes what cannot be read. */
export function bodyOf<K extends ItemKind>(item: Pick<Item, 'body'>, kind: K): Bodies[K] {
  const body = readBody(item, kind);
  if (!body) throw new SendError('poison', `an item of the kind ${kind} does not say what such an item says`);
  return body;
}
