// The ended processes of runs: the 1 000 that used most CPU one by one, and one line for all others, seen or not, so that
// their sum stays the run's. Owns the table `exited`; everything here happens inside the caller's transaction.

import type { Database, Statement } from 'better-sqlite3';
import type { ProcessTotals } from '../attribution/model.js';
import { Totals } from '../attribution/totals.js';
import type { ExitedProcess } from '../native/addon.js';
import { emptyRow, rowToBlob } from '../native/frame.js';
import { type ExitedRow, exitedToJson, frameRow, processTotalsOf, toJson } from './codec.js';

export const KEPT_PROCESSES = 1000;

/** What the rest line says of itself: it is no process. */
const REST_RECORD = toJson({
  pid: 0,
  startTicks: 0n,
  parent: 0,
  exe: '',
  comm: '',
  startedMonoNs: 0n,
  endedMonoNs: 0n,
  released: false,
});
/** The rest line sorts below every process. */
const REST_CPU_NS = -1;

export class ExitedProcesses {
  readonly #insert: Statement;
  readonly #excess: Statement;
  readonly #rest: Statement;
  readonly #remove: Statement;
  readonly #list: Statement;

  constructor(db: Database) {
    this.#insert = db.prepare('INSERT INTO exited (run, cpu_ns, count, row, record) VALUES (?, ?, ?, ?, ?)');
    this.#excess = db.prepare(
      `SELECT id, row FROM exited WHERE run = ? AND cpu_ns >= 0 ORDER BY cpu_ns DESC, id LIMIT -1 OFFSET ${KEPT_PROCESSES}`,
    );
    this.#rest = db.prepare('SELECT id, count, row FROM exited WHERE run = ? AND cpu_ns < 0');
    this.#remove = db.prepare('DELETE FROM exited WHERE id = ?');
    this.#list = db.prepare('SELECT count, row, record FROM exited WHERE run = ? ORDER BY cpu_ns DESC, id');
  }

  add(exited: readonly ExitedProcess[]): void {
    const runs = new Set<number>();
    for (const one of exited) {
      runs.add(one.run);
      if (one.process.pid === 0) {
        // What the run used beyond the processes that were seen: no process, and none to count.
        this.#addToRest(one.run, [one.row], 0);
        continue;
      }
      const cpuNs = Totals.fromRow(one.row).native('cpu_seconds') ?? 0n;
      this.#insert.run(one.run, cpuNs, 1, rowToBlob(one.row), exitedToJson(one));
    }
    for (const run of runs) this.#fold(run);
  }

  /** Sums those beyond the limit into the rest line. */
  #fold(run: number): void {
    const excess = this.#excess.all(run) as { id: number; row: Buffer }[];
    if (excess.length === 0) return;
    for (const { id } of excess) this.#remove.run(id);
    this.#addToRest(
      run,
      excess.map(({ row }) => frameRow(row)),
      excess.length,
    );
  }

  #addToRest(run: number, rows: readonly BigUint64Array[], processes: number): void {
    const rest = this.#rest.get(run) as { id: number; count: number; row: Buffer } | undefined;
    let sum = Totals.fromRow(rest ? frameRow(rest.row) : emptyRow(run));
    for (const row of rows) sum = sum.plus(Totals.fromRow(row));
    if (rest) this.#remove.run(rest.id);
    const count = (rest?.count ?? 0) + processes;
    this.#insert.run(run, REST_CPU_NS, count, rowToBlob(sum.toRow()), REST_RECORD);
  }

  list(run: number): ProcessTotals[] {
    return (this.#list.all(run) as ExitedRow[]).map(processTotalsOf);
  }
}
