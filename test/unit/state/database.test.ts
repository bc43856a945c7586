// Databases that cannot be used: corrupt, of the future, of another program. The agent gets a new one, the old one stays.

import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import BetterSqlite3 from 'better-sqlite3';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openDatabase } from '../../../src/state/database.js';
import { lockStateDir } from '../../../src/state/lock.js';
import { callerOf, openRequest, startBench, temporaryFolder } from '../support/bench.js';

let folder: ReturnType<typeof temporaryFolder>;
let lines: string[];
const NOW = Date.UTC(2026, 10, 21, 10, 45, 0);

beforeEach(() => {
  folder = temporaryFolder();
  lines = [];
});

afterEach(() => folder.remove());

function open() {
  const log = pino({ level: 'info' }, { write: (line: string) => lines.push(line) });
  const db = openDatabase(folder.path, log, NOW);
  const tables = db.prepare("SELECT count(*) FROM sqlite_master WHERE type = 'table'").pluck().get();
  expect(tables).toBeGreaterThan(5);
  db.close();
}

const path = () => join(folder.path, 'state.db');
const asides = () => readdirSync(folder.path).filter((name) => name.startsWith('state.db.'));

/** A good database with a run in it. */
async function good(): Promise<void> {
  const bench = startBench(folder.path);
  bench.attribution.commands.start(callerOf(1), { runId: 'kept' });
  await bench.attribution.commands.openSession(callerOf(1), openRequest('kept', 1));
  bench.close();
}

/** Schema 3 added these, and the table rollups. */
const WITHOUT_COLUMNS_OF_3 =
  'ALTER TABLE deliveries DROP COLUMN checksum; ALTER TABLE sinks DROP COLUMN delivery;';
/** Schema 5 added this. */
const WITHOUT_COLUMNS_OF_5 = 'ALTER TABLE scope_pages DROP COLUMN words;';

describe('a database that is fine', () => {
  it('is opened again without a word', async () => {
    await good();
    open();
    expect(asides()).toEqual([]);
    expect(lines).toEqual([]);
  });

  it('is made where its maker was stopped before the tables', () => {
    writeFileSync(path(), '');
    open();
    expect(asides()).toEqual([]);
  });

  it.each([
    [1, ['deliveries', 'delivery_items', 'run_sizes', 'sinks', 'rollups', 'experiments', 'facts']],
    [2, ['rollups', 'experiments', 'facts']],
    [3, ['experiments', 'facts']],
  ])('is that of an earlier program of schema %i, which gets the tables it lacks', async (version, lacks) => {
    await good();
    const db = new BetterSqlite3(path());
    for (const table of lacks) db.exec(`DROP TABLE ${table}`);
    db.exec(WITHOUT_COLUMNS_OF_5);
    if (version === 2) db.exec(WITHOUT_COLUMNS_OF_3);
    db.prepare("UPDATE meta SET value = ? WHERE key = 'schema_version'").run(String(version));
    db.close();
    open();
    expect(asides()).toEqual([]);
    const later = new BetterSqlite3(path(), { readonly: true });
    for (const table of lacks) expect(later.prepare(`SELECT count(*) FROM ${table}`).pluck().get()).toBe(0);
    expect(later.prepare('SELECT count(*) FROM runs').pluck().get()).toBe(1);
    const meta = later.prepare('SELECT value FROM meta WHERE key = ?').pluck();
    expect(meta.get('schema_version')).toBe('5');
    // It writes rows that the earlier program could not read.
    expect(meta.get('oldest_reader')).toBe('5');
    expect(later.prepare("SELECT count(*) FROM sqlite_master WHERE name = 'rollups_run'").pluck().get()).toBe(
      1,
    );
    later.close();
  });

  it('is that of a program that wrote no checksums, whose deliveries go on', async () => {
    const bench = startBench(folder.path, {}, undefined, { offline: true });
    const { commands } = bench.attribution;
    const tracker = { mlflow_tracking_uri: 'http://tracker', mlflow_run_id: 'abc' };
    commands.start(callerOf(1), { runId: 'kept', tracker });
    await commands.openSession(callerOf(1), openRequest('kept', 1));
    await commands.end(callerOf(1), { runId: 'kept', status: 'FINISHED', all: true });
    bench.close();
    const db = new BetterSqlite3(path());
    db.exec(
      `${WITHOUT_COLUMNS_OF_3} ${WITHOUT_COLUMNS_OF_5} DROP TABLE rollups; DROP TABLE experiments; DROP TABLE facts; UPDATE meta SET value = '2' WHERE key = 'schema_version'`,
    );
    db.close();
    open();
    expect(asides()).toEqual([]);
    const later = startBench(folder.path);
    await expect.poll(() => later.outbox.deliveries({}).length).toBe(0);
    expect(later.sink.sent.at(-1)?.items[0]?.kind).toBe('end');
    later.close();
  });

  it('is that of a later program that still allows this one', async () => {
    await good();
    const db = new BetterSqlite3(path());
    db.exec(
      "UPDATE meta SET value = '7' WHERE key = 'schema_version'; ALTER TABLE runs ADD COLUMN later TEXT",
    );
    db.close();
    open();
    expect(asides()).toEqual([]);
  });
});

