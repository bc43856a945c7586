// The tables of the state database. Owns the statements that make them, and the check that a database found on the
// disk is one of ours: every table and column of this list must be there (later versions may add more).

import type { Database } from 'better-sqlite3';

/** Stored in the file's header, so that another program's database is never taken for ours: "LZMO". */
export const APPLICATION_ID = 0x4c5a4d4f;
/** Goes up with every change of the tables. */
export const SCHEMA_VERSION = 5;
/** Oldest version of this number whose program can still work with what this one writes. */
export const OLDEST_READER = 5;

/** Columns by table: name and declaration. Times: `_ms` wall clock since 1970, `_ns` CLOCK_MONOTONIC. Rows: frame rows. */
const TABLES: Record<string, Record<string, string>> = {
  meta: { key: 'TEXT PRIMARY KEY', value: 'TEXT NOT NULL' },
  runs: {
    handle: 'INTEGER PRIMARY KEY',
    key: 'TEXT NOT NULL',
    run_id: 'TEXT NOT NULL',
    uid: 'INTEGER NOT NULL',
    pid_namespace: 'INTEGER NOT NULL',
    attempt: 'INTEGER NOT NULL',
    status: 'TEXT NOT NULL',
    started_ms: 'INTEGER NOT NULL',
    /** The rest of the record, JSON. */
    record: 'TEXT NOT NULL',
    totals: 'BLOB',
    /** The sampler's own, opaque. */
    state: 'BLOB',
    /** The other figures of the run, JSON. */
    figures: 'TEXT',
  },
  scopes: {
    slot: 'INTEGER PRIMARY KEY',
    run: 'INTEGER NOT NULL',
    parent: 'INTEGER NOT NULL',
    level: 'TEXT NOT NULL',
    name: 'TEXT NOT NULL',
    label: 'TEXT',
    steps: 'REAL NOT NULL',
    episodes: 'REAL NOT NULL',
  },
  /** Frame rows of a run's scopes, PAGE_ROWS of src/attribution/rows.ts to a page. */
  scope_pages: {
    run: 'INTEGER NOT NULL',
    page: 'INTEGER NOT NULL',
    rows: 'BLOB NOT NULL',
    /** Of each of the rows; null where an earlier program wrote them (OLD_FRAME_WORDS). */
    words: 'INTEGER',
  },
  sessions: {
    id: 'INTEGER PRIMARY KEY',
    run: 'INTEGER NOT NULL',
    session: 'INTEGER NOT NULL',
    live: 'INTEGER NOT NULL',
    /** The part as a whole, JSON. Tokens are not stored: clients open their sessions again. */
    record: 'TEXT NOT NULL',
  },
  processes: {
    pid: 'INTEGER NOT NULL',
    start_ticks: 'INTEGER NOT NULL',
    run: 'INTEGER NOT NULL',
    state: 'BLOB NOT NULL',
  },
  exited: {
    id: 'INTEGER PRIMARY KEY',
    run: 'INTEGER NOT NULL',
    cpu_ns: 'INTEGER NOT NULL',
    count: 'INTEGER NOT NULL',
    row: 'BLOB NOT NULL',
    /** Who it was and how it ended, JSON; of the rest line, nothing. */
    record: 'TEXT NOT NULL',
  },
  phases: {
    run: 'INTEGER NOT NULL',
    seq: 'INTEGER NOT NULL',
    name: 'TEXT',
    started_ms: 'INTEGER NOT NULL',
    /** When and where the next one begins, as earlier programs read it. */
    ended_ms: 'INTEGER',
    start_row: 'BLOB NOT NULL',
    end_row: 'BLOB',
  },
  events: {
    run: 'INTEGER NOT NULL',
    seq: 'INTEGER NOT NULL',
    wall_ms: 'INTEGER NOT NULL',
    mono_ns: 'INTEGER NOT NULL',
    event: 'TEXT NOT NULL',
    data: 'TEXT NOT NULL',
  },
  /** What clients said of runs: JSON by key. */
  facts: { run: 'INTEGER NOT NULL', key: 'TEXT NOT NULL', text: 'TEXT NOT NULL' },
  /** What is to be brought to one place. All of it is said here, so that it outlives the run's own rows. */
  deliveries: {
    id: 'INTEGER PRIMARY KEY AUTOINCREMENT',
    /** The run it was made for; null for one that came from elsewhere. */
    run: 'INTEGER',
    /** Kind and address: what waits for one place waits in one queue. */
    sink: 'TEXT NOT NULL',
    /** 0: its run has no final status yet. */
    ready: 'INTEGER NOT NULL',
    created_ms: 'INTEGER NOT NULL',
    /** When nothing of it was left to be delivered. */
    done_ms: 'INTEGER',
    delivered: 'INTEGER NOT NULL',
    /** Which run of whose, and where to, JSON. */
    record: 'TEXT NOT NULL',
    /** CRC-32 of sink and record; null where an earlier program wrote them. */
    checksum: 'INTEGER',
  },
  delivery_items: {
    id: 'INTEGER PRIMARY KEY AUTOINCREMENT',
    delivery: 'INTEGER NOT NULL',
    stage: 'INTEGER NOT NULL',
    kind: 'TEXT NOT NULL',
    /** Who brings it: agent or client. */
    bearer: 'TEXT NOT NULL',
    dead: 'INTEGER NOT NULL',
    /** What the place said of it last. */
    error: 'TEXT',
    /** zlib, which has a checksum. */
    body: 'BLOB NOT NULL',
  },
  /** Of running runs: what they have used so far, for their tracker. Bounded; nothing that counts is only here. */
  rollups: {
    id: 'INTEGER PRIMARY KEY AUTOINCREMENT',
    run: 'INTEGER NOT NULL',
    /** As of deliveries. */
    sink: 'TEXT NOT NULL',
    stage: 'INTEGER NOT NULL',
    kind: 'TEXT NOT NULL',
    /** Which run, and where to, JSON. */
    record: 'TEXT NOT NULL',
    /** zlib. */
    body: 'BLOB NOT NULL',
  },
  /** Of ended runs: bytes of rows and documents; settled: nothing of it waits to be delivered any more. */
  run_sizes: { run: 'INTEGER PRIMARY KEY', bytes: 'INTEGER NOT NULL', settled: 'INTEGER NOT NULL' },
  /** Experiments with a budget; a row for each owner's. */
  experiments: {
    id: 'INTEGER PRIMARY KEY',
    uid: 'INTEGER NOT NULL',
    pid_namespace: 'INTEGER NOT NULL',
    name: 'TEXT NOT NULL',
    /** The budget, JSON. */
    record: 'TEXT NOT NULL',
    /** What those of its runs used that are removed: a frame row, and the rest as JSON. */
    removed_row: 'BLOB',
    removed: 'TEXT',
  },
  sinks: {
    name: 'TEXT PRIMARY KEY',
    /** Failures in a row, and when it is tried again. */
    failures: 'INTEGER NOT NULL',
    retry_ms: 'INTEGER NOT NULL',
    /** Why it is not tried until somebody says so, or long from now. */
    refused: 'TEXT',
    error: 'TEXT',
    /** The delivery that this was said of. */
    delivery: 'INTEGER',
    delivered_ms: 'INTEGER',
  },
};

