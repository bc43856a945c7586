// Totals against plain bigint arithmetic: reading, sums with carries, differences, comparison; the frame's layout.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RowTable } from '../../../src/attribution/rows.js';
import { Totals } from '../../../src/attribution/totals.js';
import { loadAddon } from '../../../src/native/addon.js';
import {
  COLUMN_LIST,
  type ColumnName,
  checkAddonLayout,
  emptyRow,
  FRAME_WORDS,
  halvesOf,
  OLD_FRAME_WORDS,
  ROW_HALVES,
  rowFromBlob,
  rowToBlob,
} from '../../../src/native/frame.js';
import { pageRows } from '../../../src/state/codec.js';

/** Known columns and their values; 128 bits for byte·ns, 64 for the rest. Room is left above for sums. */
const values = fc.record(
  Object.fromEntries(
    COLUMN_LIST.map((column) => [
      column.name,
      fc.bigInt(0n, column.unit === 'byte_ns' ? 1n << 120n : 1n << 60n),
    ]),
  ),
  { requiredKeys: [] },
) as fc.Arbitrary<Partial<Record<ColumnName, bigint>>>;

function rowOf(known: Partial<Record<ColumnName, bigint>>, memory?: bigint): BigUint64Array {
  const row = emptyRow(7);
  for (const column of COLUMN_LIST) {
    const value = known[column.name];
    if (value === undefined) continue;
    row[1]! |= 1n << BigInt(column.index);
    row[column.word] = BigInt.asUintN(64, value);
    if (column.unit === 'byte_ns') row[column.word + 1] = value >> 64n;
  }
  if (memory !== undefined) {
    row[1]! |= 1n << 63n;
    row[2] = memory;
  }
  return row;
}

const natives = (totals: Totals) =>
  Object.fromEntries(
    COLUMN_LIST.flatMap(({ name }) =>
      totals.native(name) === undefined ? [] : [[name, totals.native(name)]],
    ),
  );

describe('Totals', () => {
  it('reads back every known column, and nothing else', () => {
    fc.assert(
      fc.property(values, (known) => {
        const totals = Totals.fromRow(rowOf(known));
        expect(natives(totals)).toEqual(known);
        expect(Object.keys(totals.toColumns()).sort()).toEqual(Object.keys(known).sort());
        expect(totals.memoryBytes).toBeUndefined();
      }),
    );
  });

  it('gives base units outside: seconds exact to the nanosecond, byte-seconds, bytes', () => {
    const totals = Totals.fromRow(
      rowOf({ cpu_seconds: 1_234_567_890n, memory_byte_seconds: 1n << 70n, activations: 3n }, 9n),
    );
    expect(totals.toColumns()).toEqual({
      cpu_seconds: 1.23456789,
      memory_byte_seconds: 2 ** 70 / 1e9,
      activations: 3,
    });
    expect(totals.memoryBytes).toBe(9);
    expect(Totals.none.toColumns()).toEqual({});
  });

  it('adds up any number of rows exactly; the peak is the first’s', () => {
    fc.assert(
      fc.property(fc.array(values, { minLength: 1, maxLength: 6 }), (rows) => {
        const [first, ...others] = rows.map((known) => Totals.fromRow(rowOf(known, 5n)));
        const expected: Record<string, bigint> = {};
        for (const [i, known] of rows.entries()) {
          for (const { name, additive } of COLUMN_LIST) {
            const value = known[name];
            if (value !== undefined && (additive || i === 0)) expected[name] = (expected[name] ?? 0n) + value;
          }
        }
        const sum = Totals.sum(first!, others);
        expect(natives(sum)).toEqual(expected);
        expect(sum.memoryBytes).toBe(5 * rows.length);
        expect(natives(first!)).toEqual(rows[0]);
      }),
    );
  });

  it('takes differences of what adds up; what was not known before was 0', () => {
    fc.assert(
      fc.property(values, values, (before, more) => {
        const earlier = Totals.fromRow(rowOf(before));
        const later = earlier.plus(Totals.fromRow(rowOf(more)));
        const difference = natives(later.minus(earlier));
        for (const { name, additive } of COLUMN_LIST) {
          const known = before[name] !== undefined || more[name] !== undefined;
          expect(difference[name]).toBe(additive && known ? (more[name] ?? 0n) : undefined);
        }
        expect(later.isBelow(earlier)).toBe(false);
      }),
    );
  });

  it('sees a column that went down or is no longer known', () => {
    fc.assert(
      fc.property(values, fc.nat(), (known, pick) => {
        const names = Object.keys(known) as ColumnName[];
        const name = names[pick % Math.max(1, names.length)];
        if (!name || known[name] === 0n) return;
        const earlier = Totals.fromRow(rowOf(known));
        expect(Totals.fromRow(rowOf({ ...known, [name]: known[name]! - 1n })).isBelow(earlier)).toBe(true);
        const { [name]: _gone, ...rest } = known;
        expect(Totals.fromRow(rowOf(rest)).isBelow(earlier)).toBe(true);
      }),
    );
  });
});

