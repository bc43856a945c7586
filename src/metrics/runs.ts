// The run families: lezea_run_info, lezea_run_<column>_total and what is known about how a run was measured.
// Reads the series table; writes through the encoder.

import type { Run } from '../attribution/model.js';
import { type ExpositionWriter, type FamilyHeader, renderLabels } from './encoder.js';
import type { Shown } from './figures.js';
import { type Figure, writeFamily } from './registry.js';
import { OTHER, type RunSeries } from './run-series.js';
import { FamilyWriter } from './scopes.js';
import type { SeriesTable } from './series.js';

interface RunFamily extends FamilyHeader {
  /** Undefined is unknown: no series. */
  value(run: Run, series: RunSeries): number | undefined;
}

const RUN_FAMILIES: readonly RunFamily[] = [
  {
    name: 'lezea_run_start_time_seconds',
    type: 'gauge',
    help: 'Start of the run, seconds since 1970.',
    value: (_run, series) => series.startedAt,
  },
  {
    name: 'lezea_run_end_time_seconds',
    type: 'gauge',
    help: 'End of the run, seconds since 1970; absent while it lasts.',
    value: (run) => (run.endedAtMs === undefined ? undefined : run.endedAtMs / 1000),
  },
  {
    name: 'lezea_run_attempt',
    type: 'gauge',
    help: 'Which attempt of the run this is, from 1.',
    value: (run) => run.attempt,
  },
  {
    name: 'lezea_run_processes',
    type: 'gauge',
    help: 'Living processes of the run.',
    value: (run) => run.processes,
  },
  {
    name: 'lezea_run_coverage_ratio',
    type: 'gauge',
    help: "Share of the attempt's wall time that was observed, 0 to 1.",
    value: (run) => run.coverage.ratio,
  },
  {
    name: 'lezea_run_lost_events',
    type: 'gauge',
    help: 'Records and exit events of the attempt that were lost.',
    value: (run) => Number(run.lostEvents),
  },
  {
    name: 'lezea_run_residual_columns',
    type: 'gauge',
    help: "Columns of the attempt in which scopes and unattributed differ from the run's total; 0 unless something broke.",
    value: (run) => run.residualColumns.length,
  },
];

const INFO: FamilyHeader = {
  name: 'lezea_run_info',
  type: 'info',
  labels: ['run', 'uid', 'experiment', 'name'],
  help: 'Who a run is; the value is 1.',
};

const STATUS: FamilyHeader = {
  name: 'lezea_run_status',
  type: 'gauge',
  labels: ['run', 'status'],
  help: 'The status a run is in; only the one that holds is shown, with the value 1.',
};

/** Headers of the run families that these columns give; also the reference's list. */
export function runFamilies(shown: readonly Shown[]): FamilyHeader[] {
  const others = [...RUN_FAMILIES, ...shown.map(totalsHeader)];
  return [INFO, STATUS, ...others.map((family) => ({ ...family, labels: ['run'] }))];
}

/** Series that one run costs beside its scopes. */
export function seriesPerRun(shown: readonly Shown[], options: { created: boolean }): number {
  return runFamilies(shown).reduce(
    (count, family) => count + (options.created && family.type === 'counter' ? 2 : 1),
    0,
  );
}

function totalsHeader(column: Shown): FamilyHeader {
  return {
    name: `lezea_run_${column.name}${column.gauge ? '' : '_total'}`,
    type: column.gauge ? 'gauge' : 'counter',
    help: `${column.help}: the whole run.`,
  };
}

export function writeRunFamilies(
  writer: ExpositionWriter,
  table: SeriesTable,
  options: { created: boolean },
): void {
  writeFamily(writer, INFO, infoFigures(table));
  writeFamily(writer, STATUS, statusFigures(table));
  for (const family of RUN_FAMILIES) writeFamily(writer, family, valueFigures(table, family));
  const others = table.otherRuns();
  const otherLabels = renderLabels({ run: OTHER });
  table.options.shown.forEach((column, index) => {
    const totals = new FamilyWriter(writer, totalsHeader(column), {
      column,
      index,
      created: options.created,
    });
    for (const run of table.admitted) totals.write(run.runLabels, run.totals.cells[index], run.startedAt);
    totals.write(otherLabels, others?.[index], 0);
  });
}

function* infoFigures(table: SeriesTable): Generator<Figure> {
  const { names } = table.options;
  for (const { run, label } of table.admitted) {
    const labels: Record<string, string> = { run: label, uid: String(run.owner.uid) };
    if (run.experiment !== undefined) labels.experiment = names.word(run.owner, run.experiment);
    if (run.name !== undefined) labels.name = names.word(run.owner, run.name);
    yield { labels, value: 1 };
  }
}

function* statusFigures(table: SeriesTable): Generator<Figure> {
  for (const { run, label } of table.admitted) yield { labels: { run: label, status: run.status }, value: 1 };
}

function* valueFigures(table: SeriesTable, family: RunFamily): Generator<Figure> {
  for (const series of table.admitted) {
    const value = family.value(series.run, series);
    if (value !== undefined) yield { labels: { run: series.label }, value };
  }
}
