// A run as it is published at one moment: a document that is made in slices is of that moment, however often figures are
// published meanwhile. Owns a copy of the run's rows; names and the tree are the run's own.

import { FRAME_WORDS } from '../native/frame.js';
import type { ByGpu } from './gpu-rows.js';
import type { Progress, Run, ScopeNode } from './model.js';
import { Rows } from './rows.js';
import type { Scope } from './scopes.js';
import { Totals } from './totals.js';
import { type TrackedRun, UNATTRIBUTED_ROW } from './tracked-run.js';

export function frozenRun(run: TrackedRun): Run {
  const { words } = run.rows.committed;
  const rows = new Rows(words.length / FRAME_WORDS);
  rows.words.set(words);
  // The tree grows; what is in it stays.
  const scopes = [...run.tree.all()];
  const byGpu = run.gpus.frozen();
  function* still(): Generator<ScopeNode> {
    for (const scope of scopes) yield new FrozenScope(scope, { rows, byGpu, count: scopes.length + 1 });
  }
  const fixed = {
    figures: run.figures,
    totals: run.totals,
    limits: run.limits,
    phases: run.phases,
    unattributed: new Totals(rows, UNATTRIBUTED_ROW),
    unattributedByGpu: byGpu(run.unattributedSlot),
    version: run.version,
    scopeCount: scopes.length,
    scopes: still,
  };
  const properties = Object.entries(fixed).map(([name, value]) => [name, { value, enumerable: true }]);
  return Object.create(run, Object.fromEntries(properties) as PropertyDescriptorMap) as Run;
}

/** What was published when the run was frozen. */
interface Then {
  rows: Rows;
  byGpu: (slot: number) => ByGpu;
  /** Of the scopes that there were, with the unattributed remainder. */
  count: number;
}

class FrozenScope implements ScopeNode {
  readonly self: Totals;
  readonly #scope: Scope;
  readonly #then: Then;

  constructor(scope: Scope, then: Then) {
    this.#scope = scope;
    this.#then = then;
    this.self = new Totals(then.rows, scope.index);
  }

  get slot(): number {
    return this.#scope.slot;
  }
  get path(): string {
    return this.#scope.path;
  }
  get level(): string {
    return this.#scope.level;
  }
  get name(): string {
    return this.#scope.name;
  }
  get label(): string | undefined {
    return this.#scope.label;
  }
  get parent(): ScopeNode | null {
    return this.#scope.parent;
  }
  get children(): readonly ScopeNode[] {
    return this.#scope.children;
  }
  get progress(): Readonly<Progress> {
    return this.#scope.progress;
  }

  get byGpu(): ByGpu {
    return this.#then.byGpu(this.#scope.slot);
  }

  inclusive(): Totals {
    return Totals.sum(this.self, this.#selfBelow());
  }

  *#selfBelow(): Generator<Totals> {
    const waiting = [...this.#scope.children];
    for (let node = waiting.pop(); node; node = waiting.pop()) {
      if (node.index >= this.#then.count) continue;
      yield new Totals(this.#then.rows, node.index);
      waiting.push(...node.children);
    }
  }
}
