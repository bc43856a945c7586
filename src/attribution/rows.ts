// Frame rows side by side in one growing array, as 64-bit words and as their halves: a figure is read, compared and
// summed without an object of its own. RowTable keeps the rows of one run twice, as they were sampled last and as they
// were committed, and knows which pages of them differ from what is stored.

import { COLUMN_LIST, FRAME_WORDS, ROW_HALVES, wordsOf } from '../native/frame.js';

/**
 * Rows that are stored together. Blobs of 16 KB, beyond SQLite's own pages, cost a quarter of what 4 KB ones do, byte
 * for byte; stored pages are numbered by it, so another number needs another table.
 */
const PAGE_ROWS = 64;
/** Room that a run begins with. */
const FIRST_ROWS = 16;
const ROW_BYTES = FRAME_WORDS * 8;
const PAGE_BYTES = PAGE_ROWS * ROW_BYTES;

export class Rows {
  words: BigUint64Array;
  /** The same memory: low half, high half of each word. */
  halves: Uint32Array;

  constructor(capacity: number) {
    this.words = new BigUint64Array(capacity * FRAME_WORDS);
    this.halves = new Uint32Array(this.words.buffer);
  }

  /** Makes room; what is there stays where it is. */
  reserve(capacity: number): void {
    if (capacity * FRAME_WORDS <= this.words.length) return;
    const bigger = new BigUint64Array(Math.max(capacity * FRAME_WORDS, this.words.length * 2));
    bigger.set(this.words);
    this.words = bigger;
    this.halves = new Uint32Array(bigger.buffer);
  }

  row(index: number): BigUint64Array {
    return this.words.subarray(index * FRAME_WORDS, (index + 1) * FRAME_WORDS);
  }
}

/** Bit i is set if column i of this row is known. */
export function knownMask(rows: Rows, index: number): number {
  return rows.halves[index * ROW_HALVES + 2] ?? 0;
}

/** One row among others. */
export interface Place {
  rows: Rows;
  index: number;
}

/** By column: the highest half of its value within a row, and how many halves it has. */
const TOP_HALF = Uint8Array.from(COLUMN_LIST, (column) => 2 * (column.word + wordsOf(column)) - 1);
const HALVES = Uint8Array.from(COLUMN_LIST, (column) => 2 * wordsOf(column));

/** Whether a column that `b` knows is less, or not known, in `a`. */
export function isBelow(a: Place, b: Place): boolean {
  const before = knownMask(b.rows, b.index);
  if ((before & ~knownMask(a.rows, a.index)) !== 0) return true;
  for (let column = 0; column < TOP_HALF.length; column += 1) {
    if ((before & (1 << column)) !== 0 && isColumnBelow(a, b, column)) return true;
  }
  return false;
}

function isColumnBelow(a: Place, b: Place, column: number): boolean {
  const top = TOP_HALF[column] ?? 0;
  const atA = a.index * ROW_HALVES + top;
  const atB = b.index * ROW_HALVES + top;
  const count = HALVES[column] ?? 0;
  for (let i = 0; i < count; i += 1) {
    const now = a.rows.halves[atA - i] ?? 0;
    const before = b.rows.halves[atB - i] ?? 0;
    if (now !== before) return now < before;
  }
  return false;
}

/** A page of rows as it is stored. */
export interface Page {
  page: number;
  bytes: Buffer;
}

export class RowTable {
  readonly committed = new Rows(FIRST_ROWS);
  readonly #sampled = new Rows(FIRST_ROWS);
  /** The rows that were written since the last publish(), and whether a row is among them. */
  #dirty: number[] = [];
  #isDirty = new Uint8Array(FIRST_ROWS);
  #count = 0;

  /** Takes the next row; nothing is known of it. */
  add(): number {
    const index = this.#count;
    this.#count += 1;
    this.committed.reserve(this.#count);
    this.#sampled.reserve(this.#count);
    if (this.#count > this.#isDirty.length) {
      const flags = new Uint8Array(this.#count * 2);
      flags.set(this.#isDirty);
      this.#isDirty = flags;
    }
    return index;
  }

  /** A newer sample of a row, in the halves from `at` on; published once it is committed. */
  write(index: number, halves: Uint32Array, at: number): void {
    copyRow(halves, at, this.#sampled.halves, index * ROW_HALVES);
    if (this.#isDirty[index] === 1) return;
    this.#isDirty[index] = 1;
    this.#dirty.push(index);
  }

  /** A row as it was stored. */
  load(index: number, row: BigUint64Array): void {
    this.#sampled.row(index).set(row);
    this.committed.row(index).set(row);
  }

  /** The pages that changed since the last publish(). They are views: to be written before the next sample. */
  *dirtyPages(): Generator<Page> {
    const pages = new Set<number>();
    for (const index of this.#dirty) pages.add(Math.floor(index / PAGE_ROWS));
    const { buffer } = this.#sampled.words;
    for (const page of pages) {
      const rows = Math.min(PAGE_ROWS, this.#count - page * PAGE_ROWS);
      yield { page, bytes: Buffer.from(buffer, page * PAGE_BYTES, rows * ROW_BYTES) };
    }
  }

  /**
   * Publishes what was written: it is committed now. A row that would go down in a column is left as it is, since
   * totals never decrease. Calls back for every row that was written.
   */
  publish(written: (index: number, decreased: boolean) => void): void {
    for (const index of this.#dirty) {
      const decreased = isBelow({ rows: this.#sampled, index }, { rows: this.committed, index });
      const at = index * ROW_HALVES;
      if (!decreased) copyRow(this.#sampled.halves, at, this.committed.halves, at);
      this.#isDirty[index] = 0;
      written(index, decreased);
    }
    this.#dirty = [];
  }
}

/** By hand: a view of a row costs more than its 64 halves. */
function copyRow(from: Uint32Array, at: number, to: Uint32Array, index: number): void {
  for (let i = 0; i < ROW_HALVES; i += 1) to[index + i] = from[at + i] ?? 0;
}
