// Totals: a view of one frame row, in native integers inside and base units outside. A column that is not known is
// undefined everywhere; it is never 0. The totals of scopes are views of what is committed: a new view marks a change,
// an old one moves on with the row; toColumns() and toRow() give a copy of now.

import {
  COLUMN_LIST,
  type Column,
  type ColumnName,
  columnOf,
  emptyRow,
  FRAME_WORDS,
  wordsOf,
} from '../native/frame.js';
import { isBelow, knownMask, Rows } from './rows.js';

/** Columns in base units (seconds, byte-seconds, bytes, counts); an unknown column has no key. */
export type Columns = Partial<Record<ColumnName, number>>;

const WORD = 64n;
const MASK64 = (1n << WORD) - 1n;
const TWO_32 = 2 ** 32;
const TWO_64 = 2 ** 64;
const MEMORY_KNOWN = 1 << 31; // bit 63 of word 1, in its upper half
const ADDITIVE_MASK = COLUMN_LIST.reduce(
  (mask, { additive, index }) => (additive ? mask | (1 << index) : mask),
  0,
);

export class Totals {
  static readonly none = Totals.fromRow(emptyRow(0));

  readonly #rows: Rows;
  readonly #index: number;

  /** A view of a row; it changes when the row does. */
  constructor(rows: Rows, index: number) {
    this.#rows = rows;
    this.#index = index;
  }

  /** Takes a copy of a frame row. */
  static fromRow(row: BigUint64Array): Totals {
    const rows = new Rows(1);
    rows.words.set(row.subarray(0, FRAME_WORDS));
    return new Totals(rows, 0);
  }

