// What a running run has used so far, as one request to MLflow. Pure.

import type { Columns } from '../../attribution/totals.js';
import type { Draft } from '../model.js';
import { draft } from './items.js';
import { liveKey } from './keys.js';
import { figures } from './plan.js';

/** A running run at a checkpoint. */
export interface RollupFacts {
  node: string;
  /** Wall clock of the checkpoint, milliseconds since 1970. */
  atMs: number;
  /** Greater every time, over all attempts of the run. */
  step: number;
  totals: Columns;
  /** Held now. Absent: not known. */
  memoryBytes?: number;
  /** Cores kept busy since the rollup before. Absent: there was none. */
  cpuCores?: number;
}

/** Totals as far as they are known and not zero, and levels. undefined: nothing is known yet. */
export function planRollup(facts: RollupFacts): Draft | undefined {
  const { node, atMs, step, totals, memoryBytes, cpuCores } = facts;
  const at = { timestamp: Math.round(atMs), step };
  const values: [string, number][] = [
    ...figures(totals),
    ...(memoryBytes === undefined ? [] : [['memory_bytes', memoryBytes] as [string, number]]),
    ...(cpuCores === undefined ? [] : [['cpu_cores', cpuCores] as [string, number]]),
  ];
  if (values.length === 0) return undefined;
  return draft('metrics', {
    metrics: values.map(([name, value]) => ({ key: liveKey(node, name), value, ...at })),
  });
}
