// What waits to be delivered, as src/state keeps it. Types only. An item stays until the place has said that it has it, or
// until it was found that no place will ever take it: then it stays as dead, for somebody to look at.

import type { Owner } from '../attribution/model.js';
import type { RunHandle } from '../native/addon.js';
import type { Delivery, Draft, Item } from './model.js';

/** Who brings an item to its place: the agent, or a process of the run's owner, through its own tracker library. */
export type Bearer = 'agent' | 'client';

/** What is asked to be kept: for one run, to one place. */
export interface NewDelivery extends Omit<Delivery, 'id'> {
  /** Absent where it came from another agent. */
  handle?: RunHandle;
  /** As the agent said that it came from; default: a new one. */
  origin?: string;
  owner: Owner;
  createdMs: number;
}

/** How a place did lately. */
export interface SinkState {
  name: string;
  /** Failures in a row; 0: the last try was fine. */
  failures: number;
  /** When it is tried again, wall clock in milliseconds. */
  retryMs: number;
  /** The place does not let the agent in: why. */
  refused?: string;
  /** Of the last failure, and the delivery that it was said of. */
  error?: string;
  delivery?: number;
  deliveredMs?: number;
}

/** One delivery as it is shown. Counts are of items. */
export interface DeliveryState extends Delivery {
  sink: string;
  owner: Owner;
  /** Of the agent that cut the run into items; nothing else has the same, on any agent. */
  origin: string;
  /** False while its run has no final status, and while not all of it has come from elsewhere. */
  ready: boolean;
  createdMs: number;
  doneMs?: number;
  /** For the agent, for a client, dead, delivered. */
  waiting: number;
  withClient: number;
  dead: number;
  delivered: number;
  /** Bytes that are stored of it. */
  bytes: number;
  /** What was said of a dead item. */
  error?: string;
}

/** What of a place's deliveries is not done. Counts are of items. */
export interface Depth {
  sink: string;
  waiting: number;
  withClient: number;
  dead: number;
  bytes: number;
  /** When the oldest of them was made. */
  oldestCreatedMs: number;
}

/** One place, as /metrics shows it. Counts are of items. */
export interface SinkFigures {
  sink: string;
  /** For the agent, for a process of the run, for nobody: the place refused them for good. */
  waiting: number;
  withClient: number;
  dead: number;
  /** Stored bytes of all of them. */
  bytes: number;
  /** Age of the oldest delivery that is not done, milliseconds. */
  oldestMs?: number;
  /** In a row. */
  failures: number;
  refused: boolean;
  /** Wall clock of the last success, milliseconds since 1970. */
  deliveredMs?: number;
}

/** One item as it is shown. */
export interface ItemState {
  id: number;
  stage: number;
  kind: string;
  bearer: Bearer;
  dead: boolean;
  /** What was said of it last. */
  error?: string;
  /** Stored of it. */
  bytes: number;
}

/** Whole; `damaged` says why there is no body. */
export interface WholeItem extends ItemState {
  body?: string;
  damaged?: string;
}

export interface DeliveryFilter {
  id?: number;
  runId?: string;
  owner?: Owner;
  origin?: string;
  /** Older ones than this. */
  before?: number;
  /** Those with nothing left too. */
  all?: boolean;
  limit?: number;
}

export interface Outbox {
  /** Makes room for a delivery. It is ready when its run has its final status; one from elsewhere, when it is released. */
  begin(delivery: NewDelivery): number;
  add(delivery: number, drafts: readonly Draft[], bearer: Bearer): void;
  /** Forgets what was begun for a run that has no final status yet. */
  discard(run: RunHandle): void;
  /** Names of the places for which the agent has something. */
  waitingSinks(): string[];
  /**
   * The first waiting items of the oldest delivery of a place after `after`, else of the oldest; all of one stage. An attempt
   * of a run waits for the attempts before it.
   */
  next(sink: string, after: number, limit: number): { delivery: Delivery; items: Item[] } | undefined;
  /** The next items of a delivery that a client is to bring. */
  nextForClient(delivery: number, limit: number): Item[];
  delivered(delivery: number, items: readonly number[], nowMs: number): void;
  bury(item: number, error: string): void;
  /** Everything that waits of a delivery. */
  buryAll(delivery: number, error: string): void;
  /** Smaller items in the place of one. */
  replace(item: Item, delivery: number, drafts: readonly Draft[]): void;
  /** The agent cannot bring it; a client may. */
  handOver(item: number, error: string): void;
  sink(name: string): SinkState;
  setSink(state: SinkState): void;
  sinks(): SinkState[];
  depths(): Depth[];
  deliveries(filter: DeliveryFilter): DeliveryState[];
  /** Dead items wait again. How many. */
  revive(delivery: number): number;
  /** The undelivered items of a delivery, by their ids from `after` on. */
  items(delivery: number, after: number, limit: number): ItemState[];
  item(delivery: number, item: number): WholeItem | undefined;
  /** What came from elsewhere is ready, all of it at once, and on the disk. */
  release(deliveries: readonly number[]): void;
  /** What came from elsewhere and was never released. */
  unreleased(): Delivery[];
  /** Forgets one of those. */
  drop(delivery: number): void;
}

/** Kind and address: what waits for one place waits in one queue. */
export function sinkName({ target }: Pick<Delivery, 'target'>): string {
  return `${target.kind} ${target.address}`;
}
