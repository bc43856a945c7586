// The outbox on SQLite: deliveries, their items and how each place did lately. Owns the tables deliveries, delivery_items
// and sinks. A body is zlib-compressed: that is a tenth of its size, and has a checksum.

import { randomBytes } from 'node:crypto';
import { deflateSync } from 'node:zlib';
import type { Database, Statement } from 'better-sqlite3';
import type { Delivery, Draft, Item } from '../delivery/model.js';
import {
  type Bearer,
  type DeliveryFilter,
  type DeliveryState,
  type Depth,
  type ItemState,
  type NewDelivery,
  type Outbox,
  type SinkState,
  sinkName,
  type WholeItem,
} from '../delivery/outbox.js';
import { toJson } from './codec.js';
import {
  bodyOf,
  type Counts,
  checksumOf,
  conditionsOf,
  type DeliveryRow,
  deliveryOf,
  type ItemLine,
  type ItemRow,
  isDamaged,
  itemOf,
  type SinkRow,
  sinkOf,
} from './outbox-rows.js';

const MAX_LISTED = 1000;
const WAITING = 'dead = 0';
const HAS_WAITING = (delivery: string) =>
  `EXISTS (SELECT 1 FROM delivery_items WHERE delivery = ${delivery} AND bearer = 'agent' AND ${WAITING})`;
/** An earlier attempt of its run waits for the same place: what it says there must not come after what this one says. */
const IS_SECOND = `EXISTS (SELECT 1 FROM runs AS own
  JOIN runs AS other ON other.key = own.key AND other.attempt < own.attempt
  JOIN deliveries AS before ON before.run = other.handle
  WHERE own.handle = deliveries.run AND before.sink = deliveries.sink AND before.ready = 1
  AND before.done_ms IS NULL AND ${HAS_WAITING('before.id')})`;
const COUNTS = `coalesce(sum(dead = 0 AND bearer = 'agent'), 0) AS waiting,
  coalesce(sum(dead = 0 AND bearer = 'client'), 0) AS with_client,
  coalesce(sum(dead), 0) AS dead, coalesce(sum(length(body)), 0) AS bytes, max(error) AS error`;

export class SqliteOutbox implements Outbox {
  readonly #db: Database;
  readonly #statements = new Map<string, Statement>();

  constructor(db: Database) {
    this.#db = db;
  }

