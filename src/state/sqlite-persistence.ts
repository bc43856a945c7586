// Attribution's Persistence on SQLite: one transaction a checkpoint, only what changed. Owns the open database and its
// prepared statements.

import type { Database, Statement } from 'better-sqlite3';
import type { Part } from '../attribution/limit-figures.js';
import type { Owner, ProcessTotals, RunEvent } from '../attribution/model.js';
import type {
  Batch,
  ExperimentRecord,
  Persistence,
  ProcessStateRecord,
  RunFigures,
  RunRecord,
  SavedRun,
} from '../attribution/records.js';
import { isFinal } from '../attribution/tracked-run.js';
import { FRAME_WORDS, rowId, rowToBlob } from '../native/frame.js';
import {
  figuresOf,
  figuresToJson,
  type PageRow,
  type PhaseRow,
  pageRows,
  partRecordOf,
  phaseRecordOf,
  type RunRow,
  runRecordOf,
  type ScopeRow,
  scopeRecordOf,
  toJson,
} from './codec.js';
import { ExitedProcesses } from './exited-processes.js';
import { Experiments } from './experiments.js';

const NEWEST = 'attempt = (SELECT max(attempt) FROM runs AS other WHERE other.key = runs.key)';

export class SqlitePersistence implements Persistence {
  readonly #db: Database;
  readonly #exited: ExitedProcesses;
  readonly #experiments: Experiments;
  readonly #statements = new Map<string, Statement>();
  readonly #write: (batch: Batch) => void;

  constructor(db: Database) {
    this.#db = db;
    this.#exited = new ExitedProcesses(db);
    this.#experiments = new Experiments(db);
    this.#write = db.transaction((batch: Batch) => this.#writeAll(batch));
  }

  get bootId(): string {
    const row = this.#sql("SELECT value FROM meta WHERE key = 'boot_id'").get() as
      | { value: string }
      | undefined;
    return row?.value ?? '';
  }

