// The families of limits: what each is, and how much of it is used. Reads the series table; writes through the encoder.

import { keyText, type LimitState } from '../attribution/run-limits.js';
import type { ExpositionWriter, FamilyHeader } from './encoder.js';
import type { Names } from './names.js';
import { type Figure, writeFamily } from './registry.js';
import type { RunSeries } from './run-series.js';
import type { SeriesTable } from './series.js';

const LABELS = ['run', 'limit', 'scope', 'level', 'experiment'];

const VALUE: FamilyHeader = {
  name: 'lezea_run_limit_value',
  type: 'gauge',
  labels: LABELS,
  help: 'A limit of the run or of its experiment, in the unit of its name.',
};

const RATIO: FamilyHeader = {
  name: 'lezea_run_limit_used_ratio',
  type: 'gauge',
  labels: LABELS,
  help: 'How much of a limit is used, 1 at the limit; absent where that is not known.',
};

export const LIMIT_FAMILIES: readonly FamilyHeader[] = [VALUE, RATIO];

/** Series that one limit costs. */
export const SERIES_PER_LIMIT = LIMIT_FAMILIES.length;

export function writeLimitFamilies(writer: ExpositionWriter, table: SeriesTable): void {
  writeFamily(
    writer,
    VALUE,
    figures(table, ({ value }) => value),
  );
  writeFamily(
    writer,
    RATIO,
    figures(table, ({ ratio }) => ratio),
  );
}

function* figures(table: SeriesTable, of: (state: LimitState) => number | undefined): Generator<Figure> {
  const { names } = table.options;
  for (const series of table.admitted) {
    for (const state of series.run.limits) {
      const value = series.showsLimit(keyText(state)) ? of(state) : undefined;
      if (value !== undefined) yield { labels: labelsOf(series, state, names), value };
    }
  }
}

function labelsOf({ label, run }: RunSeries, state: LimitState, names: Names): Record<string, string> {
  const { limit, scope, level, experiment } = state;
  return {
    run: label,
    limit,
    ...(scope === undefined ? {} : { scope: names.path(run.owner, scope) }),
    ...(level === undefined ? {} : { level }),
    ...(experiment === undefined ? {} : { experiment: names.word(run.owner, experiment) }),
  };
}
