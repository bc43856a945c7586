// The limits of runs and the budgets of experiments while they run: holds the committed figures against them after every
// checkpoint, marks what has come to 80 % and to 100 %, and says each of it once, when the mark is stored. Owns the
// experiments with a budget and what their ended runs used.

import { LezeaError } from '../errors.js';
import type { Ledger } from './ledger.js';
import type { Lifecycle } from './lifecycle.js';
import { joined, type Part, type Price, partOf, usedOf, wholeOf } from './limit-figures.js';
import type { Limiter } from './limits.js';
import type { LimitTold, Owner } from './model.js';
import { sameOwner } from './owners.js';
import type { ExperimentRecord, Persistence, RunRecord } from './records.js';
import type { Registry } from './registry.js';
import {
  judged,
  keyOf,
  type LimitChange,
  type LimitKey,
  type LimitState,
  type LimitTable,
  mergedLimits,
  mergedTable,
  overBudget,
  type RunLimits,
  rearmed,
  stateOf,
} from './run-limits.js';
import type { TrackedRun } from './tracked-run.js';

/** Names of the audit entries. */
export const LIMIT_EVENTS = {
  warned: 'limit_warning',
  exceeded: 'limit_exceeded',
  signalled: 'limit_signalled',
} as const;

const NONE: readonly LimitState[] = [];
const NO_CHANGE: LimitChange = { values: new Map(), experiment: new Map() };

export interface BudgetsOptions {
  registry: Registry;
  ledger: Ledger;
  lifecycle: Pick<Lifecycle, 'audit'>;
  persistence: Persistence;
  limiter: Limiter;
  price: Price;
  nowMs(): number;
  monotonicNs(): bigint;
}

/** An experiment with a budget. */
interface Experiment {
  record: ExperimentRecord;
  /** What its ended runs used; undefined until it is asked for. */
  ended: Part | undefined;
}

export class Budgets {
  readonly #o: BudgetsOptions;
  readonly #experiments = new Map<string, Experiment>();
  /** What a live run's earlier attempts used, by what the limit is of; undefined: nothing of it was there. */
  readonly #before = new WeakMap<TrackedRun, Map<string, Part | undefined>>();
  /** While limits are being looked at: several are of the same scopes, and of the same earlier attempts. */
  #together:
    | { parts: Map<string, Part | undefined>; attempts: Map<string, TrackedRun | undefined> }
    | undefined;
  /** Marked, and not stored yet. */
  #untold: { run: TrackedRun; told: LimitTold }[] = [];
  /** Since the agent was started. */
  readonly counts = { warned: 0, exceeded: 0 };

  constructor(options: BudgetsOptions) {
    this.#o = options;
    for (const record of options.persistence.experiments()) {
      this.#experiments.set(experimentKey(record), { record, ended: undefined });
    }
    options.registry.on('ended', (run) => this.#runEnded(run as TrackedRun));
  }

  /** Throws where a change cannot be, or where its run asked not to begin over a budget. Before anything of it exists. */
  admit(run: Pick<RunRecord, 'owner' | 'experiment'>, change: LimitChange, earlier?: TrackedRun): void {
    this.#atOnce(() => this.#admit(run, change, earlier));
  }

  #admit(
    run: Pick<RunRecord, 'owner' | 'experiment'>,
    change: LimitChange,
    earlier: TrackedRun | undefined,
  ): void {
    const { limiter, registry } = this.#o;
    const merged = mergedLimits(carriedOver(earlier), change);
    limiter.admit('limitsPerRun', Object.keys(merged?.values ?? {}).length - 1);
    if (change.experiment.size > 0) this.#admitBudget(run);
    if (merged?.onExceeded !== 'refuse') return;
    const budget = this.#changedBudget(run, change.experiment);
    const ofExperiment = budget
      ? this.#statesOfTable(budget, (key) => this.#usedByExperiment(budget, key))
      : [];
    const attempts = earlier ? [...registry.attempts(earlier.key)] : [];
    const ofRun =
      merged && earlier && attempts.length > 0
        ? this.#statesOfTable(merged, (key) => this.#sumOfAttempts(earlier, attempts, key))
        : [];
    const refusal = overBudget([...ofExperiment, ...ofRun].map(asFigured));
    if (refusal) throw refusal;
  }

