// A run made of plain values, as far as documents look at one. Owns nothing.

import type { Phase, ProcessTotals, Run, ScopeNode } from '../../../src/attribution/model.js';
import { Totals } from '../../../src/attribution/totals.js';
import { type ColumnName, columnOf, emptyRow } from '../../../src/native/frame.js';

/** Totals from native integers (ns, bytes, counts; byte·ns). */
export function totals(values: Partial<Record<ColumnName, bigint>>): Totals {
  const row = emptyRow(1);
  for (const [name, value] of Object.entries(values) as [ColumnName, bigint][]) {
    const column = columnOf(name);
    row[1]! |= 1n << BigInt(column.index);
    row[column.word] = value & ((1n << 64n) - 1n);
    if (column.unit === 'byte_ns') row[column.word + 1] = value >> 64n;
  }
  return Totals.fromRow(row);
}

export interface FakeScope {
  step: string;
  self: Totals;
  byGpu?: ReadonlyMap<string, Totals>;
  children?: FakeScope[];
}

function node(fake: FakeScope, parent: ScopeNode | null): ScopeNode {
  const [level = '', name = ''] = fake.step.split(':');
  const children: ScopeNode[] = [];
  const scope: ScopeNode = {
    slot: 1,
    path: parent ? `${parent.path}/${fake.step}` : fake.step,
    level,
    name,
    parent,
    children,
    self: fake.self,
    byGpu: fake.byGpu ?? new Map(),
    inclusive: () => children.reduce((sum, child) => sum.plus(child.inclusive()), fake.self),
    progress: { steps: 0, episodes: 0 },
  };
  for (const child of fake.children ?? []) children.push(node(child, scope));
  return scope;
}

function* walk(scopes: readonly ScopeNode[]): Generator<ScopeNode> {
  for (const scope of scopes) {
    yield scope;
    yield* walk(scope.children);
  }
}

export function fakeRun(parts: {
  scopes: FakeScope[];
  unattributed: Totals;
  totals: Totals;
  estimatedMask?: number;
  phases?: Phase[];
  unattributedByGpu?: ReadonlyMap<string, Totals>;
}): Run {
  const roots = parts.scopes.map((scope) => node(scope, null));
  const all = [...walk(roots)];
  return {
    handle: 1,
    key: 'a1b2c3d4e5f60718',
    runId: 'demo-1',
    owner: { uid: 0, pidNamespace: 4026531836n },
    attempt: 1,
    experiment: 'demo',
    tags: { size: 'small' },
    tracker: {},
    status: 'FINISHED',
    startedAtMs: Date.UTC(2026, 10, 21, 10, 0, 0),
    endedAtMs: Date.UTC(2026, 10, 21, 10, 0, 10),
    roots,
    scopeCount: all.length,
    scopes: () => all,
    scope: (path) => all.find((scope) => scope.path === path),
    unattributedSlot: 9,
    unattributed: parts.unattributed,
    unattributedByGpu: parts.unattributedByGpu ?? new Map(),
    totals: parts.totals,
    version: 1,
    coverage: { observedNs: 999n, elapsedNs: 1000n, ratio: 0.999 },
    lostEvents: 2n,
    cpuWindows: { count: 9, busiestCpus: 1.75, open: { elapsedNs: '900', cpuNs: '9' } },
    residualColumns: [],
    estimatedMask: parts.estimatedMask ?? 0,
    apportionedMask: 1,
    method: (column) => (column === 'cpu_seconds' ? 'apportioned' : 'measured'),
    phases: parts.phases ?? [],
    progress: { steps: 3, episodes: 0 },
    limits: [],
    processes: 0,
    frozen() {
      return this;
    },
  };
}

export function fakeProcess(over: Partial<ProcessTotals> = {}): ProcessTotals {
  return {
    pid: 4711,
    startTicks: 123456n,
    parent: 4000,
    exe: '/usr/bin/python3',
    comm: 'python3',
    totals: totals({ cpu_seconds: 2_500_000_000n }),
    exitCode: 0,
    startedMonoNs: 1_000_000_000n,
    endedMonoNs: 4_000_000_000n,
    released: false,
    count: 1,
    ...over,
  };
}

/** A run of two scopes that uses every kind of column; CPU passes 2^53 ns. */
export function exampleRun(over: { estimatedMask?: number } = {}): Run {
  const big = 9_007_199_254_740_993n; // 2^53 + 1
  return fakeRun({
    scopes: [
      {
        step: 'builder:b0',
        self: totals({ cpu_seconds: 1_000_000_000n, active_seconds: 2_000_000_000n, activations: 1n }),
        children: [
          {
            step: 'tasker:t1',
            self: totals({
              cpu_seconds: big,
              memory_byte_seconds: (1n << 64n) + 5n,
              active_seconds: 1_000_000_000n,
              activations: 3n,
            }),
          },
        ],
      },
    ],
    unattributed: totals({
      cpu_seconds: 500_000_000n,
      cpu_user_seconds: 1_000_000_000n,
      memory_byte_seconds: 5n,
    }),
    totals: totals({
      cpu_seconds: big + 1_500_000_000n,
      cpu_user_seconds: 1_000_000_000n,
      memory_byte_seconds: (1n << 64n) + 10n,
      memory_peak_bytes: 123_456_789n,
    }),
    ...over,
  });
}
