// Which series of runs and scopes exist. Admission is sticky: what was admitted stays until its run goes; what came
// when the cap was reached is summed into `(other)` and never comes out again, so that sums stay right and no counter
// goes back. Reads the RunStore; owns the runs' labels and the budget.

import type { Run, RunStore } from '../attribution/model.js';
import { addCells, type Cells, Figures } from './figures.js';
import type { OtherRunsStore } from './other-runs.js';
import { Budget, earlierAttempts, RunSeries, runCost, type SeriesOptions } from './run-series.js';

/** Folded runs that are gone of which it is known what they have left; beyond it the oldest are forgotten. */
const MOST_GONE = 10_000;

/** A run that came past the cap: only its totals, inside run="(other)". */
interface FoldedRun {
  totals: Figures;
  run: Run;
  attemptsDone: number;
}

export class SeriesTable {
  readonly options: SeriesOptions;
  readonly #store: RunStore;
  readonly #now: () => number;
  readonly #budget: Budget;
  readonly #admitted = new Map<string, RunSeries>();
  readonly #folded = new Map<string, FoldedRun>();
  readonly #labels = new Set<string>();
  /** What folded runs that are gone have left in run="(other)". */
  #departed: Cells | null = null;
  /** The last attempt that is in #departed, by key: a further one adds what is new, and stays folded. */
  readonly #gone: Map<string, number>;
  readonly #memory: OtherRunsStore | undefined;
  /** Runs that were folded before the agent was restarted: they stay so. */
  readonly #foldedBefore: Set<string>;
  /** What `memory` knows is not up to date. */
  #changed = false;