/** Tables, and columns of older tables, that came after version 1; an older database gets them when it is opened. */
const ADDED: Readonly<Record<string, number>> = {
  deliveries: 2,
  delivery_items: 2,
  run_sizes: 2,
  sinks: 2,
  rollups: 3,
  facts: 4,
  'deliveries.checksum': 3,
  'sinks.delivery': 3,
  experiments: 4,
  'scope_pages.words': 5,
};

export const TABLE_COLUMNS: Readonly<Record<string, readonly string[]>> = Object.fromEntries(
  Object.entries(TABLES).map(([table, columns]) => [table, Object.keys(columns)]),
);

/** Tables whose rows belong to a run by its handle, beside what is to be delivered of it. */
export const RUN_TABLES: readonly string[] = Object.keys(TABLES).filter(
  (table) => table !== 'deliveries' && 'run' in (TABLES[table] ?? {}),
);

const INDEXES = [
  'CREATE UNIQUE INDEX runs_identity ON runs (run_id, uid, pid_namespace, attempt)',
  'CREATE INDEX runs_key ON runs (key, attempt)',
  'CREATE INDEX runs_started ON runs (started_ms)',
  'CREATE INDEX runs_open ON runs (handle) WHERE status IN (' + "'REGISTERED', 'RUNNING', 'FINISHING')",
  'CREATE INDEX scopes_run ON scopes (run, slot)',
  'CREATE UNIQUE INDEX scope_pages_identity ON scope_pages (run, page)',
  'CREATE INDEX sessions_run ON sessions (run)',
  'CREATE UNIQUE INDEX processes_identity ON processes (pid, start_ticks)',
  'CREATE INDEX processes_run ON processes (run)',
  'CREATE INDEX exited_run ON exited (run, cpu_ns)',
  'CREATE UNIQUE INDEX phases_identity ON phases (run, seq)',
  'CREATE UNIQUE INDEX events_identity ON events (run, seq)',
  'CREATE UNIQUE INDEX facts_identity ON facts (run, key)',
  'CREATE INDEX deliveries_run ON deliveries (run)',
  "CREATE INDEX deliveries_origin ON deliveries (json_extract(record, '$.origin'))",
  'CREATE INDEX deliveries_waiting ON deliveries (sink, id) WHERE ready = 1 AND done_ms IS NULL',
  'CREATE UNIQUE INDEX experiments_identity ON experiments (name, uid, pid_namespace)',
  'CREATE INDEX rollups_run ON rollups (run, id)',
  'CREATE INDEX rollups_sink ON rollups (sink, id)',
  'CREATE INDEX delivery_items_waiting ON delivery_items (delivery, stage, id)',
];

