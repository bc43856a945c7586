// Whether a stored run is as it was written. Its rows have no checksum of their own; the books that must balance are one.
// Pure.

import { balanceOf } from '../attribution/conservation.js';
import type { Run } from '../attribution/model.js';
import type { SavedRun } from '../attribution/records.js';
import { rebuildRun } from '../attribution/registry.js';
import { COLUMN_LIST, columnOf, partsOfRowId } from '../native/frame.js';

/** What is wrong with it; undefined: nothing that can be told. Columns that the sampler itself found wrong do not count. */
export function runFault(saved: SavedRun): string | undefined {
  const { figures, record, rows } = saved;
  if (!figures) return undefined;
  const slots = new Set([record.unattributedSlot, ...saved.scopes.map(({ slot }) => slot)]);
  for (const id of rows.keys()) {
    const { slot } = partsOfRowId(id);
    if (!slots.has(slot)) return `row of a scope ${slot} that it does not have`;
  }
  const run = rebuildRun(saved);
  for (const [column, { residual }] of Object.entries(balanceOf(run))) {
    const known = (figures.residualColumns & (1 << columnOf(column as never).index)) !== 0;
    if (residual !== 0n && !known) return `${column} does not add up: ${residual} too many`;
  }
  return gpuFault(run);
}

/** Of each scope, what it had of each GPU is what it had of them. */
function gpuFault(run: Run): string | undefined {
  const parts = [{ self: run.unattributed, byGpu: run.unattributedByGpu }, ...run.scopes()];
  for (const { name, ofGpu, additive } of COLUMN_LIST) {
    if (!ofGpu || !additive) continue;
    for (const { self, byGpu } of parts) {
      let sum = 0n;
      for (const totals of byGpu.values()) sum += totals.native(name) ?? 0n;
      if (sum !== (self.native(name) ?? 0n)) return `${name} by GPU does not add up`;
    }
  }
  return undefined;
}