  highestIds(): { run: number; slot: number; session: number } {
    const highest = (query: string) => (this.#sql(query).pluck().get() as number | null) ?? 0;
    const unattributed = highest("SELECT max(json_extract(record, '$.unattributedSlot')) FROM runs");
    return {
      run: highest('SELECT max(handle) FROM runs'),
      slot: Math.max(unattributed, highest('SELECT max(slot) FROM scopes')),
      session: Math.max(
        highest('SELECT max(id) FROM sessions'),
        highest('SELECT max(session) FROM sessions'),
      ),
    };
  }

  commit(batch: Batch, durable: boolean): void {
    // The setting takes effect between transactions; it is put back whatever happens.
    if (durable) this.#db.pragma('synchronous = FULL');
    try {
      this.#write(batch);
    } finally {
      if (durable) this.#db.pragma('synchronous = NORMAL');
    }
  }

  #writeAll(batch: Batch): void {
    if (batch.bootId !== undefined) {
      this.#sql("INSERT OR REPLACE INTO meta (key, value) VALUES ('boot_id', ?)").run(batch.bootId);
    }
    for (const record of batch.runs.values()) this.#putRun(record);
    for (const [handle, figures] of batch.figures) this.#putFigures(handle, figures);
    this.#putScopes(batch);
    for (const part of batch.parts.values()) {
      this.#sql(
        'INSERT OR REPLACE INTO sessions (id, run, session, live, record) VALUES (?, ?, ?, ?, ?)',
      ).run(part.id, part.run, part.session, part.end ? 0 : 1, toJson(part));
    }
    this.#putPhases(batch);
    this.#putProcesses(batch);
    this.#exited.add(batch.exited);
    this.#experiments.put(batch.experiments);
    this.#putFacts(batch);
    const addEvent = this.#sql(
      'INSERT OR REPLACE INTO events (run, seq, wall_ms, mono_ns, event, data) VALUES (?, ?, ?, ?, ?, ?)',
    );
    for (const e of batch.events)
      addEvent.run(e.run, e.seq, e.wallMs, e.monoNs, e.event, JSON.stringify(e.data));
  }

  #putRun(record: RunRecord): void {
    this.#sql(
      `INSERT INTO runs (handle, key, run_id, uid, pid_namespace, attempt, status, started_ms, record)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (handle) DO UPDATE SET status = excluded.status, record = excluded.record`,
    ).run(
      record.handle,
      record.key,
      record.runId,
      record.owner.uid,
      record.owner.pidNamespace,
      record.attempt,
      record.status,
      Math.round(record.startedAtMs),
      toJson(record),
    );
    // What is to be delivered of it goes out from the moment its end is known, not before.
    if (isFinal(record.status)) {
      this.#sql('UPDATE deliveries SET ready = 1 WHERE run = ? AND ready = 0').run(record.handle);
      // Said again later, it has documents that it had not: it is measured again.
      this.#sql('DELETE FROM run_sizes WHERE run = ?').run(record.handle);
    }
  }

  #putFigures(handle: number, figures: RunFigures): void {
    this.#sql('UPDATE runs SET totals = ?, state = ?, figures = ? WHERE handle = ?').run(
      rowToBlob(figures.row),
      figures.state,
      figuresToJson(figures),
      handle,
    );
  }

  #putScopes(batch: Batch): void {
    const putScope = this.#sql(
      `INSERT INTO scopes (slot, run, parent, level, name, label, steps, episodes) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (slot) DO UPDATE SET steps = excluded.steps, episodes = excluded.episodes`,
    );
    for (const s of batch.scopes.values()) {
      const { steps, episodes } = s.progress;
      putScope.run(s.slot, s.run, s.parent, s.level, s.name, s.label ?? null, steps, episodes);
    }
    const putPage = this.#sql(
      `INSERT INTO scope_pages (run, page, rows, words) VALUES (?, ?, ?, ${FRAME_WORDS})
       ON CONFLICT (run, page) DO UPDATE SET rows = excluded.rows, words = excluded.words`,
    );
    for (const { run, page, bytes } of batch.pages) putPage.run(run, page, bytes);
  }

  #putPhases(batch: Batch): void {
    const put = this.#sql(
      'INSERT OR REPLACE INTO phases (run, seq, name, started_ms, start_row) VALUES (?, ?, ?, ?, ?)',
    );
    const end = this.#sql('UPDATE phases SET ended_ms = ?, end_row = ? WHERE run = ? AND seq = ?');
    for (const p of batch.phases) {
      const row = rowToBlob(p.startRow);
      const startedMs = Math.round(p.startedAtMs);
      put.run(p.run, p.seq, p.name, startedMs, row);
      end.run(startedMs, row, p.run, p.seq - 1);
    }
  }

  #putFacts(batch: Batch): void {
    const put = this.#sql('INSERT OR REPLACE INTO facts (run, key, text) VALUES (?, ?, ?)');
    const drop = this.#sql('DELETE FROM facts WHERE run = ? AND key = ?');
    for (const { run, key, text } of batch.facts.values()) {
      if (text === null) drop.run(run, key);
      else put.run(run, key, text);
    }
  }

  #putProcesses(batch: Batch): void {
    const put = this.#sql(
      `INSERT INTO processes (pid, start_ticks, run, state) VALUES (?, ?, ?, ?)
       ON CONFLICT (pid, start_ticks) DO UPDATE SET run = excluded.run, state = excluded.state`,
    );
    const drop = this.#sql('DELETE FROM processes WHERE pid = ? AND start_ticks = ?');
    for (const [key, living] of batch.processes) {
      if (living) put.run(living.process.pid, living.process.startTicks, living.run, living.state);
      else drop.run(...key.split(':').map(Number));
    }
  }

  openRuns(): SavedRun[] {
    const rows = this.#sql(
      "SELECT * FROM runs WHERE status IN ('REGISTERED', 'RUNNING', 'FINISHING') ORDER BY handle",
    ).all() as RunRow[];
    return rows.map((row) => this.#saved(row));
  }

  *endedSince(ms: number, limit: number): Generator<SavedRun> {
    const rows = this.#sql(
      `SELECT * FROM runs WHERE status NOT IN ('REGISTERED', 'RUNNING', 'FINISHING')
       AND json_extract(record, '$.endedAtMs') >= ? ORDER BY handle DESC LIMIT ?`,
    ).all(ms, limit) as RunRow[];
    // One at a time: together they may be more than there is memory for.
    for (const row of rows) yield this.#saved(row);
  }

  attempts(key: string): number[] {
    return this.#sql('SELECT attempt FROM runs WHERE key = ? ORDER BY attempt').pluck().all(key) as number[];
  }

  undocumented(limit: number): { key: string; attempt: number }[] {
    return this.#sql(
      `SELECT key, attempt FROM runs WHERE status NOT IN ('REGISTERED', 'RUNNING', 'FINISHING')
       AND json_extract(record, '$.undocumented') ORDER BY handle LIMIT ?`,
    ).all(limit) as { key: string; attempt: number }[];
  }

  load(handle: number): SavedRun | undefined {
    const row = this.#sql('SELECT * FROM runs WHERE handle = ?').get(handle) as RunRow | undefined;
    return row && this.#saved(row);
  }

  #saved(row: RunRow): SavedRun {
    const { handle } = row;
    const record = runRecordOf(row);
    const all = <T>(query: string) => this.#sql(query).all(handle) as T[];
    // A database is looked at before it gets the columns that it lacks: `words` may be one of them.
    const pages = all<PageRow>('SELECT * FROM scope_pages WHERE run = ? ORDER BY page');
    const figures = figuresOf(row);
    return {
      record,
      ...(figures ? { figures } : {}),
      // A child's slot is always taken after its parent's.
      scopes: all<ScopeRow>('SELECT * FROM scopes WHERE run = ? ORDER BY slot').map(scopeRecordOf),
      rows: new Map(pages.flatMap((page) => pageRows(page).map((row) => [rowId(row), row] as const))),
      parts: all<{ record: string }>('SELECT record FROM sessions WHERE run = ? ORDER BY id').map(
        partRecordOf,
      ),
      phases: all<PhaseRow>('SELECT * FROM phases WHERE run = ? ORDER BY seq').map(phaseRecordOf),
      processes: this.#processes(handle),
      lastEventSeq:
        (this.#sql('SELECT max(seq) FROM events WHERE run = ?').pluck().get(handle) as number) ?? 0,
    };
  }

  #processes(handle: number): ProcessStateRecord[] {
    const rows = this.#sql('SELECT pid, start_ticks, state FROM processes WHERE run = ?').all(handle) as {
      pid: number;
      start_ticks: number;
      state: Buffer;
    }[];
    return rows.map((row) => ({
      run: handle,
      process: { pid: row.pid, startTicks: BigInt(row.start_ticks) },
      state: row.state,
    }));
  }

  find(owner: Owner, runId: string, attempt?: number): RunRecord | undefined {
    const which = attempt === undefined ? '' : 'AND attempt = ?';
    const query = `SELECT * FROM runs WHERE run_id = ? AND uid = ? AND pid_namespace = ? ${which} ORDER BY attempt DESC LIMIT 1`;
    const args = [runId, owner.uid, owner.pidNamespace, ...(attempt === undefined ? [] : [attempt])];
    return this.#one(query, args);
  }

  findByKey(key: string, attempt?: number): RunRecord | undefined {
    const which = attempt === undefined ? '' : 'AND attempt = ?';
    const query = `SELECT * FROM runs WHERE key = ? ${which} ORDER BY attempt DESC LIMIT 1`;
    return this.#one(query, [key, ...(attempt === undefined ? [] : [attempt])]);
  }

  #one(query: string, args: unknown[]): RunRecord | undefined {
    const row = this.#sql(query).get(...args) as RunRow | undefined;
    return row && runRecordOf(row);
  }

  findById(runId: string): RunRecord[] {
    const rows = this.#sql(`SELECT * FROM runs WHERE run_id = ? AND ${NEWEST}`).all(runId) as RunRow[];
    return rows.map(runRecordOf);
  }

  list(limit: number, owner?: Owner): { record: RunRecord; figures?: RunFigures }[] {
    const whose = owner === undefined ? '' : 'AND uid = ? AND pid_namespace = ?';
    const query = `SELECT * FROM runs WHERE ${NEWEST} ${whose} ORDER BY started_ms DESC, handle DESC LIMIT ?`;
    const args = owner === undefined ? [limit] : [owner.uid, owner.pidNamespace, limit];
    return (this.#sql(query).all(...args) as RunRow[]).map((row) => {
      const figures = figuresOf(row);
      return { record: runRecordOf(row), ...(figures ? { figures } : {}) };
    });
  }

  endedProcesses(run: number): ProcessTotals[] {
    return this.#exited.list(run);
  }

  experiments(): ExperimentRecord[] {
    return this.#experiments.all();
  }

  usedByEnded(owner: Owner, experiment: string, without: ReadonlySet<number>): Part {
    return this.#experiments.usedByEnded(owner, experiment, without);
  }

  *events(run: number): Iterable<RunEvent> {
    // A page at a time: an open cursor would keep the checkpoint from writing.
    const page = this.#sql('SELECT * FROM events WHERE run = ? AND seq > ? ORDER BY seq LIMIT 500');
    for (let after = 0; ; ) {
      const rows = page.all(run, after) as {
        seq: number;
        wall_ms: number;
        mono_ns: number;
        event: string;
        data: string;
      }[];
      for (const row of rows) {
        const times = { wallMs: row.wall_ms, monoNs: BigInt(row.mono_ns) };
        yield { seq: row.seq, ...times, event: row.event, data: JSON.parse(row.data) };
      }
      const last = rows.at(-1);
      if (!last) return;
      after = last.seq;
    }
  }

  facts(run: number): Map<string, string> {
    const rows = this.#sql('SELECT key, text FROM facts WHERE run = ? ORDER BY key').all(run);
    return new Map((rows as { key: string; text: string }[]).map(({ key, text }) => [key, text]));
  }

  fact(run: number, key: string): string | undefined {
    return this.#sql('SELECT text FROM facts WHERE run = ? AND key = ?').pluck().get(run, key) as
      | string
      | undefined;
  }

  close(): void {
    this.#db.close();
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
