// What delivery speaks of: what an ended run has to say, the items it is cut into, the places they go to, and the one error
// of a try. An item is frozen when the run ends: sent again it is the same bytes, so that a place that has it sees no other.

import type { Facts } from '../attribution/facts.js';
import type { Outcome } from '../attribution/model.js';
import type { Columns } from '../attribution/totals.js';

/** Where totals go: the kind of place, its address, and what it has to know beside. Never a secret. */
export interface Target {
  kind: 'mlflow' | 'webhook';
  /** URL without user, password and query; of MLflow the base one, without trailing slash. */
  address: string;
  /** As the client gave them, for example `run_id`. */
  settings: Readonly<Record<string, string>>;
}

/** What one scope used. */
export interface ScopeLine {
  path: string;
  self: Columns;
  inclusive: Columns;
}

/** A document of the run, as it lies in the run's folder. */
export interface DocumentFile {
  /** Path inside the run's folder, which is also its path at the tracker. */
  path: string;
  bytes: number;
  /** Lower-case hexadecimal. */
  sha256: string;
  /** Hashes of earlier attempts' documents of that path, which this one may take the place of. */
  replaces?: readonly string[];
}

/** The documents of one of a run's attempts. */
export interface AttemptDocuments {
  attempt: number;
  files: readonly DocumentFile[];
}

/** An ended run as it is delivered. Figures are in the columns' base units. */
export interface EndedRun {
  /** Of the agent's making, the same for every attempt. */
  key: string;
  runId: string;
  attempt: number;
  outcome: Outcome;
  /** No process of it is left; nobody else will say how it ended. */
  allDead: boolean;
  /** Wall clock, milliseconds since 1970. */
  startedAtMs: number;
  endedAtMs: number;
  node: string;
  experiment?: string;
  name?: string;
  tags: Readonly<Record<string, string>>;
  totals: Columns;
  scopes(): Iterable<ScopeLine>;
  files: readonly DocumentFile[];
  /** What it ran on: the stable fingerprint of its environment document. */
  environmentFingerprint?: string;
  /** The same with what was said of the run. */
  runFingerprint?: string;
  /** What was said of it. */
  facts?: Facts;
  /** Where there was more than one attempt: the documents of each, this one's too, oldest first. */
  attempts?: readonly AttemptDocuments[];
  /** It said that it has several ranks: it may run on other nodes too, whose agents deliver theirs. */
  spansNodes?: boolean;
  rank?: number;
}

/** One request's worth, or less. */
export interface Draft {
  /** Lower stages are delivered first; within a stage, drafts in the order they were made. */
  stage: number;
  /** The sink's own word. */
  kind: string;
  /** The sink's own JSON. */
  body: string;
}

export interface Item extends Draft {
  id: number;
}

/** What is to be brought to one place. */
export interface Delivery {
  id: number;
  target: Target;
  /** Which run, for its documents and for messages; `measuredAs`: its key at the agent that measured it, where that is another. */
  run: { key: string; runId: string; attempt: number; measuredAs?: string };
}

/** What the run is called wherever another agent may bring some of it too. */
export function commonKey({ key, measuredAs }: Pick<Delivery['run'], 'key' | 'measuredAs'>): string {
  return measuredAs ?? key;
}

/**
 * What became of a try. `retry`: nothing is wrong with the item; again, later. `poison`: the place will never take this
 * item. `refused`: the place does not let us in; nothing is lost, and somebody has to be told. `elsewhere`: the agent cannot
 * bring this item there; the client has to. `gone`: what the delivery belongs to is no more, so none of its items is taken.
 */
export type Verdict = 'retry' | 'poison' | 'refused' | 'elsewhere' | 'gone';

interface SendErrorOptions {
  retryAfterMs?: number;
  status?: number;
  cause?: unknown;
}

/** Why an item was not taken. The message names what, where and what the place said; never a secret. */
export class SendError extends Error {
  readonly verdict: Verdict;
  /** As the place asked for, milliseconds. */
  readonly retryAfterMs?: number;
  /** Of the HTTP answer, where there was one. */
  readonly status?: number;

  constructor(verdict: Verdict, message: string, options: SendErrorOptions = {}) {
    super(message, { cause: options.cause });
    this.name = 'SendError';
    this.verdict = verdict;
    if (options.retryAfterMs !== undefined) this.retryAfterMs = options.retryAfterMs;
    if (options.status !== undefined) this.status = options.status;
  }
}

/** One kind of place. */
export interface Sink {
  /** Cuts a run into items. The same run gives the same bytes. */
  plan(run: EndedRun, target: Target): Iterable<Draft>;
  /** How many of these items, all of one stage, the first included, go together in one request. */
  together(delivery: Delivery, items: readonly Item[]): number;
  /** Resolves when the place has said that it has them, or had them already. Throws SendError. */
  send(delivery: Delivery, items: readonly Item[], signal: AbortSignal): Promise<void>;
  /** An item that was refused as it is, in smaller ones; [] when it cannot be cut, or would be refused all the same. */
  split(item: Item, error: SendError): Draft[];
  /** Lets go of what it keeps open. */
  close(): void;
}