describe('RowTable', () => {
  it('shows what was published, keeps what would go down, and names the pages that changed', () => {
    const table = new RowTable();
    const indexes = Array.from({ length: 140 }, () => table.add());
    const view = new Totals(table.committed, 80);
    // As it lies in a frame, behind another row.
    const write = (index: number, ns: bigint) => {
      const frame = BigUint64Array.from([...emptyRow(1), ...rowOf({ cpu_seconds: ns })]);
      table.write(index, halvesOf(frame), ROW_HALVES);
    };
    write(80, 5n);
    write(139, 1n);
    write(139, 2n);
    expect(view.native('cpu_seconds')).toBeUndefined();
    const pages = [...table.dirtyPages()];
    expect(pages.map(({ page, bytes }) => [page, bytes.length / (FRAME_WORDS * 8)])).toEqual([
      [1, 64],
      [2, 12],
    ]);
    expect(
      pageRows({ rows: pages[1]!.bytes, words: FRAME_WORDS }).map((row) => row[COLUMN_LIST[0]!.word]),
    ).toEqual([2n]);
    const seen: [number, boolean][] = [];
    table.publish((index, decreased) => seen.push([index, decreased]));
    expect(view.native('cpu_seconds')).toBe(5n);
    expect([...table.dirtyPages()]).toEqual([]);
    write(80, 4n);
    table.publish((index, decreased) => seen.push([index, decreased]));
    expect(view.native('cpu_seconds')).toBe(5n);
    expect(seen).toEqual([
      [80, false],
      [139, false],
      [80, true],
    ]);
    expect(indexes.at(-1)).toBe(139);
  });
});

describe('the frame', () => {
  it('is the addon’s', () => {
    const addon = loadAddon();
    expect(() => checkAddonLayout(addon)).not.toThrow();
    const [first, ...rest] = addon.columns();
    for (const change of [{ name: 'x' }, { word: 4 }, { words: 2 }]) {
      const other = { columns: () => [{ ...first!, ...change }, ...rest], frameWords: () => FRAME_WORDS };
      expect(() => checkAddonLayout(other)).toThrow(/rebuild/);
    }
    expect(() => checkAddonLayout({ columns: () => addon.columns(), frameWords: () => 24 })).toThrow(
      /rebuild/,
    );
  });

  it('gives every column words of its own', () => {
    const words = COLUMN_LIST.flatMap(({ word, unit }) => (unit === 'byte_ns' ? [word, word + 1] : [word]));
    expect(words).toEqual(words.map((_word, i) => i + 3));
    expect(Math.max(...words)).toBeLessThan(FRAME_WORDS);
  });

  it('takes rows and blobs of the right size only', () => {
    expect(() => halvesOf(new BigUint64Array(FRAME_WORDS + 1))).toThrow(/multiple/);
    const row = rowOf({ cpu_seconds: 3n });
    expect(rowFromBlob(rowToBlob(row))).toEqual(row);
    expect(rowFromBlob(Buffer.alloc(8))).toBeUndefined();
    expect(rowFromBlob(rowToBlob(row).subarray(0, OLD_FRAME_WORDS * 8))).toEqual(row);
  });
});
