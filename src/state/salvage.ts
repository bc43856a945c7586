// What can be saved of a state database that is damaged: row by row, whatever can be read and is whole goes into the new
// one. Reads the file that was set aside, which stays as it was.

import type { Database } from 'better-sqlite3';
import { messageOf } from '../errors.js';
import { damagedDeliveries } from './outbox-rows.js';
import { RUN_TABLES, TABLE_COLUMNS } from './schema.js';
import { openSqlite } from './sqlite.js';
import { SqlitePersistence } from './sqlite-persistence.js';
import { runFault } from './wholeness.js';

/** Unreadable stretches of a table that are stepped over before it is given up. */
const MAX_STEPS = 2000;

export interface Salvaged {
  /** Rows, by table. */
  rows: Record<string, number>;
  /** Runs that are not whole, and why: nothing of them was kept. */
  damagedRuns: { run: string; reason: string }[];
  /** What could not be read. */
  unreadable: string[];
}

/** Both open; the new one has its tables and nothing in them. */
export function salvage(path: string, into: Database): Salvaged {
  const result: Salvaged = { rows: {}, damagedRuns: [], unreadable: [] };
  const from = openSqlite(path, { readonly: true });
  try {
    into.transaction(() => {
      for (const table of Object.keys(TABLE_COLUMNS)) copyTable(from, into, table, result);
      dropDamaged(into, result);
    })();
  } finally {
    from.close();
  }
  return result;
}

function copyTable(from: Database, into: Database, table: string, result: Salvaged): void {
  let copied = 0;
  try {
    const found = (from.pragma(`table_info(${table})`) as { name: string }[]).map(({ name }) => name);
    const names = (TABLE_COLUMNS[table] ?? []).filter((column) => found.includes(column));
    const columns = names.join(', ');
    const marks = names.map((column) => `@${column}`).join(', ');
    const put = into.prepare(`INSERT OR IGNORE INTO ${table} (${columns}) VALUES (${marks})`);
    for (const row of readableRows(from, table, columns, result)) {
      if (table === 'meta' && row.key !== 'boot_id') continue;
      try {
        copied += put.run(row).changes;
      } catch (error) {
        // A value that is not of its column's type.
        note(result, `a row of ${table}: ${messageOf(error)}`);
      }
    }
  } catch (error) {
    note(result, `${table}: ${messageOf(error)}`);
  }
  if (copied > 0) result.rows[table] = copied;
}

/** In the order of row ids; where one cannot be read, ever farther steps over what follows it. */
function* readableRows(
  from: Database,
  table: string,
  columns: string,
  result: Salvaged,
): Generator<Record<string, unknown>> {
  const next = from
    .prepare(`SELECT rowid AS row_id, ${columns} FROM ${table} WHERE rowid > ? ORDER BY rowid LIMIT 1`)
    .safeIntegers();
  let after = 0n;
  let step = 1n;
  for (let steps = 0; steps < MAX_STEPS; ) {
    let row: Record<string, unknown> | undefined;
    try {
      row = next.get(after) as Record<string, unknown> | undefined;
    } catch (error) {
      if (step === 1n) note(result, `${table} after row ${after}: ${messageOf(error)}`);
      steps += 1;
      after += step;
      step *= 2n;
      if (step > 1n << 40n) return;
      continue;
    }
    if (!row) return;
    const { row_id: id, ...values } = row;
    // Row ids that do not rise are those of a tree that leads in circles.
    if ((id as bigint) <= after) return;
    after = id as bigint;
    step = 1n;
    yield values;
  }
}

/** Takes out runs that cannot be read, or do not add up, with all that belongs to them. */
function dropDamaged(db: Database, result: Salvaged): void {
  const store = new SqlitePersistence(db);
  const handles = db.prepare('SELECT handle, run_id FROM runs').all() as { handle: number; run_id: string }[];
  for (const { handle, run_id: run } of handles) {
    const reason = faultOf(store, handle);
    if (reason === undefined) continue;
    result.damagedRuns.push({ run, reason });
    db.prepare('DELETE FROM runs WHERE handle = ?').run(handle);
  }
  for (const table of RUN_TABLES) {
    db.prepare(`DELETE FROM ${table} WHERE run NOT IN (SELECT handle FROM runs)`).run();
  }
  // Never to another address, nor shown to another owner; the file that was set aside still has it.
  for (const id of damagedDeliveries(db)) {
    note(result, `delivery ${id}: where it goes is damaged`);
    db.prepare('DELETE FROM deliveries WHERE id = ?').run(id);
  }
  // What waits to be delivered does not need its run, unless its run was still to say that it is over.
  db.prepare('DELETE FROM deliveries WHERE ready = 0 AND run NOT IN (SELECT handle FROM runs)').run();
  db.prepare('DELETE FROM delivery_items WHERE delivery NOT IN (SELECT id FROM deliveries)').run();
}

function faultOf(store: SqlitePersistence, handle: number): string | undefined {
  try {
    const saved = store.load(handle);
    return saved ? runFault(saved) : 'it is not there';
  } catch (error) {
    return messageOf(error);
  }
}

function note(result: Salvaged, what: string): void {
  if (result.unreadable.length < 100) result.unreadable.push(what);
}