/** Makes the tables of a new database. */
export function createTables(db: Database): void {
  db.transaction(() => {
    addTables(db, 0);
    db.pragma(`application_id = ${APPLICATION_ID}`);
  })();
}

function addedIn(table: string, column: string): number {
  return ADDED[`${table}.${column}`] ?? ADDED[table] ?? 1;
}

/** Gives a database of an earlier version what it lacks. */
export function upgrade(db: Database): void {
  const version = metaNumber(db, 'schema_version') ?? SCHEMA_VERSION;
  if (version < SCHEMA_VERSION) db.transaction(() => addTables(db, version))();
}

function addTables(db: Database, version: number): void {
  const made: string[] = [];
  for (const [table, columns] of Object.entries(TABLES)) {
    if ((ADDED[table] ?? 1) <= version) {
      for (const [name, declaration] of Object.entries(columns)) {
        if (version > 0 && addedIn(table, name) > version)
          db.exec(`ALTER TABLE ${table} ADD COLUMN ${name} ${declaration}`);
      }
      continue;
    }
    const parts = Object.entries(columns).map(([name, declaration]) => `${name} ${declaration}`);
    db.exec(`CREATE TABLE ${table} (${parts.join(', ')}) STRICT`);
    made.push(table);
  }
  for (const index of INDEXES) if (made.includes(/ ON (\w+)/.exec(index)?.[1] ?? '')) db.exec(index);
  const put = db.prepare('INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)');
  put.run('schema_version', String(SCHEMA_VERSION));
  put.run('oldest_reader', String(OLDEST_READER));
}

/** Nobody's yet: its maker was stopped before the tables were made. */
export function isBlank(db: Database): boolean {
  const objects = db.prepare('SELECT count(*) FROM sqlite_master').pluck().get();
  return objects === 0 && db.pragma('application_id', { simple: true }) === 0;
}

/** Why this database is not one that this program can use; undefined when it is. Reads the tables' shape only. */
export function schemaFault(
  db: Database,
): { reason: 'foreign' | 'future' | 'corrupt'; detail: string } | undefined {
  const application = db.pragma('application_id', { simple: true });
  if (application !== APPLICATION_ID) {
    return { reason: 'foreign', detail: `its application id is ${application}, not ${APPLICATION_ID}` };
  }
  const reader = metaNumber(db, 'oldest_reader');
  if (reader !== undefined && reader > SCHEMA_VERSION) {
    const detail = `it asks for a program of schema ${reader}; this one has ${SCHEMA_VERSION}`;
    return { reason: 'future', detail };
  }
  const version = metaNumber(db, 'schema_version') ?? SCHEMA_VERSION;
  for (const [table, columns] of Object.entries(TABLES)) {
    if ((ADDED[table] ?? 1) > version) continue;
    const info = db.pragma(`table_info(${table})`) as { name: string }[];
    const found = new Set(info.map((column) => column.name));
    const missing = Object.keys(columns).filter(
      (name) => addedIn(table, name) <= version && !found.has(name),
    );
    if (missing.length > 0) return { reason: 'corrupt', detail: `${table} lacks ${missing.join(', ')}` };
  }
  if (reader === undefined) return { reason: 'corrupt', detail: 'it does not say which version it is' };
  return undefined;
}

function metaNumber(db: Database, key: string): number | undefined {
  const present = db.prepare("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'meta'").get();
  if (!present) return undefined;
  const row = db.prepare('SELECT value FROM meta WHERE key = ?').get(key) as { value: string } | undefined;
  const value = Number(row?.value);
  return row && Number.isSafeInteger(value) ? value : undefined;
}
