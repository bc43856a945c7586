// How SQLite is opened: with the binding that a package carries for this Node.js, else with the one that was built in
// the clone. It is bound to one major version of Node.js, as our own addon is not.

import BetterSqlite3, { type Database, type Options } from 'better-sqlite3';
import { prebuilt } from '../native/prebuilt.js';

/** Throws SqliteError for what is the file's fault, LezeaError `package` where there is no SQLite for this Node.js. */
export function openSqlite(path: string, options: Options = {}): Database {
  const major = process.versions.node.split('.')[0];
  const nativeBinding = prebuilt(`better_sqlite3-node${major}.node`);
  return new BetterSqlite3(path, nativeBinding === undefined ? options : { ...options, nativeBinding });
}
