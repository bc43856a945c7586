// The items of an MLflow delivery, as they lie in the outbox and go to the Python client: their kinds, stages and bodies.
// Reads bodies back; owns nothing. A body is written once and never changed.

import type { Draft, Item } from '../model.js';

/** Lower stages first: what a later one speaks of is there before it. */
export const STAGES = { create: 0, metrics: 1, artifact: 2, merge: 3, tags: 4, end: 5 } as const;

export type ItemKind = keyof typeof STAGES;

/** MLflow's own words for how a run ended. */
export type EndStatus = 'FINISHED' | 'FAILED' | 'KILLED';

export interface Metric {
  key: string;
  value: number;
  /** Milliseconds since 1970. */
  timestamp: number;
  step: number;
}

export interface Tag {
  key: string;
  value: string;
}

export interface ArtifactBody {
  /** Inside the run's folder, and inside the MLflow run's artifacts. */
  path: string;
  bytes: number;
  /** Lower-case hexadecimal. */
  sha256: string;
  /** Of earlier attempts' documents of that path, which this one may take the place of. */
  replaces?: readonly string[];
}

/** One node's summary, to be merged with those of the other nodes that are there. `path` is where the node's own goes. */
export interface MergeBody extends ArtifactBody {
  node: string;
}

export interface Bodies {
  create: { run_name: string; start_time: number };
  metrics: { metrics: Metric[] };
  artifact: ArtifactBody;
  merge: MergeBody;
  tags: { tags: Tag[] };
  end: { status: EndStatus; end_time: number };
}

export function draft<K extends ItemKind>(kind: K, body: Bodies[K]): Draft {
  return { stage: STAGES[kind], kind, body: JSON.stringify(body) };
}

/** The body of an item of that kind. It is our own JSON, from a database that is checked. */
export function bodyOf<K extends ItemKind>(item: Pick<Item, 'body'>, _kind: K): Bodies[K] {
  return JSON.parse(item.body) as Bodies[K];
}
