// The books of one run, in exact integers: what its scopes, its unattributed remainder and the run itself say of every
// additive column. Reads published totals only. The sampler checks the same at every tick; this is for documents and
// for whoever wants to see it.

import { COLUMN_LIST, type ColumnName, type ColumnUnit } from '../native/frame.js';
import type { Run } from './model.js';

export interface Balance {
  unit: ColumnUnit;
  scopes: bigint;
  unattributed: bigint;
  total: bigint;
  /** total − scopes − unattributed; 0. */
  residual: bigint;
}

/** Every additive column that the run knows. */
export function balanceOf(run: Run): Partial<Record<ColumnName, Balance>> {
  const books: Partial<Record<ColumnName, Balance>> = {};
  for (const column of COLUMN_LIST) {
    const known = run.totals.native(column.name);
    if (!column.additive || known === undefined) continue;
    let scopes = 0n;
    for (const scope of run.scopes()) scopes += scope.self.native(column.name) ?? 0n;
    const unattributed = run.unattributed.native(column.name) ?? 0n;
    const residual = known - scopes - unattributed;
    books[column.name] = { unit: column.unit, scopes, unattributed, total: known, residual };
  }
  return books;
}
