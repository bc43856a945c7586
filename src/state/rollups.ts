// What waits of running runs' figures, on SQLite. Owns the table rollups. Never synced for its own sake: what a power cut
// takes comes again with the run's totals.

import { deflateSync } from 'node:zlib';
import type { Database } from 'better-sqlite3';
import type { Delivery } from '../delivery/model.js';
import { sinkName } from '../delivery/outbox.js';
import type { NewRollup, Rollup, RollupBounds, RollupRows } from '../delivery/rollup-rows.js';
import type { RunHandle } from '../native/addon.js';
import { bodyOf } from './outbox-rows.js';

interface RollupRow {
  id: number;
  run: RunHandle;
  stage: number;
  kind: string;
  record: string;
  body: Buffer;
}

export class SqliteRollups implements RollupRows {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  add(rollups: readonly NewRollup[], { ofRun, ofAll }: RollupBounds): number {
    const insert = this.#db.prepare(
      'INSERT INTO rollups (run, sink, stage, kind, record, body) VALUES (?, ?, ?, ?, ?, ?)',
    );
    const trimRun = this.#db.prepare(
      `DELETE FROM rollups WHERE run = @run AND id <=
       (SELECT id FROM rollups WHERE run = @run ORDER BY id DESC LIMIT 1 OFFSET @keep)`,
    );
    const trimAll = this.#db.prepare(
      'DELETE FROM rollups WHERE id <= (SELECT id FROM rollups ORDER BY id DESC LIMIT 1 OFFSET ?)',
    );
    let dropped = 0;
    this.#db.transaction(() => {
      for (const rollup of rollups) {
        const { handle, run, target, draft } = rollup;
        const { stage, kind, body } = draft;
        const record = JSON.stringify({ run, target });
        insert.run(handle, sinkName(rollup), stage, kind, record, deflateSync(body));
        dropped += trimRun.run({ run: handle, keep: ofRun }).changes;
      }
      dropped += trimAll.run(ofAll).changes;
    })();
    return dropped;
  }

  sinks(): string[] {
    return this.#db.prepare('SELECT DISTINCT sink FROM rollups').pluck().all() as string[];
  }

  next(sink: string, after: RunHandle): Rollup | undefined {
    const row = this.#db
      .prepare('SELECT * FROM rollups WHERE sink = ? ORDER BY run <= ?, run, id LIMIT 1')
      .get(sink, after) as RollupRow | undefined;
    if (!row) return undefined;
    const { id, run, stage, kind, record } = row;
    const read = bodyOf(row);
    // Of a damaged one nothing is sent: whoever reads an empty body refuses it.
    const body = 'body' in read ? read.body : '';
    const delivery = { id: run, ...(JSON.parse(record) as Omit<Delivery, 'id'>) };
    return { id, delivery, item: { id, stage, kind, body } };
  }

  remove(id: number): void {
    this.#db.prepare('DELETE FROM rollups WHERE id = ?').run(id);
  }

  removeRun(handle: RunHandle, sink: string): number {
    return this.#db.prepare('DELETE FROM rollups WHERE run = ? AND sink = ?').run(handle, sink).changes;
  }

  clear(): void {
    this.#db.prepare('DELETE FROM rollups').run();
  }
}
