// Experiments with a budget, and what their ended runs used; of runs that retention removes, the sums stay. Owns the table
// experiments. Reads the tables of runs.

import type { Database } from 'better-sqlite3';
import { z } from 'zod';
import { experimentKey, runtimeSeconds } from '../attribution/budgets.js';
import { joined, type Part } from '../attribution/limit-figures.js';
import type { Owner } from '../attribution/model.js';
import type { ExperimentRecord } from '../attribution/records.js';
import type { LimitTable } from '../attribution/run-limits.js';
import { Totals } from '../attribution/totals.js';
import { rowToBlob } from '../native/frame.js';
import { frameRow, type RunRow, runRecordOf } from './codec.js';

interface ExperimentRow {
  id: number;
  uid: number;
  pid_namespace: string;
  name: string;
  record: string;
  removed_row: Buffer | null;
  removed: string | null;
}

const time = z.number().optional();
const table = z.object({
  values: z.record(z.string(), z.number().positive()),
  marks: z.record(z.string(), z.object({ warnedAtMs: time, exceededAtMs: time })),
});
const amount = z.number().nonnegative();
const removedUse = z.object({ steps: amount, episodes: amount, runtimeSeconds: amount });

const COLUMNS = 'id, uid, CAST(pid_namespace AS TEXT) AS pid_namespace, name, record, removed_row, removed';
const ENDED = "status NOT IN ('REGISTERED', 'RUNNING', 'FINISHING')";

export class Experiments {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  all(): ExperimentRecord[] {
    const rows = this.#db.prepare(`SELECT ${COLUMNS} FROM experiments ORDER BY id`).all() as ExperimentRow[];
    return rows.flatMap((row) => {
      const owner = { uid: row.uid, pidNamespace: BigInt(row.pid_namespace) };
      // Of a database that was damaged, a budget that cannot be read is none; its runs are not affected.
      const read = table.safeParse(parsed(row.record));
      return read.success ? [{ owner, name: row.name, ...(read.data as LimitTable) }] : [];
    });
  }

  /** null: its budget is gone, and the sums with it. */
  put(changed: ReadonlyMap<string, ExperimentRecord | null>): void {
    if (changed.size === 0) return;
    const known = new Map(this.all().map((record) => [experimentKey(record), record]));
    for (const [key, record] of changed) {
      const { owner, name } = record ?? known.get(key) ?? {};
      if (owner === undefined || name === undefined) continue;
      if (record) this.#put(record);
      else
        this.#db
          .prepare('DELETE FROM experiments WHERE name = ? AND uid = ? AND pid_namespace = ?')
          .run(name, owner.uid, owner.pidNamespace);
    }
  }

  #put({ owner, name, values, marks }: ExperimentRecord): void {
    this.#db
      .prepare(
        `INSERT INTO experiments (uid, pid_namespace, name, record) VALUES (?, ?, ?, ?)
         ON CONFLICT (name, uid, pid_namespace) DO UPDATE SET record = excluded.record`,
      )
      .run(owner.uid, owner.pidNamespace, name, JSON.stringify({ values, marks }));
  }

  /** All attempts of all its runs that have ended, without those of the given handles. */
  usedByEnded(owner: Owner, experiment: string, without: ReadonlySet<number>): Part {
    const rows = this.#db
      .prepare(
        `SELECT * FROM runs WHERE uid = ? AND pid_namespace = ? AND ${ENDED}
         AND json_extract(record, '$.experiment') = ?`,
      )
      .all(owner.uid, owner.pidNamespace, experiment) as RunRow[];
    const parts = rows.filter(({ handle }) => !without.has(handle)).map((row) => this.#partOf(row));
    const known = this.#find(owner, experiment);
    return joined(known ? removedPart(known) : nothing(), parts);
  }

  /** Before the rows of a run go: what it used is added to its experiment's, where that has a budget. */
  keepUse(key: string): void {
    const rows = this.#db.prepare('SELECT * FROM runs WHERE key = ?').all(key) as RunRow[];
    for (const row of rows) {
      const { owner, experiment } = runRecordOf(row);
      const known = experiment === undefined ? undefined : this.#find(owner, experiment);
      if (!known) continue;
      const { totals, ...rest } = joined(removedPart(known), [this.#partOf(row)]);
      this.#db
        .prepare('UPDATE experiments SET removed_row = ?, removed = ? WHERE id = ?')
        .run(rowToBlob(totals.toRow()), JSON.stringify(rest), known.id);
    }
  }

  #find(owner: Owner, name: string): ExperimentRow | undefined {
    return this.#db
      .prepare(`SELECT ${COLUMNS} FROM experiments WHERE name = ? AND uid = ? AND pid_namespace = ?`)
      .get(name, owner.uid, owner.pidNamespace) as ExperimentRow | undefined;
  }

  #partOf(row: RunRow): Part {
    const record = runRecordOf(row);
    const below = this.#db
      .prepare('SELECT total(steps) AS steps, total(episodes) AS episodes FROM scopes WHERE run = ?')
      .get(row.handle) as { steps: number; episodes: number };
    return {
      totals: row.totals ? Totals.fromRow(frameRow(row.totals)) : Totals.none,
      steps: below.steps + record.progress.steps,
      episodes: below.episodes + record.progress.episodes,
      runtimeSeconds: runtimeSeconds(record, 0n),
    };
  }
}

function removedPart({ removed_row: row, removed }: ExperimentRow): Part {
  if (row === null || removed === null) return nothing();
  const read = removedUse.safeParse(parsed(removed));
  return read.success ? { totals: Totals.fromRow(frameRow(row)), ...read.data } : nothing();
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function nothing(): Part {
  return { totals: Totals.none, steps: 0, episodes: 0, runtimeSeconds: 0 };
}