  #admitBudget(run: Pick<RunRecord, 'owner' | 'experiment'>): void {
    if (run.experiment === undefined) {
      throw new LezeaError('invalid_params', 'limits.experiment: the run has no experiment: expected one');
    }
    if (this.#experimentOf(run)) return;
    const held = [...this.#experiments.values()].map(({ record }) => ({ owner: record.owner, count: 1 }));
    this.#o.limiter.admitOwner('experimentBudgets', run.owner, held);
  }

  /** The limits that a run begins with: those of its attempt before, changed. */
  begin(run: TrackedRun, change: LimitChange = NO_CHANGE, earlier?: TrackedRun): void {
    const limits = mergedLimits(carriedOver(earlier), change);
    if (limits) run.record.limits = limits;
    this.#changed(run, change);
  }

  /** Merges a change into the limits of a live run, and of its experiment. */
  set(run: TrackedRun, change: LimitChange): void {
    const limits = mergedLimits(run.record.limits, change);
    this.#o.limiter.admit('limitsPerRun', Object.keys(limits?.values ?? {}).length - 1);
    if (change.experiment.size > 0) this.#admitBudget(run.record);
    if (limits) {
      run.record.limits = limits;
      this.#o.ledger.runChanged(run);
    }
    this.#changed(run, change);
  }

  #changed(run: TrackedRun, change: LimitChange): void {
    const { limits } = run.record;
    this.#atOnce(() => {
      if (limits)
        for (const key of change.values.keys()) rearm(limits, key, this.#usedByRun(run, keyOf(key)));
      this.#setBudget(run, change);
      this.#look(run);
    });
  }

  #setBudget(run: TrackedRun, { experiment: change }: LimitChange): void {
    const record = change.size > 0 ? this.#changedBudget(run.record, change) : undefined;
    if (!record) return;
    const key = experimentKey(record);
    const known = this.#experiments.get(key) ?? { record, ended: undefined };
    known.record = record;
    if (Object.keys(record.values).length === 0) {
      this.#experiments.delete(key);
      this.#o.ledger.experimentChanged(key, null);
      return;
    }
    this.#experiments.set(key, known);
    for (const name of change.keys()) rearm(record, name, this.#usedByExperiment(record, keyOf(name)));
    this.#o.ledger.experimentChanged(key, record);
  }

  /** The budget of the run's experiment as it would be after a change; undefined where there is none. */
  #changedBudget(
    { owner, experiment }: Pick<RunRecord, 'owner' | 'experiment'>,
    change: LimitChange['experiment'],
  ): ExperimentRecord | undefined {
    if (experiment === undefined) return undefined;
    const known = this.#experimentOf({ owner, experiment })?.record;
    if (!known && change.size === 0) return undefined;
    return { owner, name: experiment, ...mergedTable(known ?? { values: {}, marks: {} }, change) };
  }

  /**
   * Holds what is committed against every limit. True: something was marked, and is to be stored; tell() says it once
   * that is done.
   */
  judge(): boolean {
    return this.#atOnce(() => this.#judgeAll());
  }

  /** Nothing is put together twice meanwhile. */
  #atOnce<T>(work: () => T): T {
    if (this.#together) return work();
    this.#together = { parts: new Map(), attempts: new Map() };
    try {
      return work();
    } finally {
      this.#together = undefined;
    }
  }

  #judgeAll(): boolean {
    const before = this.#untold.length;
    const runs = [...this.#o.registry.live()];
    for (const run of runs) this.#judgeRun(run);
    for (const experiment of this.#experiments.values()) {
      const members = runs.filter((run) => isOf(run, experiment.record));
      if (members.length > 0) this.#judgeExperiment(experiment.record, members);
    }
    for (const run of runs) this.#look(run);
    return this.#untold.length > before;
  }

  #judgeRun(run: TrackedRun): void {
    const { limits } = run.record;
    if (!limits) return;
    const marked = this.#mark(limits, (key) => this.#usedByRun(run, keyOf(key)), [run]);
    if (marked) this.#o.ledger.runChanged(run);
  }

  #judgeExperiment(record: ExperimentRecord, members: readonly TrackedRun[]): void {
    const used = (name: string) => this.#usedByExperiment(record, keyOf(name));
    if (this.#mark(record, used, members, record.name)) {
      this.#o.ledger.experimentChanged(experimentKey(record), record);
    }
  }

  #mark(
    table: LimitTable,
    usedOfKey: (key: string) => number | undefined,
    runs: readonly TrackedRun[],
    experiment?: string,
  ): boolean {
    let marked = false;
    for (const [text, value] of Object.entries(table.values)) {
      const used = usedOfKey(text);
      const { mark, told } = judged(value, used, table.marks[text] ?? {}, this.#o.nowMs());
      if (told.length === 0) continue;
      table.marks[text] = mark;
      marked = true;
      const state = stateOf(keyOf(text, experiment), value, used, mark);
      for (const run of runs) for (const word of told) this.#note(run, word, state);
    }
    return marked;
  }

  #note(run: TrackedRun, word: 'warned' | 'exceeded', state: LimitState): void {
    const event = LIMIT_EVENTS[word];
    const { warnedAtMs: _warned, exceededAtMs: _exceeded, state: _state, ...figures } = state;
    this.#o.lifecycle.audit(run, event, figures);
    this.#untold.push({ run, told: { event, state: { ...state, state: word } } });
    this.counts[word] += 1;
  }

  /** Says what was marked: it is stored now. */
  tell(): void {
    const untold = this.#untold;
    this.#untold = [];
    for (const { run, told } of untold) this.#o.registry.emit('limit', run, told);
  }

  /** Shows how the limits of a run stand. */
  #look(run: TrackedRun): void {
    const { limits } = run.record;
    const budget = this.#experimentOf(run.record)?.record;
    if (!limits && !budget) {
      run.limits = NONE;
      return;
    }
    run.limits = [
      ...(limits ? this.#statesOfTable(limits, (key) => this.#usedByRun(run, key)) : []),
      ...(budget ? this.#statesOfTable(budget, (key) => this.#usedByExperiment(budget, key)) : []),
    ];
  }

  #statesOfTable(table: LimitTable & { name?: string }, used: (key: LimitKey) => number | undefined) {
    return Object.entries(table.values).map(([text, value]) => {
      const key = keyOf(text, table.name);
      return stateOf(key, value, used(key), table.marks[text] ?? {});
    });
  }

  /** Over all its attempts. */
  #usedByRun(run: TrackedRun, key: LimitKey): number | undefined {
    const level = isLevel(key);
    const name = `${run.handle} ${level} ${key.scope ?? key.level ?? ''}`;
    const part = this.#once(name, () => this.#partOf(run, key, level));
    return part && usedOf(part, key.limit, this.#o.price);
  }

  #once(name: string, make: () => Part | undefined): Part | undefined {
    const parts = this.#together?.parts;
    if (!parts) return make();
    if (!parts.has(name)) parts.set(name, make());
    return parts.get(name);
  }

  #partOf(run: TrackedRun, key: LimitKey, level: boolean): Part | undefined {
    const now = partOf(run, key, runtimeSeconds(run.record, this.#o.monotonicNs()));
    // A level, not a sum, begins anew with each attempt.
    const before = level ? undefined : this.#partBefore(run, key);
    return now && before ? joined(now, [before]) : (now ?? before);
  }

  #partBefore(run: TrackedRun, key: LimitKey): Part | undefined {
    const place = key.scope ?? key.level ?? '';
    const known = this.#before.get(run) ?? new Map<string, Part | undefined>();
    this.#before.set(run, known);
    if (!known.has(place)) {
      const attempts = run.attempt === 1 ? [] : this.#o.registry.attempts(run.key);
      const earlier = attempts.filter((attempt) => attempt < run.attempt);
      known.set(place, this.#partOfAttempts(run.key, earlier, key));
    }
    return known.get(place);
  }

  #sumOfAttempts(run: TrackedRun, attempts: readonly number[], key: LimitKey): number | undefined {
    if (isLevel(key)) return undefined;
    const name = `${run.key} ${key.scope ?? key.level ?? ''}`;
    const part = this.#once(name, () => this.#partOfAttempts(run.key, attempts, key));
    return part && usedOf(part, key.limit, this.#o.price);
  }

  #partOfAttempts(key: string, attempts: readonly number[], of: LimitKey): Part | undefined {
    const now = this.#o.monotonicNs();
    const [first, ...rest] = attempts.flatMap((attempt) => {
      const run = this.#attempt(key, attempt);
      return (run && partOf(run, of, runtimeSeconds(run.record, now))) ?? [];
    });
    return first && joined(first, rest);
  }

  #attempt(key: string, attempt: number): TrackedRun | undefined {
    const known = this.#together?.attempts;
    const name = `${key} ${attempt}`;
    if (known?.has(name)) return known.get(name);
    const run = this.#o.registry.byKey(key, attempt);
    known?.set(name, run);
    return run;
  }

  /** Over all its runs on this node, ended ones too. */
  #usedByExperiment(record: ExperimentRecord, { limit }: LimitKey): number | undefined {
    const sum = this.#once(experimentKey(record), () => {
      const live = [...this.#o.registry.live()].filter((run) => isOf(run, record));
      const now = this.#o.monotonicNs();
      const parts = live.map((run) => wholeOf(run, runtimeSeconds(run.record, now)));
      return joined(this.#endedOf(record), parts);
    });
    return sum && usedOf(sum, limit, this.#o.price);
  }

  #endedOf(record: ExperimentRecord): Part {
    const known = this.#experiments.get(experimentKey(record));
    if (known?.ended) return known.ended;
    const live = new Set([...this.#o.registry.live()].map(({ handle }) => handle));
    const ended = this.#o.persistence.usedByEnded(record.owner, record.name, live);
    if (known) known.ended = ended;
    return ended;
  }

  #runEnded(run: TrackedRun): void {
    const experiment = this.#experimentOf(run.record);
    if (!experiment?.ended) return;
    const part = wholeOf(run, runtimeSeconds(run.record, this.#o.monotonicNs()));
    experiment.ended = joined(experiment.ended, [part]);
  }

  #experimentOf({ owner, experiment }: Pick<RunRecord, 'owner' | 'experiment'>): Experiment | undefined {
    return experiment === undefined
      ? undefined
      : this.#experiments.get(experimentKey({ owner, name: experiment }));
  }
}

