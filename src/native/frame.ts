// The layout of a frame row, the unit in which every figure leaves the sampler, and the table of columns.
// Reads nothing; owns the column order, which must be the addon's (checkAddonLayout refuses another).
//
// Row of FRAME_WORDS u64 words: 0 id (slot or run handle; in its upper half the number of the GPU that the row is of, 0: of
// everything) | 1 known columns, bit i = column i; unknown is absent,
// never 0 | 2 memory now in bytes, known if bit 63 of word 1 is set | then each column at its own word (COLUMNS), two of
// them low before high | the rest reserved for more columns. Stored rows outlive the program: a column keeps its bit and
// its words, a new one gets the next.

import { LezeaError } from '../errors.js';
import type { Addon, AddonColumn } from './addon.js';

/** Words of one row; 8 bytes each. */
export const FRAME_WORDS = 32;
/** Of rows as they were stored before; the words after these were not there. */
export const OLD_FRAME_WORDS = 24;
export const ROW_HALVES = FRAME_WORDS * 2;

/** Native unit of a column. On the wire: ns become seconds, byte·ns byte-seconds, µJ joules; the rest stays. */
export type ColumnUnit = 'ns' | 'byte_ns' | 'uj' | 'bytes' | 'count';

/** Decimal places of a native unit in its base unit: a second has 10⁹ ns. */
export const DECIMALS: Readonly<Record<ColumnUnit, 0 | 6 | 9>> = {
  ns: 9,
  byte_ns: 9,
  uj: 6,
  bytes: 0,
  count: 0,
};

interface ColumnSpec {
  name: string;
  unit: ColumnUnit;
  /** First word of its value; byte·ns take two. */
  word: number;
  /** Σ self over scopes + unattributed = run total. */
  additive: boolean;
  kind: 'counter' | 'gauge';
  /** Whether /metrics shows it unless configured otherwise. */
  defaultMetric: boolean;
  /** Known of each GPU by itself too. */
  ofGpu: boolean;
}

function column<N extends string>(name: N, unit: ColumnUnit, word: number, options?: Partial<ColumnSpec>) {
  return {
    unit,
    word,
    additive: true,
    kind: 'counter' as const,
    defaultMetric: false,
    ofGpu: false,
    ...options,
    name,
  };
}

/** Every column, in frame order; the index is the bit in the mask. Meanings: docs/meaning.md. */
export const COLUMNS = [
  column('cpu_seconds', 'ns', 3, { defaultMetric: true }),
  column('cpu_user_seconds', 'ns', 4),
  column('cpu_system_seconds', 'ns', 5),
  column('runqueue_wait_seconds', 'ns', 6),
  column('memory_byte_seconds', 'byte_ns', 7),
  column('io_read_bytes', 'bytes', 9, { defaultMetric: true }),
  column('io_write_bytes', 'bytes', 10, { defaultMetric: true }),
  column('io_cancelled_write_bytes', 'bytes', 11),
  column('io_logical_read_bytes', 'bytes', 12),
  column('io_logical_write_bytes', 'bytes', 13),
  column('io_read_ops', 'count', 14),
  column('io_write_ops', 'count', 15),
  column('minor_faults', 'count', 16),
  column('major_faults', 'count', 17),
  column('voluntary_switches', 'count', 18),
  column('involuntary_switches', 'count', 19),
  column('active_seconds', 'ns', 20),
  column('activations', 'count', 21),
  // The greatest sum at one tick over the subtree: a sibling's peak may be at another tick, so nothing sums.
  column('memory_peak_bytes', 'bytes', 22, { additive: false, kind: 'gauge' }),
  column('cpu_energy_joules', 'uj', 23, { defaultMetric: true }),
  column('gpu_active_seconds', 'ns', 24, { ofGpu: true, defaultMetric: true }),
  column('gpu_allocated_seconds', 'ns', 25, { ofGpu: true, defaultMetric: true }),
  column('gpu_energy_joules', 'uj', 26, { ofGpu: true, defaultMetric: true }),
  column('gpu_memory_byte_seconds', 'byte_ns', 27, { ofGpu: true }),
  column('gpu_memory_peak_bytes', 'bytes', 29, {
    ofGpu: true,
    additive: false,
    kind: 'gauge',
    defaultMetric: true,
  }),
] as const satisfies readonly ColumnSpec[];

