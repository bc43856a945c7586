// Rows of the outbox's tables, and what they mean. Pure.

import { crc32, inflateSync } from 'node:zlib';
import type { Database } from 'better-sqlite3';
import type { Owner } from '../attribution/model.js';
import type { Delivery } from '../delivery/model.js';
import type { Bearer, DeliveryFilter, ItemState, SinkState } from '../delivery/outbox.js';

export interface ItemRow {
  id: number;
  delivery: number;
  stage: number;
  kind: string;
  bearer: Bearer;
  dead: number;
  error: string | null;
  body: Buffer;
}

/** Without the body itself. */
export type ItemLine = Omit<ItemRow, 'body'> & { bytes: number };

export interface DeliveryRow {
  id: number;
  sink: string;
  ready: number;
  created_ms: number;
  done_ms: number | null;
  delivered: number;
  record: string;
  checksum: number | null;
}

export interface Counts {
  waiting: number;
  with_client: number;
  dead: number;
  bytes: number;
  error: string | null;
}

export interface SinkRow {
  name: string;
  failures: number;
  retry_ms: number;
  refused: string | null;
  error: string | null;
  delivery: number | null;
  delivered_ms: number | null;
}

export function deliveryOf(row: Pick<DeliveryRow, 'id' | 'record'>): Delivery & {
  owner: Owner;
  origin: string;
} {
  const { owner, ...record } = JSON.parse(row.record) as Omit<Delivery, 'id'> & {
    owner: { uid: number; pidNamespace: string };
    origin: string;
  };
  return { id: row.id, ...record, owner: { uid: owner.uid, pidNamespace: BigInt(owner.pidNamespace) } };
}

/** Of what says where a delivery goes, and whose it is. */
export function checksumOf({ sink, record }: Pick<DeliveryRow, 'sink' | 'record'>): number {
  return crc32(`${sink}\n${record}`);
}

/** Whether that is no longer what it was. An earlier program wrote no checksum. */
export function isDamaged(row: Pick<DeliveryRow, 'sink' | 'record' | 'checksum'>): boolean {
  return row.checksum !== null && row.checksum !== checksumOf(row);
}

/** Ids of deliveries that are damaged. A database of before there were checksums has none. */
export function damagedDeliveries(db: Database): number[] {
  const columns = db.pragma('table_info(deliveries)') as { name: string }[];
  if (!columns.some(({ name }) => name === 'checksum')) return [];
  const rows = db
    .prepare('SELECT id, sink, record, checksum FROM deliveries')
    .iterate() as Iterable<DeliveryRow>;
  const damaged: number[] = [];
  for (const row of rows) if (isDamaged(row)) damaged.push(row.id);
  return damaged;
}

export function sinkOf(row: SinkRow): SinkState {
  return {
    name: row.name,
    failures: row.failures,
    retryMs: row.retry_ms,
    ...(row.refused === null ? {} : { refused: row.refused }),
    ...(row.error === null ? {} : { error: row.error }),
    ...(row.delivery === null ? {} : { delivery: row.delivery }),
    ...(row.delivered_ms === null ? {} : { deliveredMs: row.delivered_ms }),
  };
}

export function itemOf(row: ItemLine): ItemState {
  return {
    id: row.id,
    stage: row.stage,
    kind: row.kind,
    bearer: row.bearer,
    dead: row.dead === 1,
    ...(row.error === null ? {} : { error: row.error }),
    bytes: row.bytes,
  };
}

/** A body that does not match its checksum has none. */
export function bodyOf(row: Pick<ItemRow, 'body'>): { body: string } | { damaged: string } {
  try {
    return { body: inflateSync(row.body).toString() };
  } catch (error) {
    return { damaged: `its body in the database is damaged: ${(error as Error).message}` };
  }
}

/** What a filter asks for: conditions, and the values that they name. */
export function conditionsOf(filter: DeliveryFilter): { where: string[]; values: Record<string, unknown> } {
  const { id, runId, owner, origin, before, all } = filter;
  const asked: [condition: string, values: Record<string, unknown> | undefined][] = [
    ['id = @id', id === undefined ? undefined : { id }],
    ['id < @before', before === undefined ? undefined : { before }],
    ["json_extract(record, '$.run.runId') = @runId", runId === undefined ? undefined : { runId }],
    ["json_extract(record, '$.origin') = @origin", origin === undefined ? undefined : { origin }],
    ['done_ms IS NULL', all ? undefined : {}],
    ["json_extract(record, '$.owner.uid') = @uid", owner && { uid: owner.uid }],
    [
      "json_extract(record, '$.owner.pidNamespace') = @pidNamespace",
      owner && { pidNamespace: String(owner.pidNamespace) },
    ],
  ];
  const used = asked.filter(([, values]) => values !== undefined);
  return {
    where: used.map(([condition]) => condition),
    values: Object.assign({}, ...used.map(([, values]) => values)),
  };
}
