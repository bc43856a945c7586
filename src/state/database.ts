// Opening the state database: found and fine, new, or set aside and begun afresh. Owns the file's name and its
// settings. The agent always starts: a database that cannot be used is renamed, never deleted, and the log says so;
// what is whole of a damaged one goes into the new one.

import { chmodSync, existsSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import type { Database } from 'better-sqlite3';
import type { Logger } from 'pino';
import { LezeaError, messageOf } from '../errors.js';
import { type RunRow, runRecordOf } from './codec.js';
import { damagedDeliveries } from './outbox-rows.js';
import { salvage } from './salvage.js';
import { createTables, isBlank, schemaFault, upgrade } from './schema.js';
import { openSqlite } from './sqlite.js';
import { SqlitePersistence } from './sqlite-persistence.js';
import { runFault } from './wholeness.js';

export const DATABASE_FILE = 'state.db';
/** SQLite's own companions of a database file. */
const COMPANIONS = ['', '-wal', '-shm'];

/** Opens STATE_DIR/state.db. The folder exists and is locked by this process. */
export function openDatabase(stateDir: string, log: Logger, nowMs: number): Database {
  const path = join(stateDir, DATABASE_FILE);
  const found = existsSync(path);
  const opened = found ? openFound(path) : undefined;
  if (opened && 'db' in opened) return opened.db;
  if (!opened) return openNew(path);
  const aside = setAside(path, opened.reason, nowMs);
  log.error(
    { path, aside, reason: opened.reason, detail: opened.detail },
    `the state database cannot be used (${opened.reason}: ${opened.detail}); it was set aside as ${aside} and a new one is begun`,
  );
  const db = openNew(path);
  if (opened.reason === 'corrupt') saveWhatIsWhole(aside, db, log);
  return db;
}

function saveWhatIsWhole(aside: string, db: Database, log: Logger): void {
  try {
    const { rows, damagedRuns, unreadable } = salvage(aside, db);
    log.warn({ aside, rows, damaged_runs: damagedRuns, unreadable }, 'what is whole of it was taken over');
  } catch (error) {
    log.error({ aside, reason: messageOf(error) }, 'nothing of it can be read');
  }
}

/** Up to this size every index is compared with its table when the database is opened: a second or so. */
const WHOLE_CHECK_BYTES = 256 * 1024 * 1024;

type Opened = { db: Database } | { reason: string; detail: string };

function openFound(path: string): Opened {
  let db: Database | undefined;
  try {
    db = openSqlite(path);
    if (isBlank(db)) createTables(db);
    // The shape first: quick_check of a foreign file says nothing about whose it is.
    const fault = schemaFault(db) ?? integrityFault(db) ?? contentFault(db);
    if (!fault) {
      configure(db);
      upgrade(db);
      return { db };
    }
    db.close();
    return fault;
  } catch (error) {
    db?.close();
    if (isTransient(error)) throw unusable(path, error);
    return { reason: 'corrupt', detail: messageOf(error) };
  }
}

function openNew(path: string): Database {
  try {
    const db = openSqlite(path);
    chmodSync(path, 0o600);
    configure(db);
    createTables(db);
    return db;
  } catch (error) {
    throw unusable(path, error);
  }
}

function integrityFault(db: Database): { reason: string; detail: string } | undefined {
  const bytes =
    (db.pragma('page_count', { simple: true }) as number) *
    (db.pragma('page_size', { simple: true }) as number);
  // The quick one does not see rows that an index lacks, which are rows that nobody finds; the whole one takes its time.
  const check = bytes > WHOLE_CHECK_BYTES ? 'quick_check(1)' : 'integrity_check(1)';
  const verdict = String(db.pragma(check, { simple: true }));
  return verdict === 'ok' ? undefined : { reason: 'corrupt', detail: verdict };
}

/** What SQLite cannot know: whether runs, whole those that are to go on, and where deliveries go, can be read. Its transient errors are the caller's. */
function contentFault(db: Database): { reason: string; detail: string } | undefined {
  try {
    const records = db.prepare('SELECT handle, status, record FROM runs').iterate() as Iterable<RunRow>;
    for (const row of records) runRecordOf(row);
    for (const saved of new SqlitePersistence(db).openRuns()) {
      const fault = runFault(saved);
      if (fault !== undefined) return { reason: 'corrupt', detail: `run ${saved.record.runId}: ${fault}` };
    }
    const damaged = damagedDeliveries(db);
    if (damaged.length === 0) return undefined;
    return {
      reason: 'corrupt',
      detail: `where deliveries go is damaged: ${damaged.slice(0, 10).join(', ')}`,
    };
  } catch (error) {
    if (isTransient(error)) throw error;
    return { reason: 'corrupt', detail: `a run cannot be read: ${messageOf(error)}` };
  }
}

/** WAL: a checkpoint costs no fsync (NORMAL); what must be on the disk is committed with FULL. */
function configure(db: Database): void {
  db.pragma('journal_mode = WAL');
  db.pragma('synchronous = NORMAL');
  db.pragma('journal_size_limit = 16777216');
  db.defaultSafeIntegers(false);
}

/**
 * Says nothing about what is in the file: no space, no permission, held by someone. A full disk is an IO error where the
 * write-ahead log's index finds no room; an IO error in reading is the file's own.
 */
function isTransient(error: unknown): boolean {
  const code = (error as { code?: unknown }).code;
  if (typeof code !== 'string') return false;
  if (code.startsWith('SQLITE_IOERR')) return !/_(READ|SHORT_READ|CORRUPTFS|DATA)$/.test(code);
  return /^SQLITE_(FULL|CANTOPEN|PERM|READONLY|BUSY|LOCKED|NOMEM)/.test(code);
}

function unusable(path: string, cause: unknown): LezeaError {
  return new LezeaError(
    'state',
    `state database ${path}: ${messageOf(cause)}; expected a folder that can be written`,
    {
      cause,
    },
  );
}

function setAside(path: string, reason: string, nowMs: number): string {
  const stamp = new Date(nowMs).toISOString().replace(/[-:]/g, '').replace(/\..*/, '');
  let aside = `${path}.${reason}-${stamp}`;
  for (let n = 2; existsSync(aside); n += 1) aside = `${path}.${reason}-${stamp}-${n}`;
  for (const companion of COMPANIONS) {
    if (existsSync(path + companion)) renameSync(path + companion, aside + companion);
  }
  return aside;
}
