// The scope families: lezea_scope_<column>_total, their inclusive forms, and the gauges. Reads the series table; writes
// through the encoder, which is where a scrape spends its time.

import type { ExpositionWriter, FamilyHeader } from './encoder.js';
import { renderLabels } from './encoder.js';
import type { Cell, Figures, Shown } from './figures.js';
import { OTHER, type ScopeRow } from './run-series.js';
import type { SeriesTable } from './series.js';

const SELF_PREFIX = 'lezea_scope_';
const INCLUSIVE_PREFIX = 'lezea_scope_inclusive_';

export interface ScopeFamilyOptions {
  inclusive: boolean;
  /** `_created` beside every counter, in OpenMetrics. */
  created: boolean;
}

/** Headers of the families that these columns give; also the reference's list. */
export function scopeFamilies(shown: readonly Shown[], inclusive: boolean): FamilyHeader[] {
  const self = shown.map((column) => header(SELF_PREFIX, column, 'the scope itself, its children left out'));
  if (!inclusive) return self;
  const whole = shown
    .filter(hasInclusive)
    .map((column) => header(INCLUSIVE_PREFIX, column, 'the scope with everything below it'));
  return [...self, ...whole];
}

/** Series that one scope costs. */
export function seriesPerScope(shown: readonly Shown[], options: ScopeFamilyOptions): number {
  return countSeries(scopeFamilies(shown, options.inclusive), options);
}

/** Series that a scope costs for each of its GPUs after the first, which is within seriesPerScope. */
export function seriesPerGpu(shown: readonly Shown[], options: ScopeFamilyOptions): number {
  const ofGpu = shown.filter((column) => column.ofGpu);
  return countSeries(scopeFamilies(ofGpu, false), options);
}

function countSeries(families: readonly FamilyHeader[], { created }: ScopeFamilyOptions): number {
  return families.reduce((count, { type }) => count + (created && type === 'counter' ? 2 : 1), 0);
}

/** A peak is its subtree's already. */
function hasInclusive(column: Shown): boolean {
  return column.sums;
}

function header(prefix: string, column: Shown, of: string): FamilyHeader {
  const type = column.gauge ? 'gauge' : 'counter';
  const name = `${prefix}${column.name}${column.gauge ? '' : '_total'}`;
  return {
    name,
    type,
    labels:
      column.ofGpu && prefix === SELF_PREFIX ? ['run', 'level', 'scope', 'gpu'] : ['run', 'level', 'scope'],
    help: column.sums ? `${column.help}: ${of}.` : `${column.help}.`,
  };
}

export function writeScopeFamilies(
  writer: ExpositionWriter,
  table: SeriesTable,
  options: ScopeFamilyOptions,
): void {
  const { shown } = table.options;
  const others = table.otherRuns();
  shown.forEach((column, index) => {
    const family = new FamilyWriter(
      writer,
      header(SELF_PREFIX, column, 'the scope itself, its children left out'),
      {
        column,
        index,
        created: options.created,
      },
    );
    if (column.ofGpu) writeGpuRows(family, table);
    else writeRows(family, table, (row) => row.self);
    family.write(OTHER_RUNS, others?.[index], 0);
  });
  if (!options.inclusive) return;
  shown.forEach((column, index) => {
    if (!hasInclusive(column)) return;
    const family = new FamilyWriter(
      writer,
      header(INCLUSIVE_PREFIX, column, 'the scope with everything below it'),
      { column, index, created: options.created },
    );
    writeRows(family, table, (row) => row.inclusive);
  });
}

/** All folded runs are one row: nothing of theirs is told apart, neither scope nor remainder. */
const OTHER_RUNS = renderLabels({ run: OTHER, level: OTHER, scope: OTHER });

function writeRows(
  family: FamilyWriter,
  table: SeriesTable,
  figuresOf: (row: ScopeRow) => Figures | null,
): void {
  for (const run of table.admitted) {
    for (const row of run.rows) family.write(row.labels, figuresOf(row)?.cells[family.index], run.startedAt);
  }
}

/** A series for each GPU that a scope used; scopes that were folded into one are told apart by nothing. */
function writeGpuRows(family: FamilyWriter, table: SeriesTable): void {
  for (const run of table.admitted) {
    for (const row of run.rows) {
      for (const gpu of row.gpus.values())
        family.write(gpu.labels, gpu.figures.cells[family.index], run.startedAt);
      if (row.folded) family.write(row.labels, row.self.cells[family.index], run.startedAt);
    }
  }
}

/** Writes the rows of one family; the header goes before the first one that has a figure. */
export class FamilyWriter {
  readonly index: number;
  readonly #writer: ExpositionWriter;
  readonly #header: FamilyHeader;
  readonly #name: Buffer;
  readonly #createdName: string | null;
  readonly #decimals: Shown['decimals'];
  #begun = false;

  /** `index`: the family's column in the cells. */
  constructor(
    writer: ExpositionWriter,
    head: FamilyHeader,
    options: { column: Shown; index: number; created: boolean },
  ) {
    const created = options.created && head.type === 'counter' && writer.format === 'openmetrics';
    this.index = options.index;
    this.#writer = writer;
    this.#header = head;
    this.#name = Buffer.from(head.name);
    this.#createdName = created ? head.name.replace(/_total$/, '_created') : null;
    this.#decimals = options.column.decimals;
  }

  /** `startedAt`: since when it was counted, seconds since 1970; 0: not known. */
  write(labels: Buffer, cell: Cell, startedAt: number): void {
    if (cell === undefined) return;
    if (!this.#begun) this.#writer.header(this.#header);
    this.#begun = true;
    if (typeof cell === 'number') this.#writer.sample(this.#name, labels, cell, this.#decimals);
    else this.#writer.bigSample(this.#name, labels, cell, this.#decimals);
    if (this.#createdName !== null && startedAt > 0) {
      this.#writer.floatSample(this.#createdName, labels, startedAt);
    }
  }
}
