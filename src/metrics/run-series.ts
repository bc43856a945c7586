// The series of one run: a row for each admitted scope, for `unattributed` and, where scopes found no room, for `(other)`.
// What is admitted stays, what is folded never comes out: no counter goes back. Reads Runs; owns the rows.

import type { ByGpu } from '../attribution/gpu-rows.js';
import type { Run, RunStore, ScopeNode } from '../attribution/model.js';
import { keyText } from '../attribution/run-limits.js';
import { renderLabels } from './encoder.js';
import { addCells, type Cells, Figures, greaterCell, type Shown, subtractCells } from './figures.js';
import type { Names } from './names.js';

export const OTHER = '(other)';
export const UNATTRIBUTED = 'unattributed';

/** Earlier attempts that are read back from the database when an agent meets a run anew. */
const MAX_EARLIER_ATTEMPTS = 1000;

export interface SeriesOptions {
  shown: readonly Shown[];
  /** Also show every scope with everything below it. */
  inclusive: boolean;
  /** Series that one scope, each further GPU of it and one run's own families cost. */
  seriesPerScope: number;
  seriesPerGpu: number;
  seriesPerRun: number;
  seriesPerLimit: number;
  maxSeries: number;
  lingerMs: () => number;
  names: Names;
}

/** What one scope had of one GPU. */
export interface GpuRow {
  labels: Buffer;
  figures: Figures;
}

/** One row of the scope families. */
export interface ScopeRow {
  labels: Buffer;
  self: Figures;
  /** It is the remainder that found no room: what it had is not known of each GPU. */
  folded: boolean;
  /** By UUID; `(other)`: of those that there was no room for. The families of GPUs are written of these alone. */
  gpus: Map<string, GpuRow>;
  /** Those that there was no room for, by UUID. */
  otherGpus: Map<string, Figures>;
  /** null: not asked for, or no scope (`unattributed`, `(other)`). */
  inclusive: Figures | null;
}

/** How many series there are room for, and how many found none. */
export class Budget {
  used = 0;
  dropped = 0;

  constructor(readonly max: number) {}

  take(count: number): boolean {
    if (this.used + count > this.max) {
      this.dropped += count;
      return false;
    }
    this.used += count;
    return true;
  }
}

/** The series of one run, over its attempts. */
export class RunSeries {
  readonly label: string;
  readonly runLabels: Buffer;
  readonly totals: Figures;
  readonly rows: ScopeRow[] = [];
  /** What it took from the budget. */
  cost: number;
  run: Run;
  /** Start of its first attempt, seconds since 1970. */
  startedAt: number;

  readonly #options: SeriesOptions;
  readonly #budget: Budget;
  readonly #unattributed: ScopeRow;
  #other: ScopeRow | null = null;
  /** null: folded. By path for the run's life, by slot within an attempt. */
  readonly #byPath = new Map<string, ScopeRow | null>();
  readonly #bySlot = new Map<number, ScopeRow | null>();
  /** By key: whether there was room for it. */
  readonly #limits = new Map<string, boolean>();
  #attemptsDone = 0;
  #seenVersion = -1;

  constructor(run: Run, label: string, options: SeriesOptions, budget: Budget) {
    this.run = run;
    this.label = label;
    this.startedAt = run.startedAtMs / 1000;
    this.runLabels = renderLabels({ run: label });
    this.totals = new Figures(options.shown);
    this.cost = runCost(options);
    this.#options = options;
    this.#budget = budget;
    this.#unattributed = this.#row(UNATTRIBUTED, UNATTRIBUTED, false);
    this.rows.push(this.#unattributed);
  }

  /** Takes over what the newest attempt (and the ones before it, once) has come to. */
  sync(newest: Run, store: RunStore): void {
    for (const earlier of earlierAttempts(newest, this.#attemptsDone, store, this.run)) {
      this.startedAt = Math.min(this.startedAt, earlier.startedAtMs / 1000);
      this.#bySlot.clear(); // read back from the database, it may number its scopes differently
      this.#update(earlier);
      this.#endAttempt();
    }
    this.#attemptsDone = newest.attempt - 1;
    for (const state of newest.limits) this.#admitLimit(keyText(state));
    if (newest === this.run && newest.version === this.#seenVersion) return;
    this.run = newest;
    this.#update(newest);
    this.#seenVersion = newest.version;
  }

  /** Whether a limit was admitted; what found no room is not shown. */
  showsLimit(key: string): boolean {
    return this.#limits.get(key) ?? false;
  }

  #admitLimit(key: string): void {
    if (this.#limits.has(key)) return;
    const cost = this.#options.seriesPerLimit;
    const fits = this.#budget.take(cost);
    if (fits) this.cost += cost;
    this.#limits.set(key, fits);
  }

  #update(run: Run): void {
    const mask = run.totals.knownMask;
    this.totals.update(run.totals, mask);
    this.#unattributed.self.update(run.unattributed, mask);
    this.#updateGpus(this.#unattributed, { path: UNATTRIBUTED, level: UNATTRIBUTED }, run.unattributedByGpu);
    for (const scope of run.scopes()) {
      let row = this.#bySlot.get(scope.slot);
      if (row === undefined) {
        row = this.#admit(scope);
        this.#bySlot.set(scope.slot, row);
      }
      if (row === null) continue;
      row.self.update(scope.self, mask);
      this.#updateGpus(row, scope, scope.byGpu);
      row.inclusive?.update(scope.inclusive(), mask);
    }
    if (this.#other !== null) this.#other.self.take(this.#remainder(this.#other));
  }

  #updateGpus(row: ScopeRow, scope: Pick<ScopeNode, 'path' | 'level'>, byGpu: ByGpu): void {
    for (const [uuid, totals] of byGpu) this.#gpuFigures(row, scope, uuid).update(totals, 0);
    if (row.otherGpus.size === 0) return;
    const sum: Cells = this.#options.shown.map(() => undefined);
    for (const figures of row.otherGpus.values()) {
      this.#options.shown.forEach(({ sums }, i) => {
        if (sums) sum[i] = addCells(sum[i], figures.cells[i]);
      });
    }
    this.#gpuRow(row, scope, OTHER).figures.take(sum);
  }

