// The figures document, metrics.json: flat numbers by name, as DVC reads them, the same keys in the same order for the same run.
// Owns its schema, from which docs/schemas/metrics.json is made. Emits pieces of JSON, a figure each.

import { z } from 'zod';
import type { Run } from '../attribution/model.js';
import type { Columns } from '../attribution/totals.js';
import { COLUMN_LIST } from '../native/frame.js';
import type { SummaryDocument } from './summary-document.js';

/** What the figures are taken from; those of a scope are asked for when it is its turn. */
export interface Figures {
  totals: Columns;
  scopes: readonly { path: string; self(): Columns; inclusive(): Columns }[];
}

const key = z.string().regex(new RegExp(`^.+/(?:${COLUMN_LIST.map(({ name }) => name).join('|')})$`));

export const metricsDocument = z.record(key, z.number().nonnegative()).meta({
  title: 'Figures of a run',
  description:
    '`total/<column>`, then for every scope, by its path, `<path>/<column>` and `<path>/inclusive/<column>`, in base units ' +
    '(seconds, byte-seconds, bytes, counts). What is not known has no key.',
});

/** JSON Schema, draft 2020-12. */
export function metricsSchema(): string {
  return `${JSON.stringify({ $id: 'lezea.metrics/v1', ...z.toJSONSchema(metricsDocument) }, null, 2)}\n`;
}

export function* metricsText({ totals, scopes }: Figures): Generator<string> {
  let before = '{\n';
  for (const [key, value] of figures(totals, scopes)) {
    yield `${before}  ${JSON.stringify(key)}: ${JSON.stringify(value)}`;
    before = ',\n';
  }
  yield before === '{\n' ? '{}\n' : '\n}\n';
}

function* figures(totals: Columns, scopes: Figures['scopes']): Generator<[string, number]> {
  yield* known('total', totals);
  for (const { path, self, inclusive } of scopes.toSorted((a, b) => compare(a.path, b.path))) {
    yield* known(path, self());
    yield* known(`${path}/inclusive`, inclusive());
  }
}

function* known(folder: string, columns: Columns): Generator<[string, number]> {
  for (const { name } of COLUMN_LIST) {
    const value = columns[name];
    if (value !== undefined) yield [`${folder}/${name}`, value];
  }
}

/** By code units: the same everywhere. */
function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

export function figuresOf(run: Run): Figures {
  return {
    totals: run.totals.toColumns(),
    scopes: [...run.scopes()].map((scope) => ({
      path: scope.path,
      self: () => scope.self.toColumns(),
      inclusive: () => scope.inclusive().toColumns(),
    })),
  };
}

/** The same, from the run's summary. */
export function figuresOfSummary({ totals, scopes }: Pick<SummaryDocument, 'totals' | 'scopes'>): Figures {
  const values = Object.entries(totals).map(([name, { value }]) => [name, value]);
  return {
    totals: Object.fromEntries(values),
    scopes: scopes.map(({ path, self, inclusive }) => ({
      path,
      self: () => self,
      inclusive: () => inclusive,
    })),
  };
}
