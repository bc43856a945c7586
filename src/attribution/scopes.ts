// The tree of scopes of one run. Owns the nodes; a node's figures are set by the ledger when they are committed.
// A scope is its path: sessions that define the same path share one node.

import { LezeaError } from '../errors.js';
import type { RunHandle, Slot } from '../native/addon.js';
import type { ByGpu, GpuRows } from './gpu-rows.js';
import type { Progress, ScopeNode } from './model.js';
import type { ScopeRecord } from './records.js';
import type { RowTable } from './rows.js';
import { Totals } from './totals.js';

const MAX_LABEL_CHARS = 1024;

export class Scope implements ScopeNode {
  readonly path: string;
  /** 1 for a root. */
  readonly depth: number;
  readonly children: Scope[] = [];
  /** As committed; `record.progress` runs ahead of it. */
  progress: Readonly<Progress>;
  /** As committed; another object whenever it changed, so that readers can tell. */
  self: Totals;
  readonly #tree: ScopeTree;
  #inclusive: { version: number; totals: Totals } | undefined;

  constructor(
    readonly record: ScopeRecord,
    readonly parent: Scope | null,
    /** Its place among the rows of the run. */
    readonly index: number,
    tree: ScopeTree,
  ) {
    this.#tree = tree;
    this.self = new Totals(tree.rows.committed, index);
    const step = `${record.level}:${record.name}`;
    this.path = parent ? `${parent.path}/${step}` : step;
    this.depth = parent ? parent.depth + 1 : 1;
    this.progress = { ...record.progress };
  }

  get slot(): Slot {
    return this.record.slot;
  }

  get level(): string {
    return this.record.level;
  }

  get name(): string {
    return this.record.name;
  }

  get label(): string | undefined {
    return this.record.label;
  }

  get byGpu(): ByGpu {
    return this.#tree.gpus.of(this.slot);
  }

  inclusive(): Totals {
    const { version } = this.#tree;
    if (this.#inclusive?.version !== version) {
      this.#inclusive = { version, totals: Totals.sum(this.self, this.#selfBelow()) };
    }
    return this.#inclusive.totals;
  }

  *#selfBelow(): Generator<Totals> {
    const waiting = [...this.children];
    for (let node = waiting.pop(); node; node = waiting.pop()) {
      yield node.self;
      waiting.push(...node.children);
    }
  }
}

export class ScopeTree {
  readonly roots: Scope[] = [];
  /** Goes up with everything that is published: what was summed before is void. */
  version = 0;
  readonly #byPath = new Map<string, Scope>();
  readonly #byIndex: (Scope | undefined)[] = [];
  readonly #bySlot = new Map<Slot, Scope>();

  constructor(
    readonly run: RunHandle,
    readonly rows: RowTable,
    readonly gpus: GpuRows,
  ) {}

  get size(): number {
    return this.#byPath.size;
  }

  get(path: string): Scope | undefined {
    return this.#byPath.get(path);
  }

  /** In the order of definition: parents before children. */
  all(): Iterable<Scope> {
    return this.#byPath.values();
  }

  find(parent: Scope | null, level: string, name: string): Scope | undefined {
    const step = `${level}:${name}`;
    return this.#byPath.get(parent ? `${parent.path}/${step}` : step);
  }

  /** Adds a node that is not there yet; names and limits are checked by the caller. */
  add(slot: Slot, parent: Scope | null, child: { level: string; name: string; label?: string }): Scope {
    const record: ScopeRecord = {
      slot,
      run: this.run,
      parent: parent?.slot ?? 0,
      level: child.level,
      name: child.name,
      progress: { steps: 0, episodes: 0 },
    };
    if (child.label !== undefined) record.label = child.label.slice(0, MAX_LABEL_CHARS);
    return this.#insert(record, parent, this.rows.add());
  }

  /** Puts a stored scope back, in the next row, as when it was added; its parent must be there already. */
  restore(record: ScopeRecord): Scope {
    const parent = record.parent === 0 ? null : this.#bySlot.get(record.parent);
    if (parent === undefined)
      throw new LezeaError('state', `stored scope ${record.slot} comes before its parent`);
    return this.#insert(record, parent, this.rows.add());
  }

  /** The row at this place was committed anew. */
  show(index: number): void {
    const scope = this.#byIndex[index];
    if (scope) scope.self = new Totals(this.rows.committed, index);
  }

  publishProgress({ slot, progress }: ScopeRecord): void {
    const scope = this.#bySlot.get(slot);
    if (scope) scope.progress = { ...progress };
  }

  #insert(record: ScopeRecord, parent: Scope | null, index: number): Scope {
    const scope = new Scope(record, parent, index, this);
    this.#byPath.set(scope.path, scope);
    this.#byIndex[index] = scope;
    this.#bySlot.set(scope.slot, scope);
    (scope.parent?.children ?? this.roots).push(scope);
    return scope;
  }
}
