// Whether a stored run is as it was written. Its rows have no checksum of their own; the books that must balance are one.
// Pure.

import { balanceOf } from '../attribution/conservation.js';
import type { SavedRun } from '../attribution/records.js';
import { rebuildRun } from '../attribution/registry.js';
import { columnOf } from '../native/frame.js';

/** What is wrong with it; undefined: nothing that can be told. Columns that the sampler itself found wrong do not count. */
export function runFault(saved: SavedRun): string | undefined {
  const { figures, record, rows } = saved;
  if (!figures) return undefined;
  const slots = new Set([record.unattributedSlot, ...saved.scopes.map(({ slot }) => slot)]);
  for (const slot of rows.keys()) if (!slots.has(slot)) return `row of a scope ${slot} that it does not have`;
  for (const [column, { residual }] of Object.entries(balanceOf(rebuildRun(saved)))) {
    const known = (figures.residualColumns & (1 << columnOf(column as never).index)) !== 0;
    if (residual !== 0n && !known) return `${column} does not add up: ${residual} too many`;
  }
  return undefined;
}
