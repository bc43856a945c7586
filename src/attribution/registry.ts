// The registry of runs: which are live, which ended lately, where the others are found. Owns the runs in memory, the
// numbers given to runs, slots and sessions, and the listeners. Implements the read interface of the model.

import type { Logger } from 'pino';
import { messageOf } from '../errors.js';
import { partsOfRowId } from '../native/frame.js';
import { type Facts, factsOf } from './facts.js';
import type { Ledger } from './ledger.js';
import type { Holding, Limiter } from './limits.js';
import type { Owner, ProcessTotals, Run, RunEvent, RunStore, RunStoreEvents, RunSummary } from './model.js';
import { sameOwner } from './owners.js';
import type { Persistence, RunFigures, RunRecord, SavedRun } from './records.js';
import { Totals } from './totals.js';
import { isFinal, TrackedRun, UNATTRIBUTED_ROW } from './tracked-run.js';

/** Ended runs read back from the database that are kept for the next question. */
const MAX_LOADED = 16;

export interface RegistryOptions {
  persistence: Persistence;
  ledger: Ledger;
  limiter: Limiter;
  log: Logger;
  /** How long an ended run stays in memory (`metrics.linger_seconds`), milliseconds; read anew at each use. */
  keepEndedMs(): number;
}

export class Registry implements RunStore {
  readonly #options: RegistryOptions;
  readonly #live = new Map<number, TrackedRun>();
  readonly #ended = new Map<number, TrackedRun>();
  readonly #loaded = new Map<number, TrackedRun>();
  /** Newest attempt in memory by owner and id. */
  readonly #newest = new Map<string, TrackedRun>();
  readonly #listeners: { [E in keyof RunStoreEvents]: Set<RunStoreEvents[E]> } = {
    committed: new Set(),
    status: new Set(),
    limit: new Set(),
    ended: new Set(),
    forgotten: new Set(),
  };
  readonly #highest: { run: number; slot: number; session: number };

  constructor(options: RegistryOptions) {
    this.#options = options;
    this.#highest = options.persistence.highestIds();
  }

  /** The next unused number of a kind; u32, so a restart is due after four billion. */
  take(kind: 'run' | 'slot' | 'session'): number {
    this.#highest[kind] += 1;
    return this.#highest[kind];
  }

  add(run: TrackedRun): void {
    this.#live.set(run.handle, run);
    const key = identity(run.owner, run.runId);
    const known = this.#newest.get(key);
    if (!known || known.attempt < run.attempt) this.#newest.set(key, run);
    this.#options.ledger.track(run);
  }

  /** A run that had ended when the agent was started: its last figures may not have been asked for yet. */
  addEnded(run: TrackedRun): void {
    this.#ended.set(run.handle, run);
    const key = identity(run.owner, run.runId);
    if ((this.#newest.get(key)?.attempt ?? 0) < run.attempt) this.#newest.set(key, run);
    this.#boundEnded(run.owner);
  }

  /** The run's status became final. */
  retire(run: TrackedRun): void {
    this.#live.delete(run.handle);
    this.#ended.set(run.handle, run);
    this.#options.ledger.forget(run);
    this.emit('status', run);
    this.emit('ended', run);
    this.#boundEnded(run.owner);
  }

  /** Lets go of runs that ended long enough ago. */
  sweep(nowMs: number): void {
    for (const run of this.#ended.values()) {
      if (nowMs - (run.endedAtMs ?? 0) >= this.#options.keepEndedMs()) this.#letGo(run);
    }
  }

  #letGo(run: TrackedRun): void {
    this.#ended.delete(run.handle);
    const key = identity(run.owner, run.runId);
    if (this.#newest.get(key) === run) this.#newest.delete(key);
    this.emit('forgotten', run);
  }

  /** Whoever ends runs faster than they are forgotten loses the oldest of them: its own, and from memory only. */
  #boundEnded(owner: Owner): void {
    const { limiter } = this.#options;
    for (const [limit, count] of [
      ['endedRuns', () => 1],
      ['endedScopes', (run: TrackedRun) => run.scopeCount],
    ] as const) {
      let { left } = limiter.room(limit, owner, this.#endedHoldings(count));
      if (left >= 0) continue;
      const own = [...this.#ended.values()].filter((run) => sameOwner(run.owner, owner));
      for (const run of own.sort((a, b) => (a.endedAtMs ?? 0) - (b.endedAtMs ?? 0))) {
        if (left >= 0) break;
        left += count(run);
        limiter.lose(limit);
        this.#letGo(run);
      }
    }
  }

  *#endedHoldings(count: (run: TrackedRun) => number): Generator<Holding> {
    for (const run of this.#ended.values()) yield { owner: run.owner, count: count(run) };
  }

  live(): Iterable<TrackedRun> {
    return this.#live.values();
  }

  /** What every live run has of something, for the limits of owners. */
  *holdings(count: (run: TrackedRun) => number): Generator<Holding> {
    for (const run of this.#live.values()) yield { owner: run.owner, count: count(run) };
  }

  get liveCount(): number {
    return this.#live.size;
  }

  byHandle(handle: number): TrackedRun | undefined {
    return this.#live.get(handle);
  }

  *recent(): Iterable<TrackedRun> {
    yield* this.#ended.values();
    yield* this.#live.values();
  }

  get(owner: Owner, runId: string, attempt?: number): TrackedRun | undefined {
    const newest = this.#newest.get(identity(owner, runId));
    if (newest && (attempt === undefined || newest.attempt === attempt)) return newest;
    return this.#fromRecord(this.#options.persistence.find(owner, runId, attempt));
  }

  byKey(key: string, attempt?: number): TrackedRun | undefined {
    for (const run of this.#newest.values()) {
      if (run.key === key && (attempt === undefined || run.attempt === attempt)) return run;
    }
    return this.#fromRecord(this.#options.persistence.findByKey(key, attempt));
  }

  attempts(key: string): number[] {
    return this.#options.persistence.attempts(key);
  }

  find(runId: string): TrackedRun[] {
    const found = new Map<string, TrackedRun>();
    for (const record of this.#options.persistence.findById(runId)) {
      const run = this.#fromRecord(record);
      if (run) found.set(run.key, run);
    }
    for (const run of this.#newest.values()) if (run.runId === runId) found.set(run.key, run);
    return [...found.values()];
  }

  list(limit: number, owner?: Owner): RunSummary[] {
    const lines = new Map<string, RunSummary>();
    for (const stored of this.#options.persistence.list(limit, owner)) {
      lines.set(stored.record.key, summaryOf(stored.record, stored.figures));
    }
    for (const run of this.#newest.values()) {
      if (owner && !sameOwner(owner, run.owner)) continue;
      const line = summaryOf(run.record, run.figures);
      const { cpuSeconds: _uncommitted, ...rest } = line;
      const cpuSeconds = run.totals.value('cpu_seconds');
      lines.set(run.key, cpuSeconds === undefined ? rest : { ...rest, cpuSeconds });
    }
    return [...lines.values()].sort((a, b) => b.startedAtMs - a.startedAtMs).slice(0, limit);
  }

  endedProcesses(run: Run): ProcessTotals[] {
    return this.#options.persistence.endedProcesses(run.handle);
  }

  events(run: Run): Iterable<RunEvent> {
    return this.#options.persistence.events(run.handle);
  }

  facts(run: Run): Facts {
    return factsOf(this.#options.persistence.facts(run.handle));
  }

  /** JSON, committed or not; undefined where the key is not there. */
  factText(run: Run, key: string): string | undefined {
    const changed = this.#options.ledger.changedFact(run.handle, key);
    return changed ? (changed.text ?? undefined) : this.#options.persistence.fact(run.handle, key);
  }

  /** What is stored of it, JSON by key. */
  factTexts(run: Run): Map<string, string> {
    return this.#options.persistence.facts(run.handle);
  }

  on<E extends keyof RunStoreEvents>(event: E, listener: RunStoreEvents[E]): () => void {
    this.#listeners[event].add(listener);
    return () => this.#listeners[event].delete(listener);
  }

  /** Tells the listeners; one that throws is logged and changes nothing for the others. */
  emit<E extends keyof RunStoreEvents>(event: E, ...args: Parameters<RunStoreEvents[E]>): void {
    for (const listener of this.#listeners[event]) {
      try {
        (listener as (...args: Parameters<RunStoreEvents[E]>) => void)(...args);
      } catch (error) {
        this.#options.log.error({ event, reason: messageOf(error) }, 'a listener of the run store failed');
      }
    }
  }

  #fromRecord(record: RunRecord | undefined): TrackedRun | undefined {
    if (!record) return undefined;
    const known =
      this.#live.get(record.handle) ?? this.#ended.get(record.handle) ?? this.#loaded.get(record.handle);
    if (known) return known;
    const saved = this.#options.persistence.load(record.handle);
    if (!saved) return undefined;
    const run = rebuildRun(saved);
    this.#loaded.set(run.handle, run);
    const oldest = this.#loaded.keys().next().value;
    if (this.#loaded.size > MAX_LOADED && oldest !== undefined) this.#loaded.delete(oldest);
    return run;
  }
}

/** A run as it was stored. */
export function rebuildRun(saved: SavedRun): TrackedRun {
  const run = new TrackedRun(saved.record);
  run.figures = saved.figures;
  if (saved.figures) run.totals = Totals.fromRow(saved.figures.row);
  run.eventSeq = saved.lastEventSeq;
  run.parts.push(...saved.parts);
  run.phaseRecords.push(...saved.phases);
  run.committedPhases.push(...saved.phases);
  const places = new Map([[run.unattributedSlot, UNATTRIBUTED_ROW]]);
  for (const record of saved.scopes) places.set(record.slot, run.tree.restore(record).index);
  for (const [id, row] of saved.rows) {
    const { slot, gpu } = partsOfRowId(id);
    const index = places.get(slot);
    if (index === undefined) continue;
    if (gpu === 0) run.rows.load(index, row);
    else run.gpus.load(slot, gpu, saved.record.gpus?.[gpu] ?? `unknown-${gpu}`, row);
  }
  return run;
}

function identity(owner: Owner, runId: string): string {
  return `${owner.uid}:${owner.pidNamespace}:${runId}`;
}

function summaryOf(record: RunRecord, figures: RunFigures | undefined): RunSummary {
  const line: RunSummary = {
    key: record.key,
    runId: record.runId,
    owner: record.owner,
    attempt: record.attempt,
    status: record.status,
    startedAtMs: record.startedAtMs,
    processes: isFinal(record.status) ? 0 : (figures?.liveProcesses ?? 0),
  };
  const cpuSeconds = figures && Totals.fromRow(figures.row).value('cpu_seconds');
  return {
    ...line,
    ...(record.experiment === undefined ? {} : { experiment: record.experiment }),
    ...(record.name === undefined ? {} : { name: record.name }),
    ...(record.endedAtMs === undefined ? {} : { endedAtMs: record.endedAtMs }),
    ...(cpuSeconds === undefined ? {} : { cpuSeconds }),
  };
}
