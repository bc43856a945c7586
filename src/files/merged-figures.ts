// The figures of several nodes' summaries as one: what adds up is added as the integers that it was, a peak is the greatest.
// Pure; a further document never makes a figure less.

import type { Columns } from '../attribution/totals.js';
import { COLUMN_LIST, type Column } from '../native/frame.js';
import { baseOf } from './exact.js';
import { type Natives, type NodeSummary, nativesOf, totalOf } from './node-summary.js';
import type { SummaryScope } from './summary-document.js';

type Scope = NodeSummary['scopes'][number];

/** A column of whole runs. */
export function sumTotals(documents: readonly NodeSummary[], column: Column): number {
  const values = documents.flatMap((document) => totalOf(document, column) ?? []);
  return baseOf(
    values.reduce((sum, value) => together(column, sum, value), 0n),
    column.unit,
  );
}

/** Every scope that any node had, by path: what a scope lies in comes before it. */
export function mergeScopes(documents: readonly NodeSummary[]): SummaryScope[] {
  const merged = new Map<string, { first: Scope; self: Natives; inclusive: Natives }>();
  for (const { scopes } of documents) {
    for (const scope of scopes) {
      const known = merged.get(scope.path) ?? { first: scope, self: {}, inclusive: {} };
      add(known.self, nativesOf(scope.self));
      add(known.inclusive, nativesOf(scope.inclusive));
      merged.set(scope.path, known);
    }
  }
  const byPath = [...merged.values()].sort((a, b) => (a.first.path < b.first.path ? -1 : 1));
  return byPath.map(({ first, self, inclusive }) => ({
    path: first.path,
    level: first.level,
    name: first.name,
    ...(first.label === undefined ? {} : { label: first.label }),
    parent: first.parent,
    self: columnsOf(self),
    inclusive: columnsOf(inclusive),
  }));
}

export function mergeUnattributed(documents: readonly NodeSummary[]): Columns {
  const sums: Natives = {};
  for (const { unattributed, conservation } of documents) {
    const natives = nativesOf(unattributed);
    for (const { name } of COLUMN_LIST) {
      const line = conservation[name];
      // As the books have it: a double cannot hold every integer.
      if (natives[name] !== undefined && line) natives[name] = BigInt(line.unattributed);
    }
    add(sums, natives);
  }
  return columnsOf(sums);
}

function add(sums: Natives, natives: Natives): void {
  for (const column of COLUMN_LIST) {
    const value = natives[column.name];
    if (value !== undefined) sums[column.name] = together(column, sums[column.name] ?? 0n, value);
  }
}

function together({ additive }: Column, one: bigint, other: bigint): bigint {
  if (additive) return one + other;
  return one > other ? one : other;
}

function columnsOf(natives: Natives): Columns {
  const columns: Columns = {};
  for (const { name, unit } of COLUMN_LIST) {
    const value = natives[name];
    if (value !== undefined) columns[name] = baseOf(value, unit);
  }
  return columns;
}