  /** `now`: wall clock, milliseconds since 1970; `memory`: what is to outlive this agent. */
  constructor(store: RunStore, options: SeriesOptions, now: () => number, memory?: OtherRunsStore) {
    this.#store = store;
    this.options = options;
    this.#now = now;
    this.#budget = new Budget(options.maxSeries);
    this.#memory = memory;
    const { folded, departed, gone } = memory?.read() ?? { folded: [], departed: {}, gone: {} };
    this.#foldedBefore = new Set(folded);
    this.#gone = new Map(Object.entries(gone));
    if (Object.keys(departed).length === 0) return;
    this.#departed = options.shown.map(({ name }) => {
      const left = departed[name];
      return left === undefined ? undefined : addCells(0, BigInt(left));
    });
  }

  get admitted(): Iterable<RunSeries> {
    return this.#admitted.values();
  }

  /** Series in use, and series that were folded for want of room since the agent started. */
  get counts(): { used: number; dropped: number } {
    return { used: this.#budget.used, dropped: this.#budget.dropped };
  }

  /** The cells of run="(other)", or null while no run was folded. */
  otherRuns(): Cells | null {
    if (this.#folded.size === 0) return this.#departed;
    const sum = this.options.shown.map((_, i) => this.#departed?.[i]);
    for (const { totals } of this.#folded.values()) this.#addInto(sum, totals.cells);
    return sum;
  }

  /** Brings every series up to the store's figures of now. */
  sync(): void {
    const newest = this.#newestAttempts();
    for (const key of this.#admitted.keys()) if (!newest.has(key)) this.#release(key);
    for (const key of this.#folded.keys()) if (!newest.has(key)) this.#depart(key);
    for (const key of this.#foldedBefore) if (!newest.has(key)) this.#departUnseen(key);
    // In order of start, so that a restarted agent admits the same ones.
    const ordered = [...newest.values()].sort((a, b) => a.startedAtMs - b.startedAtMs || a.handle - b.handle);
    for (const run of ordered) this.#syncRun(run);
    if (this.#changed) this.#remember();
  }

  #remember(): void {
    const left = this.options.shown.flatMap(({ name }, i) => {
      const cell = this.#departed?.[i];
      return cell === undefined ? [] : [[name, String(cell)] as const];
    });
    const folded = [...this.#folded.keys(), ...this.#foldedBefore];
    try {
      const gone = Object.fromEntries(this.#gone);
      this.#memory?.write({ folded, departed: Object.fromEntries(left), gone });
      this.#changed = false;
    } catch (error) {
      // A full disk must not end scrapes: the next one tries again.
      if ((error as NodeJS.ErrnoException).code === undefined) throw error;
    }
  }

  #newestAttempts(): Map<string, Run> {
    const oldest = this.#now() - this.options.lingerMs();
    const newest = new Map<string, Run>();
    for (const run of this.#store.recent()) {
      if (run.endedAtMs !== undefined && run.endedAtMs < oldest) continue;
      if (run.attempt > (newest.get(run.key)?.attempt ?? -1)) newest.set(run.key, run);
    }
    return newest;
  }

  #syncRun(run: Run): void {
    const folded = this.#folded.get(run.key);
    if (folded !== undefined) {
      this.#syncFolded(folded, run);
      return;
    }
    let series = this.#admitted.get(run.key);
    if (series === undefined) {
      const gone = this.#gone.get(run.key) ?? 0;
      if (run.attempt <= gone) return;
      // Deleted only when it is folded again: until it is met it is remembered.
      const stays = this.#foldedBefore.delete(run.key) || gone > 0;
      if (stays || !this.#budget.take(runCost(this.options))) {
        this.#changed = true;
        const fresh = { totals: new Figures(this.options.shown), run, attemptsDone: gone };
        this.#folded.set(run.key, fresh);
        this.#syncFolded(fresh, run);
        return;
      }
      series = new RunSeries(run, this.#label(run), this.options, this.#budget);
      this.#admitted.set(run.key, series);
    }
    series.sync(run, this.#store);
  }

  #syncFolded(folded: FoldedRun, run: Run): void {
    for (const earlier of earlierAttempts(run, folded.attemptsDone, this.#store, folded.run)) {
      folded.totals.update(earlier.totals, earlier.totals.knownMask);
      folded.totals.endAttempt();
    }
    folded.attemptsDone = run.attempt - 1;
    folded.run = run;
    folded.totals.update(run.totals, run.totals.knownMask);
  }

  /** The run's label, kept for its life; of two owners' runs of one id the later one's is marked. */
  #label(run: Run): string {
    const plain = this.options.names.word(run.owner, run.runId);
    let label = plain;
    for (let n = 1; this.#labels.has(label); n++) {
      label = n === 1 ? `${plain}~${run.owner.uid}` : `${plain}~${run.owner.uid}~${n}`;
    }
    this.#labels.add(label);
    return label;
  }

  #release(key: string): void {
    const series = this.#admitted.get(key);
    if (series === undefined) return;
    this.#budget.used -= series.cost;
    this.#labels.delete(series.label);
    this.#admitted.delete(key);
  }

  #depart(key: string): void {
    const folded = this.#folded.get(key);
    if (folded === undefined) return;
    folded.totals.endAttempt();
    this.#departed ??= this.options.shown.map(() => undefined);
    this.#addInto(this.#departed, folded.totals.cells);
    this.#folded.delete(key);
    this.#gone.delete(key); // the newest last
    this.#gone.set(key, folded.run.attempt);
    const [oldest] = this.#gone.keys();
    if (this.#gone.size > MOST_GONE && oldest !== undefined) this.#gone.delete(oldest);
    this.#changed = true;
  }

  /** It was folded, and gone before this agent met it: the database knows what it had. */
  #departUnseen(key: string): void {
    this.#foldedBefore.delete(key);
    const last = this.#store.byKey(key);
    const gone = this.#gone.get(key) ?? 0;
    if (last === undefined || last.attempt <= gone) return;
    const folded = { totals: new Figures(this.options.shown), run: last, attemptsDone: gone };
    this.#syncFolded(folded, last);
    this.#folded.set(key, folded);
    this.#depart(key);
  }

  /** Only what adds up goes in: a peak of several runs is none. */
  #addInto(sum: Cells, cells: Cells): void {
    this.options.shown.forEach((shown, i) => {
      if (shown.sums) sum[i] = addCells(sum[i], cells[i]);
    });
  }
}
