// What waits of running runs' figures, as src/state keeps it. Types only. Nothing of it is lasting: the oldest goes where
// there is too much, and everything that counts comes again with the run's totals.

import type { RunHandle } from '../native/addon.js';
import type { Delivery, Draft, Item } from './model.js';

/** A run's figures so far, for one place. */
export interface NewRollup extends Omit<Delivery, 'id'> {
  handle: RunHandle;
  draft: Draft;
}

export interface Rollup {
  id: number;
  /** `id`: the run's handle. */
  delivery: Delivery;
  item: Item;
}

/** How many may wait. */
export interface RollupBounds {
  ofRun: number;
  ofAll: number;
}

export interface RollupRows {
  /** Keeps them in the place of the oldest ones that are too many: how many those were. */
  add(rollups: readonly NewRollup[], bounds: RollupBounds): number;
  /** Names of the places for which some wait. */
  sinks(): string[];
  /** For a place, the oldest of the first run after `after`, else of the first run. */
  next(sink: string, after: RunHandle): Rollup | undefined;
  remove(id: number): void;
  /** Those of a run that wait for a place. How many. */
  removeRun(handle: RunHandle, sink: string): number;
  clear(): void;
}
