// One agent per state folder. Owns the lock: an exclusive SQLite transaction on agent.lock, held for the life of the
// process. The kernel drops it with the process however that ends, so there is no stale lock and no pid to guess from.

import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import type { Database } from 'better-sqlite3';
import { LezeaError, messageOf } from '../errors.js';
import { openSqlite } from './sqlite.js';

export interface StateLock {
  release(): void;
}

export function lockStateDir(stateDir: string): StateLock {
  const path = join(stateDir, 'agent.lock');
  let db: Database;
  try {
    db = openSqlite(path, { timeout: 0 });
    chmodSync(path, 0o600);
  } catch (error) {
    if (error instanceof LezeaError) throw error; // not the folder's fault
    throw unusable(stateDir, messageOf(error), error);
  }
  try {
    // Nothing is ever written: without a journal on the disk only the lock itself is left.
    db.pragma('journal_mode = MEMORY');
    db.exec('BEGIN EXCLUSIVE');
  } catch (error) {
    db.close();
    const busy = (error as { code?: unknown }).code === 'SQLITE_BUSY';
    throw unusable(stateDir, busy ? 'in use by another agent' : messageOf(error), error);
  }
  return { release: () => db.close() };
}

function unusable(stateDir: string, why: string, cause: unknown): LezeaError {
  return new LezeaError('state', `state folder ${stateDir}: ${why}; expected a folder for this agent alone`, {
    cause,
  });
}