  begin(delivery: NewDelivery): number {
    const { handle, createdMs, run, target, owner, origin = randomBytes(16).toString('hex') } = delivery;
    const sink = sinkName(delivery);
    const record = toJson({ run, target, owner, origin });
    const { lastInsertRowid } = this.#sql(
      'INSERT INTO deliveries (run, sink, ready, created_ms, delivered, record, checksum) VALUES (?, ?, 0, ?, 0, ?, ?)',
    ).run(handle ?? null, sink, Math.round(createdMs), record, checksumOf({ sink, record }));
    return Number(lastInsertRowid);
  }

  add(delivery: number, drafts: readonly Draft[], bearer: Bearer): void {
    const insert = this.#sql(
      'INSERT INTO delivery_items (delivery, stage, kind, bearer, dead, body) VALUES (?, ?, ?, ?, 0, ?)',
    );
    this.#together(() => {
      for (const draft of drafts) {
        insert.run(delivery, draft.stage, draft.kind, bearer, deflateSync(draft.body));
      }
    });
  }

  discard(run: number): void {
    this.#together(() => {
      const drafts = 'SELECT id FROM deliveries WHERE run = ? AND ready = 0';
      this.#sql(`DELETE FROM delivery_items WHERE delivery IN (${drafts})`).run(run);
      this.#sql('DELETE FROM deliveries WHERE run = ? AND ready = 0').run(run);
    });
  }

  waitingSinks(): string[] {
    return this.#sql(
      `SELECT DISTINCT sink FROM deliveries WHERE ready = 1 AND done_ms IS NULL AND ${HAS_WAITING('deliveries.id')}`,
    )
      .pluck()
      .all() as string[];
  }

  next(sink: string, after: number, limit: number): { delivery: Delivery; items: Item[] } | undefined {
    const row = this.#waitingDelivery(sink, after) ?? this.#waitingDelivery(sink, 0);
    if (!row) return undefined;
    const items = this.#sql(
      `SELECT * FROM delivery_items WHERE delivery = ? AND bearer = 'agent' AND ${WAITING} ORDER BY stage, id LIMIT ?`,
    ).all(row.id, limit) as ItemRow[];
    const stage = items[0]?.stage;
    return { delivery: deliveryOf(row), items: this.#readable(items.filter((item) => item.stage === stage)) };
  }

  /** One that is damaged since the database was opened goes nowhere, and is found when it is opened again. */
  #waitingDelivery(sink: string, after: number): DeliveryRow | undefined {
    for (;;) {
      const row = this.#sql(
        `SELECT * FROM deliveries WHERE sink = ? AND id > ? AND ready = 1 AND done_ms IS NULL
         AND ${HAS_WAITING('deliveries.id')} AND NOT ${IS_SECOND} ORDER BY id LIMIT 1`,
      ).get(sink, after) as DeliveryRow | undefined;
      if (!row || !isDamaged(row)) return row;
      this.buryAll(row.id, 'where it goes is damaged in the database');
    }
  }

  nextForClient(delivery: number, limit: number): Item[] {
    for (;;) {
      const rows = this.#sql(
        `SELECT * FROM delivery_items WHERE delivery = ? AND bearer = 'client' AND ${WAITING} ORDER BY stage, id LIMIT ?`,
      ).all(delivery, limit) as ItemRow[];
      const items = this.#readable(rows);
      // All of them may have turned out to be damaged.
      if (items.length > 0 || rows.length === 0) return items;
    }
  }

  /** An item whose body does not match its checksum is buried: nothing wrong is ever sent. */
  #readable(rows: ItemRow[]): Item[] {
    const items: Item[] = [];
    for (const row of rows) {
      const { id, stage, kind } = row;
      const read = bodyOf(row);
      if ('body' in read) items.push({ id, stage, kind, body: read.body });
      else this.bury(id, read.damaged);
    }
    return items;
  }

  delivered(delivery: number, items: readonly number[], nowMs: number): void {
    this.#together(() => {
      let gone = 0;
      for (const id of items) {
        gone += this.#sql('DELETE FROM delivery_items WHERE id = ? AND delivery = ?').run(
          id,
          delivery,
        ).changes;
      }
      this.#sql('UPDATE deliveries SET delivered = delivered + ? WHERE id = ?').run(gone, delivery);
      this.#sql(
        `UPDATE deliveries SET done_ms = ? WHERE id = ? AND NOT EXISTS
         (SELECT 1 FROM delivery_items WHERE delivery = deliveries.id)`,
      ).run(Math.round(nowMs), delivery);
    });
  }

  bury(item: number, error: string): void {
    this.#sql('UPDATE delivery_items SET dead = 1, error = ? WHERE id = ?').run(error, item);
  }

  buryAll(delivery: number, error: string): void {
    this.#sql('UPDATE delivery_items SET dead = 1, error = ? WHERE delivery = ? AND dead = 0').run(
      error,
      delivery,
    );
  }

  replace(item: Item, delivery: number, drafts: readonly Draft[]): void {
    this.#together(() => {
      this.#sql('DELETE FROM delivery_items WHERE id = ?').run(item.id);
      this.add(delivery, drafts, 'agent');
    });
  }

  handOver(item: number, error: string): void {
    this.#sql("UPDATE delivery_items SET bearer = 'client', error = ? WHERE id = ?").run(error, item);
  }

  sink(name: string): SinkState {
    const row = this.#sql('SELECT * FROM sinks WHERE name = ?').get(name) as SinkRow | undefined;
    return row ? sinkOf(row) : { name, failures: 0, retryMs: 0 };
  }

  setSink(state: SinkState): void {
    this.#sql(
      `INSERT OR REPLACE INTO sinks (name, failures, retry_ms, refused, error, delivery, delivered_ms) VALUES (?, ?, ?, ?, ?, ?, ?)`,
    ).run(
      state.name,
      state.failures,
      Math.round(state.retryMs),
      state.refused ?? null,
      state.error ?? null,
      state.delivery ?? null,
      state.deliveredMs === undefined ? null : Math.round(state.deliveredMs),
    );
  }

  sinks(): SinkState[] {
    return (this.#sql('SELECT * FROM sinks ORDER BY name').all() as SinkRow[]).map(sinkOf);
  }

  depths(): Depth[] {
    const rows = this.#sql(
      `SELECT sink, min(created_ms) AS oldestCreatedMs, ${COUNTS}
       FROM deliveries JOIN delivery_items ON delivery = deliveries.id WHERE done_ms IS NULL GROUP BY sink`,
    ).all() as ({ sink: string; oldestCreatedMs: number } & Counts)[];
    return rows.map(({ with_client: withClient, error: _error, ...depth }) => ({ ...depth, withClient }));
  }

  deliveries(filter: DeliveryFilter): DeliveryState[] {
    const { where, values } = conditionsOf(filter);
    const rows = this.#sql(
      `SELECT * FROM deliveries ${where.length > 0 ? `WHERE ${where.join(' AND ')}` : ''} ORDER BY id DESC LIMIT @limit`,
    ).all({ ...values, limit: filter.limit ?? MAX_LISTED }) as DeliveryRow[];
    // Nobody is shown what may be another's.
    return rows.filter((row) => !isDamaged(row)).map((row) => this.#stateOf(row));
  }

  #stateOf(row: DeliveryRow): DeliveryState {
    const counts = this.#sql(`SELECT ${COUNTS} FROM delivery_items WHERE delivery = ?`).get(row.id) as Counts;
    const { owner, ...record } = deliveryOf(row);
    return {
      ...record,
      owner,
      sink: row.sink,
      ready: row.ready === 1,
      createdMs: row.created_ms,
      ...(row.done_ms === null ? {} : { doneMs: row.done_ms }),
      waiting: counts.waiting,
      withClient: counts.with_client,
      dead: counts.dead,
      delivered: row.delivered,
      bytes: counts.bytes,
      ...(counts.error === null ? {} : { error: counts.error }),
    };
  }

  revive(delivery: number): number {
    return this.#sql('UPDATE delivery_items SET dead = 0, error = NULL WHERE delivery = ? AND dead = 1').run(
      delivery,
    ).changes;
  }

  items(delivery: number, after: number, limit: number): ItemState[] {
    const rows = this.#sql(
      `SELECT id, delivery, stage, kind, bearer, dead, error, length(body) AS bytes FROM delivery_items
       WHERE delivery = ? AND id > ? ORDER BY id LIMIT ?`,
    ).all(delivery, after, limit) as ItemLine[];
    return rows.map(itemOf);
  }

  item(delivery: number, item: number): WholeItem | undefined {
    const row = this.#sql('SELECT * FROM delivery_items WHERE id = ? AND delivery = ?').get(item, delivery) as
      | ItemRow
      | undefined;
    return row && { ...itemOf({ ...row, bytes: row.body.length }), ...bodyOf(row) };
  }

  release(deliveries: readonly number[]): void {
    // Whoever brought them may throw away where they came from.
    this.#db.pragma('synchronous = FULL');
    try {
      this.#together(() => {
        for (const id of deliveries) this.#sql('UPDATE deliveries SET ready = 1 WHERE id = ?').run(id);
      });
    } finally {
      this.#db.pragma('synchronous = NORMAL');
    }
  }

  unreleased(): Delivery[] {
    const rows = this.#sql('SELECT * FROM deliveries WHERE run IS NULL AND ready = 0').all();
    return (rows as DeliveryRow[]).map((row) => {
      const { id, run, target } = deliveryOf(row);
      return { id, run, target };
    });
  }

  drop(delivery: number): void {
    this.#together(() => {
      const dropped = this.#sql('DELETE FROM deliveries WHERE id = ? AND run IS NULL AND ready = 0');
      if (dropped.run(delivery).changes === 0) return;
      this.#sql('DELETE FROM delivery_items WHERE delivery = ?').run(delivery);
    });
  }

  #together(work: () => void): void {
    if (this.#db.inTransaction) work();
    else this.#db.transaction(work)();
  }

  #sql(query: string): Statement {
    let statement = this.#statements.get(query);
    if (!statement) {
      statement = this.#db.prepare(query);
      this.#statements.set(query, statement);
    }
    return statement;
  }
}