export type ColumnName = (typeof COLUMNS)[number]['name'];

/** One column with its place in the frame. */
export interface Column extends ColumnSpec {
  name: ColumnName;
  /** Its bit in the mask of known columns. */
  index: number;
}

/** The columns as objects that know their index, in frame order. */
export const COLUMN_LIST: readonly Column[] = COLUMNS.map((spec, index) => ({ ...spec, index }));

const byName = new Map<string, Column>(COLUMN_LIST.map((entry) => [entry.name, entry]));

/** The column of that name; a name that is none is our own mistake. */
export function columnOf(name: ColumnName): Column {
  const found = byName.get(name);
  if (!found) throw new LezeaError('internal', `no column ${name}`);
  return found;
}

export function isColumnName(name: string): name is ColumnName {
  return byName.has(name);
}

/** The names whose bit is set in a mask of columns. */
export function columnsInMask(mask: number): ColumnName[] {
  return COLUMN_LIST.filter((entry) => (mask & (1 << entry.index)) !== 0).map((entry) => entry.name);
}

/** Word 0: whose a row is; another number for each slot, and for each GPU of a slot. */
export function rowId(row: BigUint64Array): number {
  return Number(row[0]);
}

const TWO_32 = 2 ** 32;

/** The slot, or the run handle, and the GPU's number, of such an id. */
export function partsOfRowId(id: number): { slot: number; gpu: number } {
  return { slot: id % TWO_32, gpu: Math.floor(id / TWO_32) };
}

/**
 * The rows of a frame as the halves of their words, low before high: ROW_HALVES to a row, its id in the first. Thousands
 * of rows are read this way without an object each.
 */
export function halvesOf(frame: BigUint64Array): Uint32Array {
  if (frame.length % FRAME_WORDS !== 0) {
    throw new LezeaError('internal', `a frame of ${frame.length} words is not a multiple of ${FRAME_WORDS}`);
  }
  return new Uint32Array(frame.buffer, frame.byteOffset, frame.length * 2);
}

/** An empty row (nothing known) with this id. */
export function emptyRow(id: number): BigUint64Array {
  const row = new BigUint64Array(FRAME_WORDS);
  row[0] = BigInt(id);
  return row;
}

/** Bytes of a row as SQLite stores them (little-endian, as both supported architectures are). */
export function rowToBlob(row: BigUint64Array): Buffer {
  return Buffer.from(row.buffer, row.byteOffset, row.byteLength);
}

/** The row of a stored blob, copied; undefined when it has not the size of a row, of now or of before. */
export function rowFromBlob(blob: Uint8Array): BigUint64Array | undefined {
  if (blob.byteLength !== FRAME_WORDS * 8 && blob.byteLength !== OLD_FRAME_WORDS * 8) return undefined;
  const row = new BigUint64Array(FRAME_WORDS);
  new Uint8Array(row.buffer).set(blob);
  return row;
}

/** How many words the value of a column takes. */
export function wordsOf({ unit }: Pick<ColumnSpec, 'unit'>): number {
  return unit === 'byte_ns' ? 2 : 1;
}

/** Throws when the addon was built with other columns than this file's: every figure would be another one. */
export function checkAddonLayout(addon: Pick<Addon, 'columns' | 'frameWords'>): void {
  const layout = (columns: readonly AddonColumn[]) =>
    columns.map(({ name, word, words }) => `${name}:${word}+${words}`).join(' ');
  const theirs = layout(addon.columns());
  const ours = layout(
    COLUMNS.map((entry) => ({ name: entry.name, word: entry.word, words: wordsOf(entry) })),
  );
  if (theirs !== ours || addon.frameWords() !== FRAME_WORDS) {
    throw new LezeaError(
      'internal',
      `the native addon's columns differ from this program's (rebuild it): ` +
        `${addon.frameWords()} words [${theirs}], expected ${FRAME_WORDS} words [${ours}]`,
    );
  }
}