describe('a database that cannot be used is set aside', () => {
  const cases: { name: string; reason: string; detail: RegExp; kept?: true; spoil(): void }[] = [
    {
      name: 'bytes that are no database',
      reason: 'corrupt',
      detail: /not a database/,
      spoil: () => writeFileSync(path(), Buffer.alloc(8192, 0x5a)),
    },
    {
      name: 'a page overwritten',
      reason: 'corrupt',
      detail: /./,
      spoil: () => {
        const db = new BetterSqlite3(path(), { readonly: true });
        const size = db.pragma('page_size', { simple: true }) as number;
        const page = db
          .prepare("SELECT rootpage FROM sqlite_master WHERE name = 'runs'")
          .pluck()
          .get() as number;
        db.close();
        const bytes = readFileSync(path());
        bytes.fill(0xa5, (page - 1) * size, page * size);
        writeFileSync(path(), bytes);
      },
    },
    {
      name: 'cut short',
      reason: 'corrupt',
      detail: /./,
      spoil: () => writeFileSync(path(), readFileSync(path()).subarray(0, 12_000)),
    },
    {
      name: 'of a future program',
      reason: 'future',
      detail: /schema 99/,
      spoil: () => change("UPDATE meta SET value = '99' WHERE key IN ('schema_version', 'oldest_reader')"),
    },
    {
      name: 'of another program',
      reason: 'foreign',
      detail: /application id/,
      spoil: () => change('PRAGMA application_id = 252006674'),
    },
    {
      name: 'without one of our tables',
      reason: 'corrupt',
      detail: /phases lacks/,
      kept: true,
      spoil: () => change('DROP TABLE phases'),
    },
    {
      name: 'without one of our columns',
      reason: 'corrupt',
      detail: /scopes lacks label/,
      kept: true,
      spoil: () => change('ALTER TABLE scopes DROP COLUMN label'),
    },
    {
      name: 'with a run that cannot be read',
      reason: 'corrupt',
      detail: /cannot be read/,
      spoil: () => change("UPDATE runs SET record = '{'"),
    },
    {
      name: 'with an ended run that cannot be read',
      reason: 'corrupt',
      detail: /a run cannot be read/,
      spoil: () => change("UPDATE runs SET status = 'FINISHED', record = '{'"),
    },
    {
      name: 'with totals that are no row',
      reason: 'corrupt',
      detail: /cannot be read/,
      spoil: () => change("UPDATE runs SET totals = x'00'"),
    },
    {
      name: 'without a version',
      reason: 'corrupt',
      detail: /version/,
      kept: true,
      spoil: () => change('DELETE FROM meta'),
    },
  ];

  function change(sql: string): void {
    const db = new BetterSqlite3(path());
    db.exec(sql);
    db.close();
  }

  for (const { name, reason, detail, spoil, kept } of cases) {
    it(name, async () => {
      await good();
      spoil();
      const before = readFileSync(path());
      open();
      expect(asides()).toContain(`state.db.${reason}-20261121T104500`);
      expect(readFileSync(join(folder.path, `state.db.${reason}-20261121T104500`)).equals(before)).toBe(true);
      const line = JSON.parse(lines[0]!);
      expect(line.msg).toMatch(/set aside/);
      expect(line.detail).toMatch(detail);
      // The new one works.
      const bench = startBench(folder.path);
      expect(bench.attribution.store.list(10).map(({ runId }) => runId)).toEqual(kept ? ['kept'] : []);
      bench.close();
    });
  }

  it('twice in one second, without losing the first', () => {
    for (let i = 0; i < 2; i += 1) {
      writeFileSync(path(), Buffer.alloc(4096, i + 1));
      open();
    }
    expect(asides().sort()).toEqual([
      'state.db.corrupt-20261121T104500',
      'state.db.corrupt-20261121T104500-2',
    ]);
  });

  it('but what says nothing about the file is an error', () => {
    mkdirSync(path());
    expect(() => open()).toThrow(/state\.db/);
    expect(asides()).toEqual([]);
  });

  it('nor is one that a full disk keeps from being opened after a kill', async () => {
    const bench = startBench(folder.path);
    bench.attribution.commands.start(callerOf(1), { runId: 'kept' });
    await bench.attribution.commands.openSession(callerOf(1), openRequest('kept', 1));
    const killed = join(folder.path, 'killed');
    bench.crash(killed);
    rmSync(join(killed, 'state.db-shm'), { force: true });
    // No file of this process grows past 1 KiB: as on a full disk, the index of the log finds no room.
    limitFileSize('1024');
    try {
      expect(() => openDatabase(killed, pino({ level: 'silent' }), NOW)).toThrow(/state\.db/);
    } finally {
      limitFileSize('unlimited');
    }
    expect(readdirSync(killed).filter((name) => name.includes('corrupt'))).toEqual([]);
    const again = startBench(killed);
    expect(again.attribution.store.list(10).map((run) => run.runId)).toEqual(['kept']);
    again.close();
  });
});

function limitFileSize(bytes: string): void {
  execFileSync('prlimit', ['--pid', String(process.pid), `--fsize=${bytes}:unlimited`]);
}

describe('the lock', () => {
  it('lets one agent in, and the next when it has gone', () => {
    const first = lockStateDir(folder.path);
    expect(() => lockStateDir(folder.path)).toThrow(/in use by another agent/);
    first.release();
    lockStateDir(folder.path).release();
  });
});
