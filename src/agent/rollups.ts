// Live rollups as the configuration asks for them.

import { hostname } from 'node:os';
import { earlierAttempts } from '../attribution/attempts.js';
import type { RollupRows } from '../delivery/rollup-rows.js';
import { Rollups, type RollupsOptions } from '../delivery/rollups.js';
import { type DeliveryParts, mlflowOf } from './delivery.js';

export interface RollupParts extends DeliveryParts {
  rows: RollupRows;
  sampledAt: RollupsOptions['sampledAt'];
}

/** Undefined where there are to be none: what still waited from before is forgotten. */
export function makeRollups(parts: RollupParts): Rollups | undefined {
  const { config, store, rows, outbox, log, sampledAt } = parts;
  const { rollups, mode } = config().tracker;
  if (!rollups.enabled || mode === 'offline') {
    rows.clear();
    return undefined;
  }
  return new Rollups({
    ...mlflowOf(parts),
    store,
    rows,
    outbox,
    node: hostname(),
    log,
    sampledAt,
    earlier: (run) => earlierAttempts(store, run),
    intervalMs: rollups.interval_seconds * 1000,
    keep: rollups.keep,
  });
}
