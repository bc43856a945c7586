// What is kept of ended runs, and for how long: their rows and folders go when they are old, or when their owner has more
// than its share of the room; what is not delivered never goes. Owns the table run_sizes. Reads the sizes of run folders.

import { rmSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Database } from 'better-sqlite3';
import type { Logger } from 'pino';
import type { Owner } from '../attribution/model.js';
import { Experiments } from './experiments.js';
import { RUN_TABLES } from './schema.js';

const DAY_MS = 86_400_000;
/** Imported deliveries that are removed in one go. */
const MAX_IMPORTED = 1000;
/** Removed in one transaction; others have their turn in between. */
const REMOVED_TOGETHER = 4;

export interface RetentionOptions {
  db: Database;
  stateDir: string;
  log: Logger;
  nowMs(): number;
  days(): number;
  maxBytes(): number;
}

interface Candidate {
  key: string;
  run_id: string;
  uid: number;
  pid_namespace: string;
  ended_ms: number;
  bytes: number;
}

export class Retention {
  readonly #o: RetentionOptions;
  /** Owners whose undelivered or live runs alone are more than their share. */
  #full = new Set<string>();

  constructor(options: RetentionOptions) {
    this.#o = options;
  }

  /** Whether this owner's runs fill its share, so that no new one may begin. */
  isFull(owner: Owner): boolean {
    return this.#full.has(ownerKey(owner.uid, String(owner.pidNamespace)));
  }

  /** Removes what is too old or too much; how many runs. */
  async sweep(): Promise<number> {
    await this.#measure();
    const { nowMs, days, maxBytes } = this.#o;
    const oldest = nowMs() - days() * DAY_MS;
    this.#removeImported(oldest);
    const candidates = this.#candidates();
    const gone = candidates.filter(({ ended_ms: ended }) => ended < oldest);
    const rest = candidates.filter((each) => !gone.includes(each));
    for (const each of gone) this.#log(each, 'older than state.retention_days');
    const used = this.#usedByOwner();
    for (const each of gone) subtract(used, each);
    const share = maxBytes() / Math.max(1, used.size);
    for (const each of rest) {
      const owner = ownerKey(each.uid, each.pid_namespace);
      if ((used.get(owner) ?? 0) <= share) continue;
      subtract(used, each);
      gone.push(each);
      this.#log(each, 'its owner has more than its share of state.max_bytes');
    }
    this.#full = new Set([...used].filter(([, bytes]) => bytes > share).map(([owner]) => owner));
    for (let at = 0; at < gone.length; at += REMOVED_TOGETHER) {
      this.#remove(gone.slice(at, at + REMOVED_TOGETHER));
      await new Promise((resolve) => setImmediate(resolve));
    }
    return gone.length;
  }