  #gpuFigures(row: ScopeRow, scope: Pick<ScopeNode, 'path' | 'level'>, uuid: string): Figures {
    const known = row.gpus.get(uuid)?.figures ?? row.otherGpus.get(uuid);
    if (known) return known;
    // The first is within what the scope has taken already.
    const cost = row.gpus.size === 0 ? 0 : this.#options.seriesPerGpu;
    if (this.#budget.take(cost)) {
      this.cost += cost;
      return this.#gpuRow(row, scope, uuid).figures;
    }
    const folded = new Figures(this.#options.shown);
    row.otherGpus.set(uuid, folded);
    return folded;
  }

  #gpuRow(row: ScopeRow, { path, level }: Pick<ScopeNode, 'path' | 'level'>, uuid: string): GpuRow {
    let gpu = row.gpus.get(uuid);
    if (!gpu) {
      const scope = path === UNATTRIBUTED ? path : this.#options.names.path(this.run.owner, path);
      const labels = renderLabels({ run: this.label, level, scope, gpu: uuid });
      gpu = { labels, figures: new Figures(this.#options.shown) };
      row.gpus.set(uuid, gpu);
    }
    return gpu;
  }

  #admit(scope: ScopeNode): ScopeRow | null {
    let row = this.#byPath.get(scope.path);
    if (row !== undefined) return row;
    row = null;
    if (this.#budget.take(this.#options.seriesPerScope)) {
      this.cost += this.#options.seriesPerScope;
      row = this.#row(
        this.#options.names.path(this.run.owner, scope.path),
        scope.level,
        this.#options.inclusive,
      );
      this.rows.push(row);
    } else if (this.#other === null) {
      this.#other = this.#row(OTHER, OTHER, false);
      this.rows.push(this.#other);
    }
    this.#byPath.set(scope.path, row);
    return row;
  }

  /** What the run has beyond its admitted rows: by conservation, exactly what the folded scopes have. */
  #remainder(other: ScopeRow): Cells {
    return this.totals.cells.map((total, i) => {
      if (this.#options.shown[i]?.sums !== true) return undefined;
      let left = total;
      for (const row of this.rows) {
        if (row !== other) left = subtractCells(left, row.self.cells[i]);
      }
      return this.#options.shown[i]?.gauge ? left : greaterCell(left, other.self.cells[i]);
    });
  }

  #endAttempt(): void {
    this.totals.endAttempt();
    for (const row of this.rows) {
      // The remainder is taken of totals and rows over all attempts: it has no earlier part of its own.
      if (row !== this.#other) row.self.endAttempt();
      row.inclusive?.endAttempt();
      for (const figures of row.otherGpus.values()) figures.endAttempt();
      // What was folded is the sum of its parts over all attempts.
      for (const [uuid, gpu] of row.gpus) if (uuid !== OTHER) gpu.figures.endAttempt();
    }
    this.#bySlot.clear();
  }

  #row(scope: string, level: string, inclusive: boolean): ScopeRow {
    const labels = renderLabels({ run: this.label, level, scope });
    const { shown } = this.#options;
    return {
      labels,
      self: new Figures(shown),
      folded: scope === OTHER,
      gpus: new Map(),
      otherGpus: new Map(),
      inclusive: inclusive ? new Figures(shown) : null,
    };
  }
}

/**
 * The attempts between the last one that was summed up and the newest; `seen` serves where the store forgot. Attempts
 * may be numbered with gaps: a client may know of ones that ran elsewhere.
 */
export function* earlierAttempts(newest: Run, done: number, store: RunStore, seen: Run): Generator<Run> {
  if (newest.attempt - 1 <= done) return;
  const known = new Set(store.attempts(newest.key)).add(seen.attempt);
  const between = [...known].filter((attempt) => attempt > done && attempt < newest.attempt);
  for (const attempt of between.sort((a, b) => a - b).slice(-MAX_EARLIER_ATTEMPTS)) {
    const earlier = store.byKey(newest.key, attempt) ?? (seen.attempt === attempt ? seen : undefined);
    if (earlier !== undefined) yield earlier;
  }
}

/** A run's own families, and its rows for `unattributed` and `(other)`. */
export function runCost(options: SeriesOptions): number {
  return options.seriesPerRun + 2 * options.seriesPerScope;
}
