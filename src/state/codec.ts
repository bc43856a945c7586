// Between records and database rows: JSON for what is only ever read whole, blobs for frame rows, columns for what is
// searched. Integers past 2^53 travel as decimal strings inside the JSON. Pure.

import type { ProcessTotals } from '../attribution/model.js';
import type { PartRecord, PhaseRecord, RunFigures, RunRecord, ScopeRecord } from '../attribution/records.js';
import { Totals } from '../attribution/totals.js';
import { LezeaError } from '../errors.js';
import type { ExitedProcess, ProcessId } from '../native/addon.js';
import { OLD_FRAME_WORDS, rowFromBlob, rowId } from '../native/frame.js';

export function toJson(record: object): string {
  return JSON.stringify(record, (_key, value) => (typeof value === 'bigint' ? value.toString() : value));
}

/** A record as it was parsed: its bigints are still text. Which they are is said one by one, never by the name of a
 * key: clients choose the keys of tags. */
type Stored = Record<string, unknown>;

function big(value: unknown): bigint {
  return BigInt(value as string);
}

function processOf(value: unknown): ProcessId {
  const { pid, startTicks } = value as { pid: number; startTicks: string };
  return { pid, startTicks: big(startTicks) };
}

export interface RunRow {
  handle: number;
  status: string;
  record: string;
  totals: Buffer | null;
  state: Buffer | null;
  figures: string | null;
}

/** The whole record is in `record`; the status is kept outside, for the index. */
export function runRecordOf(row: RunRow): RunRecord {
  const stored = JSON.parse(row.record) as Stored & { owner: { uid: number; pidNamespace: string } };
  return {
    ...(stored as unknown as RunRecord),
    owner: { uid: stored.owner.uid, pidNamespace: big(stored.owner.pidNamespace) },
    creator: processOf(stored.creator),
    startedMonoNs: big(stored.startedMonoNs),
    status: row.status as RunRecord['status'],
  };
}

export function figuresToJson(figures: RunFigures): string {
  const { row: _row, state: _state, ...rest } = figures;
  return toJson(rest);
}

export function figuresOf(row: RunRow): RunFigures | undefined {
  if (!row.totals || !row.state || row.figures === null) return undefined;
  const stored = JSON.parse(row.figures) as Stored;
  return {
    ...(stored as unknown as RunFigures),
    observedNs: big(stored.observedNs),
    elapsedNs: big(stored.elapsedNs),
    lostEvents: big(stored.lostEvents),
    row: frameRow(row.totals),
    state: row.state,
  };
}

export interface ScopeRow {
  slot: number;
  run: number;
  parent: number;
  level: string;
  name: string;
  label: string | null;
  steps: number;
  episodes: number;
}

export function scopeRecordOf(row: ScopeRow): ScopeRecord {
  const { label, steps, episodes, ...rest } = row;
  const record = { ...rest, progress: { steps, episodes } };
  return label === null ? record : { ...record, label };
}

export function partRecordOf(row: { record: string }): PartRecord {
  const stored = JSON.parse(row.record) as Stored;
  const processes = { process: processOf(stored.process), opener: processOf(stored.opener) };
  return { ...(stored as unknown as PartRecord), ...processes };
}

export interface PhaseRow {
  run: number;
  seq: number;
  name: string | null;
  started_ms: number;
  start_row: Buffer;
}

export function phaseRecordOf(row: PhaseRow): PhaseRecord {
  return {
    run: row.run,
    seq: row.seq,
    name: row.name,
    startedAtMs: row.started_ms,
    startRow: frameRow(row.start_row),
  };
}

export interface ExitedRow {
  count: number;
  row: Buffer;
  record: string;
}

export function exitedToJson(exited: ExitedProcess): string {
  const { row: _row, run: _run, session: _session, process, ...rest } = exited;
  return toJson({ ...process, ...rest });
}

export function processTotalsOf(row: ExitedRow): ProcessTotals {
  const stored = JSON.parse(row.record) as Stored;
  return {
    ...(stored as unknown as ProcessTotals),
    ...processOf(stored),
    startedMonoNs: big(stored.startedMonoNs),
    endedMonoNs: big(stored.endedMonoNs),
    totals: Totals.fromRow(frameRow(row.row)),
    count: row.count,
  };
}

export interface PageRow {
  rows: Buffer;
  /** Of each row; none where an earlier program wrote them. */
  words?: number | null;
}

/** The rows of a page that were ever sampled. */
export function pageRows({ rows: blob, words }: PageRow): BigUint64Array[] {
  const rows: BigUint64Array[] = [];
  const rowBytes = (words ?? OLD_FRAME_WORDS) * 8;
  for (let at = 0; at < blob.byteLength; at += rowBytes) {
    const row = frameRow(blob.subarray(at, at + rowBytes));
    if (rowId(row) !== 0) rows.push(row);
  }
  return rows;
}

export function frameRow(blob: Buffer): BigUint64Array {
  const row = rowFromBlob(blob);
  if (!row) throw new LezeaError('state', `a stored row of ${blob.byteLength} bytes is not a frame row`);
  return row;
}
