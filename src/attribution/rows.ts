// Frame rows side by side in one growing array, as 64-bit words and as their halves: a figure is read, compared and
// summed without an object of its own. RowTable keeps the rows of one run twice, as they were sampled last and as they
// were committed, and knows which pages of them differ from what is stored.

import { COLUMN_LIST, type Column, FRAME_WORDS } from '../native/frame.js';

/** Rows that are stored together: few statements for a big run, little to write for one busy scope. */
export const PAGE_ROWS = 16;
const PAGE_BYTES = PAGE_ROWS * FRAME_WORDS * 8;

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
  return rows.halves[index * FRAME_WORDS * 2 + 2] ?? 0;
}

/** One row among others. */
export interface Place {
  rows: Rows;
  index: number;
}

/** Whether a column that `b` knows is less, or not known, in `a`. */
export function isBelow(a: Place, b: Place): boolean {
  const before = knownMask(b.rows, b.index);
  if ((before & ~knownMask(a.rows, a.index)) !== 0) return true;
  for (const column of COLUMN_LIST) {
    if ((before & (1 << column.index)) !== 0 && compareColumn(a, b, column) < 0) return true;
  }
  return false;
}

function compareColumn(a: Place, b: Place, column: Column): number {
  const atA = (a.index * FRAME_WORDS + column.word) * 2;
  const atB = (b.index * FRAME_WORDS + column.word) * 2;
  for (let half = column.unit === 'byte_ns' ? 3 : 1; half >= 0; half -= 1) {
    const difference = (a.rows.halves[atA + half] ?? 0) - (b.rows.halves[atB + half] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** A page of rows as it is stored. */
export interface Page {
  page: number;
  bytes: Buffer;
}

export class RowTable {
  readonly committed = new Rows(PAGE_ROWS);
  readonly #sampled = new Rows(PAGE_ROWS);
  readonly #dirty = new Set<number>();
  #count = 0;

  /** Takes the next row; nothing is known of it. */
  add(): number {
    const index = this.#count;
    this.#count += 1;
    const capacity = Math.ceil(this.#count / PAGE_ROWS) * PAGE_ROWS;
    this.committed.reserve(capacity);
    this.#sampled.reserve(capacity);
    return index;
  }

  /** A newer sample of a row; published once it is committed. */
  write(index: number, row: BigUint64Array): void {
    this.#sampled.row(index).set(row);
    this.#dirty.add(index);
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
    for (const page of pages) yield { page, bytes: Buffer.from(buffer, page * PAGE_BYTES, PAGE_BYTES) };
  }

  /**
   * Publishes what was written: it is committed now. A row that would go down in a column is left as it is, since
   * totals never decrease. Calls back for every row that was written.
   */
  publish(written: (index: number, decreased: boolean) => void): void {
    for (const index of this.#dirty) {
      const decreased = isBelow({ rows: this.#sampled, index }, { rows: this.committed, index });
      if (!decreased) this.committed.row(index).set(this.#sampled.row(index));
      written(index, decreased);
    }
    this.#dirty.clear();
  }
}
