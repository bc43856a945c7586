// Runs made up for the tests of metrics and HTTP: totals are set by hand, nothing is sampled.

import type { Owner, Run, RunStore, RunSummary, ScopeNode } from '../../../src/attribution/model.js';
import { Totals } from '../../../src/attribution/totals.js';
import { type ColumnName, columnOf, emptyRow } from '../../../src/native/frame.js';

type Values = Partial<Record<ColumnName, number | bigint>> & { memory_bytes?: number };

/** Totals that know exactly these columns, in native units. */
export function totals(values: Values): Totals {
  const row = emptyRow(0);
  for (const [name, value] of Object.entries(values)) {
    if (name === 'memory_bytes') {
      row[1] = (row[1] ?? 0n) | (1n << 63n);
      row[2] = BigInt(value);
      continue;
    }
    const column = columnOf(name as ColumnName);
    row[1] = (row[1] ?? 0n) | (1n << BigInt(column.index));
    row[column.word] = BigInt.asUintN(64, BigInt(value));
    if (column.unit === 'byte_ns') row[column.word + 1] = BigInt(value) >> 64n;
  }
  return Totals.fromRow(row);
}

/** Totals.plus leaves out peaks, which do not add up; the first figures of a thing are taken whole. */
function sum(before: Totals, more: Totals): Totals {
  return before === Totals.none ? more : before.plus(more);
}

let nextNumber = 1;

export class FakeScope implements ScopeNode {
  readonly slot = nextNumber++;
  readonly children: FakeScope[] = [];
  readonly progress = { steps: 0, episodes: 0 };
  readonly level: string;
  readonly name: string;
  self = Totals.none;
  byGpu: ReadonlyMap<string, Totals> = new Map();

  constructor(
    readonly path: string,
    readonly parent: FakeScope | null,
  ) {
    const step = path.split('/').at(-1) ?? '';
    this.level = step.slice(0, step.indexOf(':'));
    this.name = step.slice(step.indexOf(':') + 1);
    parent?.children.push(this);
  }

  inclusive(): Totals {
    return this.children.reduce((sum, child) => sum.plus(child.inclusive()), this.self);
  }
}

export interface FakeRunOptions {
  runId: string;
  uid?: number;
  key?: string;
  attempt?: number;
  experiment?: string;
  name?: string;
  startedAtMs?: number;
}

export class FakeRun implements Run {
  readonly handle = nextNumber++;
  readonly key: string;
  readonly runId: string;
  readonly owner: Owner;
  readonly attempt: number;
  readonly experiment?: string;
  readonly name?: string;
  readonly tags = {};
  readonly tracker = {};
  status: Run['status'] = 'RUNNING';
  readonly startedAtMs: number;
  endedAtMs?: number;
  readonly unattributedSlot = nextNumber++;
  unattributed = Totals.none;
  unattributedByGpu: ReadonlyMap<string, Totals> = new Map();
  totals = Totals.none;
  version = 0;
  readonly coverage = { observedNs: 1n, elapsedNs: 1n, ratio: 1 };
  readonly lostEvents = 0n;
  readonly residualColumns = [];
  readonly estimatedMask = 0;
  readonly apportionedMask = 0;
  readonly phases = [];
  limits: Run['limits'] = [];
  readonly progress = { steps: 0, episodes: 0 };
  processes = 1;
  readonly all: FakeScope[] = [];

  constructor(options: FakeRunOptions) {
    this.runId = options.runId;
    this.owner = { uid: options.uid ?? 1000, pidNamespace: 1n };
    this.key = options.key ?? `${this.owner.uid}-${options.runId}`;
    this.attempt = options.attempt ?? 1;
    this.startedAtMs = options.startedAtMs ?? 1_700_000_000_000;
    if (options.experiment !== undefined) this.experiment = options.experiment;
    if (options.name !== undefined) this.name = options.name;
  }

  get roots(): FakeScope[] {
    return this.all.filter((scope) => scope.parent === null);
  }

  get scopeCount(): number {
    return this.all.length;
  }

  scopes(): FakeScope[] {
    return this.all;
  }

  scope(path: string): FakeScope | undefined {
    return this.all.find((scope) => scope.path === path);
  }

  method(): 'measured' {
    return 'measured';
  }

  /** Defines a scope, its ancestors too. */
  define(path: string): FakeScope {
    const known = this.scope(path);
    if (known !== undefined) return known;
    const cut = path.lastIndexOf('/');
    const scope = new FakeScope(path, cut < 0 ? null : this.define(path.slice(0, cut)));
    this.all.push(scope);
    this.version++;
    return scope;
  }

  /** Adds to a scope (or to unattributed, path null) and to the run. */
  spend(path: string | null, values: Values): void {
    const more = totals(values);
    if (path === null) this.unattributed = sum(this.unattributed, more);
    else {
      const scope = this.define(path);
      scope.self = sum(scope.self, more);
    }
    this.totals = sum(this.totals, more);
    this.version++;
  }

  frozen(): this {
    return this;
  }

  end(atMs: number): void {
    this.status = 'FINISHED';
    this.endedAtMs = atMs;
    this.processes = 0;
    this.version++;
  }
}

/** Keeps every run it is given; `recent` shows those that `hide` did not take away. */
export class FakeStore implements RunStore {
  readonly runs: FakeRun[] = [];
  readonly #hidden = new Set<FakeRun>();

  add(options: FakeRunOptions): FakeRun {
    const run = new FakeRun(options);
    this.runs.push(run);
    return run;
  }

  hide(run: FakeRun): void {
    this.#hidden.add(run);
  }

  live(): FakeRun[] {
    return this.runs.filter((run) => run.endedAtMs === undefined);
  }

  recent(): FakeRun[] {
    return this.runs.filter((run) => !this.#hidden.has(run));
  }

  get(owner: Owner, runId: string, attempt?: number): FakeRun | undefined {
    return this.#newest(
      (run) => run.owner.uid === owner.uid && run.runId === runId && run.attempt === (attempt ?? run.attempt),
    );
  }

  byKey(key: string, attempt?: number): FakeRun | undefined {
    return this.#newest((run) => run.key === key && run.attempt === (attempt ?? run.attempt));
  }

  attempts(key: string): number[] {
    return this.runs.filter((run) => run.key === key).map((run) => run.attempt);
  }

  find(runId: string): FakeRun[] {
    const keys = new Set(this.runs.filter((run) => run.runId === runId).map((run) => run.key));
    return [...keys].map((key) => this.byKey(key) as FakeRun);
  }

  list(limit: number): RunSummary[] {
    return this.runs.slice(0, limit);
  }

  endedProcesses(): [] {
    return [];
  }

  events(): [] {
    return [];
  }

  facts(): Record<string, unknown> {
    return {};
  }

  on(): () => void {
    return () => undefined;
  }

  #newest(fits: (run: FakeRun) => boolean): FakeRun | undefined {
    return this.runs.filter(fits).sort((a, b) => b.attempt - a.attempt)[0];
  }
}