/** Wall time of one attempt by CLOCK_MONOTONIC, seconds: until now, or until its end. */
export function runtimeSeconds(
  record: Pick<RunRecord, 'runtimeSeconds' | 'startedMonoNs' | 'startedAtMs' | 'endedAtMs'>,
  nowNs: bigint,
): number {
  if (record.runtimeSeconds !== undefined) return record.runtimeSeconds;
  // It ended under an agent that did not store it.
  if (record.endedAtMs !== undefined) return Math.max(0, (record.endedAtMs - record.startedAtMs) / 1000);
  return Math.max(0, Number(nowNs - record.startedMonoNs) / 1e9);
}

/** What a further attempt takes over. */
function carriedOver(earlier: TrackedRun | undefined): RunLimits | undefined {
  const limits = earlier?.record.limits;
  if (!limits) return undefined;
  const { ending: _ending, ...rest } = limits;
  const marks = Object.entries(limits.marks).filter(([key]) => !isLevel(keyOf(key)));
  return { ...rest, values: { ...limits.values }, marks: Object.fromEntries(marks) };
}

function rearm(table: LimitTable, key: string, used: number | undefined): void {
  const value = table.values[key];
  if (value === undefined) return;
  table.marks[key] = rearmed(value, used, table.marks[key] ?? {});
}

/** As its figures say: one that is raised with the start has its old mark still, one that is new has none yet. */
function asFigured(state: LimitState): LimitState {
  return { ...state, state: (state.ratio ?? 0) >= 1 ? 'exceeded' : 'ok' };
}

function isLevel({ limit }: LimitKey): boolean {
  return limit === 'memory_bytes' || limit === 'gpu_memory_bytes';
}

function isOf(run: TrackedRun, { owner, name }: ExperimentRecord): boolean {
  return run.experiment === name && sameOwner(run.owner, owner);
}

export function experimentKey({ owner, name }: { owner: Owner; name: string }): string {
  return `${owner.uid}:${owner.pidNamespace}:${name}`;
}