  /** What came from other agents, has been delivered for that long and has no run here. */
  #removeImported(oldest: number): void {
    const { db, stateDir, log } = this.#o;
    const key = "json_extract(record, '$.run.key')";
    const gone = db
      .prepare(
        `SELECT ${key} FROM deliveries WHERE run IS NULL GROUP BY ${key}
         HAVING count(done_ms) = count(*) AND max(done_ms) < ? LIMIT ?`,
      )
      .pluck()
      .all(oldest, MAX_IMPORTED) as string[];
    const remove = db.prepare(`DELETE FROM deliveries WHERE run IS NULL AND ${key} = ?`);
    for (const each of gone) {
      remove.run(each);
      rmSync(join(stateDir, 'runs', each), { recursive: true, force: true });
    }
    if (gone.length > 0)
      log.info({ runs: gone.length }, 'imported deliveries older than state.retention_days are removed');
  }

  #log({ key, run_id: run, bytes }: Candidate, why: string): void {
    this.#o.log.info({ run, key, bytes }, `the documents and figures of a run are removed: ${why}`);
  }

  /** Runs of which every attempt has ended and nothing waits to be delivered, oldest first. */
  #candidates(): Candidate[] {
    return this.#o.db
      .prepare(
        `SELECT key, max(run_id) AS run_id, max(uid) AS uid, CAST(max(pid_namespace) AS TEXT) AS pid_namespace,
                max(json_extract(record, '$.endedAtMs')) AS ended_ms, sum(coalesce(bytes, 0)) AS bytes
         FROM runs LEFT JOIN run_sizes ON run_sizes.run = runs.handle GROUP BY key
         HAVING sum(status IN ('REGISTERED', 'RUNNING', 'FINISHING')) = 0
            AND sum(handle IN (SELECT run FROM deliveries WHERE run IS NOT NULL AND done_ms IS NULL)) = 0
         ORDER BY ended_ms`,
      )
      .all() as Candidate[];
  }

  #usedByOwner(): Map<string, number> {
    const rows = this.#o.db
      .prepare(
        `SELECT uid, CAST(pid_namespace AS TEXT) AS pid_namespace, sum(coalesce(bytes, 0)) AS bytes
         FROM runs LEFT JOIN run_sizes ON run_sizes.run = runs.handle GROUP BY uid, pid_namespace`,
      )
      .all() as Pick<Candidate, 'uid' | 'pid_namespace' | 'bytes'>[];
    return new Map(rows.map((row) => [ownerKey(row.uid, row.pid_namespace), row.bytes]));
  }

  /** Ended runs that were not measured yet, and those whose outbox has become smaller since. */
  async #measure(): Promise<void> {
    const { db, stateDir } = this.#o;
    const ended = db
      .prepare(
        `SELECT handle, key, attempt FROM runs LEFT JOIN run_sizes ON run_sizes.run = runs.handle
         WHERE status NOT IN ('REGISTERED', 'RUNNING', 'FINISHING') AND (bytes IS NULL OR settled = 0)`,
      )
      .all() as { handle: number; key: string; attempt: number }[];
    for (const { handle, key, attempt } of ended) {
      const files = await folderBytes(join(stateDir, 'runs', key, String(attempt)));
      db.prepare('INSERT OR REPLACE INTO run_sizes (run, bytes, settled) VALUES (?, ?, ?)').run(
        handle,
        files + this.#rowBytes(handle),
        this.#waits(handle) ? 0 : 1,
      );
    }
  }

  #rowBytes(handle: number): number {
    const one = (query: string) => (this.#o.db.prepare(query).pluck().get(handle) as number | null) ?? 0;
    return (
      one('SELECT sum(length(rows)) FROM scope_pages WHERE run = ?') +
      one('SELECT sum(length(row) + length(record)) FROM exited WHERE run = ?') +
      one('SELECT sum(length(data) + 64) FROM events WHERE run = ?') +
      one('SELECT sum(length(key) + length(text)) FROM facts WHERE run = ?') +
      one('SELECT sum(length(level) + length(name) + 64) FROM scopes WHERE run = ?') +
      one(
        'SELECT sum(length(body)) FROM delivery_items JOIN deliveries ON deliveries.id = delivery WHERE run = ?',
      )
    );
  }

  #waits(handle: number): boolean {
    return (
      this.#o.db.prepare('SELECT 1 FROM deliveries WHERE run = ? AND done_ms IS NULL').get(handle) !==
      undefined
    );
  }

  /** Rows first: a folder that is left over for a moment harms nobody, a row without its folder would. */
  #remove(gone: readonly Candidate[]): void {
    const { db, stateDir } = this.#o;
    const goesOn = db.prepare(
      "SELECT 1 FROM runs WHERE key = ? AND status IN ('REGISTERED', 'RUNNING', 'FINISHING')",
    );
    // Others had their turn since they were chosen: an id may have been started again.
    const over = gone.filter(({ key }) => goesOn.get(key) === undefined);
    db.transaction(() => {
      for (const { key } of over) {
        // The budget of its experiment goes on counting what it used.
        new Experiments(db).keepUse(key);
        const runs = 'SELECT handle FROM runs WHERE key = ?';
        const deliveries = `SELECT id FROM deliveries WHERE run IN (${runs})`;
        db.prepare(`DELETE FROM delivery_items WHERE delivery IN (${deliveries})`).run(key);
        db.prepare(`DELETE FROM deliveries WHERE run IN (${runs})`).run(key);
        for (const table of RUN_TABLES) db.prepare(`DELETE FROM ${table} WHERE run IN (${runs})`).run(key);
        db.prepare('DELETE FROM runs WHERE key = ?').run(key);
      }
    })();
    for (const { key } of over) rmSync(join(stateDir, 'runs', key), { recursive: true, force: true });
  }
}

function ownerKey(uid: number, pidNamespace: string): string {
  return `${uid}:${pidNamespace}`;
}

function subtract(used: Map<string, number>, { uid, pid_namespace: pidNamespace, bytes }: Candidate): void {
  const owner = ownerKey(uid, pidNamespace);
  used.set(owner, (used.get(owner) ?? 0) - bytes);
}

/** Everything below a folder; 0 where there is none. */
async function folderBytes(path: string): Promise<number> {
  let bytes = 0;
  try {
    for (const name of await readdir(path, { recursive: true })) bytes += (await stat(join(path, name))).size;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  return bytes;
}