  /** The first with all the others: additive columns and the memory of now. The peak is the first's. */
  static sum(first: Totals, others: Iterable<Totals>): Totals {
    const sums = new ColumnSums(first);
    for (const other of others) sums.add(other.#rows, other.#index);
    return Totals.fromRow(sums.toRow());
  }

  /** Bit i is set if column i is known. */
  get knownMask(): number {
    return knownMask(this.#rows, this.#index);
  }

  knows(name: ColumnName): boolean {
    return this.#knows(columnOf(name));
  }

  /** The exact integer in the native unit. */
  native(name: ColumnName): bigint | undefined {
    const column = columnOf(name);
    return this.#knows(column) ? this.#integer(column) : undefined;
  }

  /** The figure in its base unit, e.g. seconds; exact up to 2^53 native units. */
  value(name: ColumnName): number | undefined {
    const column = columnOf(name);
    return this.#knows(column) ? this.#number(column) : undefined;
  }

  /** Memory held at the last tick by threads in this scope itself, bytes. */
  get memoryBytes(): number | undefined {
    return (this.#half(3) & MEMORY_KNOWN) === 0 ? undefined : this.#wordNumber(2);
  }

  /** Every known column in its base unit. */
  toColumns(): Columns {
    const columns: Columns = {};
    const known = this.knownMask;
    for (const column of COLUMN_LIST) {
      if ((known & (1 << column.index)) !== 0) columns[column.name] = this.#number(column);
    }
    return columns;
  }

  /** A copy of the row, as it is stored. */
  toRow(): BigUint64Array {
    return this.#rows.row(this.#index).slice();
  }

  /** Sum with another; a column known to either is known. The peak is this one's: peaks do not add up. */
  plus(other: Totals): Totals {
    return Totals.sum(this, [other]);
  }

  /** What was added since an earlier total of the same thing; a column that was not known then had nothing. */
  minus(earlier: Totals): Totals {
    const row = emptyRow(Number(this.#rows.row(this.#index)[0]));
    const mask = this.knownMask & ADDITIVE_MASK;
    for (const column of COLUMN_LIST) {
      if ((mask & (1 << column.index)) === 0) continue;
      const before = earlier.#knows(column) ? earlier.#integer(column) : 0n;
      const now = this.#integer(column);
      writeInteger(row, column, now > before ? now - before : 0n);
    }
    row[1] = BigInt(mask >>> 0);
    return Totals.fromRow(row);
  }

  /** Whether this says less, in any column, than an earlier total of the same thing; never, unless something broke. */
  isBelow(earlier: Totals): boolean {
    return isBelow({ rows: this.#rows, index: this.#index }, { rows: earlier.#rows, index: earlier.#index });
  }

  #knows(column: Column): boolean {
    return (this.knownMask & (1 << column.index)) !== 0;
  }

  #integer(column: Column): bigint {
    const at = this.#index * FRAME_WORDS + column.word;
    const low = this.#rows.words[at] ?? 0n;
    return wordsOf(column) === 2 ? low | ((this.#rows.words[at + 1] ?? 0n) << WORD) : low;
  }

  #number(column: Column): number {
    const low = this.#wordNumber(column.word);
    if (column.unit === 'ns') return low / 1e9;
    if (column.unit === 'uj') return low / 1e6;
    if (column.unit === 'byte_ns') return (this.#wordNumber(column.word + 1) * TWO_64 + low) / 1e9;
    return low;
  }

  #wordNumber(word: number): number {
    return this.#half(word * 2 + 1) * TWO_32 + this.#half(word * 2);
  }

  #half(at: number): number {
    return this.#rows.halves[this.#index * FRAME_WORDS * 2 + at] ?? 0;
  }
}

/**
 * Whether the energy that was used is known: of the CPU alone it would be far too little where a GPU was used of which it
 * is not.
 */
export function knowsEnergy(totals: Totals): boolean {
  if (totals.knows('gpu_energy_joules')) return true;
  return totals.knows('cpu_energy_joules') && !totals.knows('gpu_allocated_seconds');
}

/**
 * Adds rows up half by half: sums of 32-bit halves stay exact in a number for two million rows, and carry into each
 * other once, at the end.
 */
class ColumnSums {
  readonly #row: BigUint64Array;
  readonly #halves: Float64Array;
  #mask: number;
  #memoryKnown: boolean;

  constructor(first: Totals) {
    this.#row = first.toRow();
    this.#halves = Float64Array.from(new Uint32Array(this.#row.buffer));
    this.#mask = first.knownMask;
    this.#memoryKnown = first.memoryBytes !== undefined;
  }

  add(rows: Rows, index: number): void {
    const base = index * FRAME_WORDS * 2;
    const { halves } = rows;
    const known = knownMask(rows, index) & ADDITIVE_MASK;
    this.#mask |= known;
    for (const column of COLUMN_LIST) {
      if ((known & (1 << column.index)) === 0) continue;
      const end = column.word * 2 + halvesOf(column);
      for (let at = column.word * 2; at < end; at += 1) this.#addHalf(at, halves[base + at] ?? 0);
    }
    if (((halves[base + 3] ?? 0) & MEMORY_KNOWN) === 0) return;
    this.#memoryKnown = true;
    this.#addHalf(4, halves[base + 4] ?? 0);
    this.#addHalf(5, halves[base + 5] ?? 0);
  }

  #addHalf(at: number, value: number): void {
    this.#halves[at] = (this.#halves[at] ?? 0) + value;
  }

  toRow(): BigUint64Array {
    const halves = new Uint32Array(this.#row.buffer);
    this.#carry(halves, 4, 2);
    for (const column of COLUMN_LIST) this.#carry(halves, column.word * 2, halvesOf(column));
    halves[2] = this.#mask;
    halves[3] = this.#memoryKnown ? MEMORY_KNOWN : 0;
    return this.#row;
  }

  #carry(halves: Uint32Array, first: number, count: number): void {
    let carried = 0;
    for (let at = first; at < first + count; at += 1) {
      const sum = (this.#halves[at] ?? 0) + carried;
      carried = Math.floor(sum / TWO_32);
      halves[at] = sum - carried * TWO_32;
    }
  }
}

/** 32-bit halves that the value of a column takes. */
function halvesOf(column: Column): number {
  return 2 * wordsOf(column);
}

function writeInteger(row: BigUint64Array, column: Column, value: bigint): void {
  row[column.word] = value & MASK64;
  if (wordsOf(column) === 2) row[column.word + 1] = value >> WORD;
}
