// The schema of a run's document, resources/summary.json, from which docs/schemas/summary.json and the types in
// summary-document.ts are made: of one node, and as several nodes' are merged. It checks nothing that the agent writes while
// it runs: what reads a stranger's document (node-summary.ts) asks for less. Numbers are in base units; what is not known has no key.

import { z } from 'zod';
import type { FinalStatus, RunStatus } from '../attribution/model.js';
import { RUN_LIMIT_NAMES } from '../attribution/run-limits.js';
import { COLUMN_LIST, type Column, type ColumnName } from '../native/frame.js';
import { RESOURCE_NAMES } from './cost-rates.js';
import { SUMMARY_SCHEMA } from './summary-document.js';

const time = z.iso.datetime().describe('ISO 8601, UTC.');
const amount = z.number().min(0);
const count = z.int().min(0);
const share = z.number().min(0).max(1);
const columnName = z.enum(COLUMN_LIST.map(({ name }) => name) as [ColumnName, ...ColumnName[]]);
const columns = z.partialRecord(columnName, amount);
const progress = z.strictObject({ steps: amount, episodes: amount });
const final = ['FINISHED', 'FAILED', 'INTERRUPTED', 'KILLED', 'LOST'] as const satisfies FinalStatus[];
const live = ['REGISTERED', 'RUNNING', 'FINISHING'] as const satisfies RunStatus[];

const method = z.enum(['measured', 'estimated']);
const dividedBy = z.enum(['measured', 'apportioned', 'estimated']);

export const total = z.strictObject({
  value: amount.describe('In the column’s base unit.'),
  method: method.describe('How it was got: docs/meaning.md, rule 9.'),
  scopes_method: dividedBy
    .optional()
    .describe('How it was divided among scopes; absent where there are none.'),
  source: z.string().describe('What it was read from, a stable word.'),
  coverage: share.optional().describe('Share of the run’s time that was observed.'),
});

export const mergedTotal = total.extend({
  nodes: z
    .record(z.string(), amount)
    .optional()
    .describe('Of a peak: each node’s, of which `value` is the greatest.'),
  unknown_on: z
    .array(z.string())
    .optional()
    .describe('Nodes that do not know this figure: `value` is what the others have.'),
});

const byGpu = z.record(z.string(), columns);

export const gpu = z.strictObject({
  uuid: z.string(),
  totals: columns.describe('Sums over the scopes and what is unattributed.'),
});

export const scope = z.strictObject({
  path: z.string(),
  level: z.string(),
  name: z.string(),
  label: z.string().optional().describe('The name before it was encoded or shortened.'),
  parent: z.string().nullable().describe('Path of the scope it lies in; null at the root.'),
  self: columns,
  inclusive: columns,
  by_gpu: byGpu
    .optional()
    .describe('Of `self`, what is of each GPU, by UUID; a peak is of everything below too.'),
  progress: progress.optional(),
});

const integer = z.string().regex(/^\d+$/);

export const conservation = z
  .strictObject({
    unit: z.enum([...new Set(COLUMN_LIST.map(({ unit }) => unit))] as [Column['unit'], ...Column['unit'][]]),
    scopes: integer.describe('Σ self over the scopes.'),
    unattributed: integer,
    total: integer,
    residual: z.string().describe('total − scopes − unattributed; always "0".'),
  })
  .describe('One column’s sum, in native integers as decimal strings: they pass 2^53.');

const exit = z.strictObject({
  code: z.int().optional(),
  signal: z.int().optional(),
  oom_killed: z.literal(true).optional(),
  released: z.literal(true).optional().describe('It left the run alive.'),
});

export const endedProcess = z.strictObject({
  pid: z.int().min(1),
  start: count.describe(
    'Clock ticks since boot; with the node’s boot id and the pid, the process’s identity.',
  ),
  parent: count,
  exe: z.string(),
  comm: z.string(),
  exit: exit.optional().describe('Absent where how it ended is not known.'),
  duration_seconds: amount.describe('From its first to its last sample.'),
  totals: columns,
});

export const restOfProcesses = z.strictObject({
  rest: z.literal(true),
  count: count.describe(
    'How many processes the line stands for; what the run used beyond those that were seen adds none.',
  ),
  totals: columns,
});

export const phase = z.strictObject({
  name: z.string().nullable().describe('null: before the first phase was named.'),
  started_at: time,
  ended_at: time.optional(),
  totals: columns,
});

export const node = z.strictObject({
  name: z.string(),
  boot_id: z.string(),
  architecture: z.string(),
  kernel: z.string(),
  cpus: count,
  memory_bytes: count,
});

export const environment = z
  .strictObject({
    fingerprint: z.string().describe('The stable one of the node.'),
    run_fingerprint: z.string().optional().describe('The same with the run’s stable facts.'),
  })
  .describe('Fingerprints of environment/full.json.');

export const limit = z.strictObject({
  limit: z.enum(RUN_LIMIT_NAMES),
  scope: z.string().optional(),
  level: z.string().optional(),
  experiment: z.string().optional(),
  value: z.number().positive(),
  used: amount.optional().describe('Absent: not known; then so is what follows from it.'),
  remaining: amount.optional(),
  ratio: amount.optional(),
  state: z.enum(['ok', 'warned', 'exceeded', 'unknown']),
});

const run = z.strictObject({
  id: z.string(),
  experiment: z.string().optional(),
  name: z.string().optional(),
  attempt: z.int().min(1),
  status: z.enum([...live, ...final]),
  reason: z.string().optional(),
  user: z.string(),
  started_at: time,
  ended_at: time.optional(),
  tags: z.record(z.string(), z.string()),
  rank: count.optional(),
  world_size: z.int().min(1).optional(),
  progress: progress.optional(),
  elapsed_seconds: amount.optional().describe('From the first to the last sample.'),
  cpu_windows: z
    .strictObject({ count, busiest_cpus: amount })
    .optional()
    .describe(
      'Its CPU time in windows of a second or little more: how many there were, and CPUs used in the busiest one.',
    ),
  processes: count.describe('Processes alive when this was written; 0 once the run has ended.'),
  cgroup: z.string().optional(),
});

/** The document without its long lists: what comes before the scopes. */
export const head = z.strictObject({
  schema: z.literal(SUMMARY_SCHEMA),
  run,
  node,
  environment: environment.optional(),
  totals: z.partialRecord(columnName, total),
  phases: z.array(phase).optional().describe('Only where the run named one; together they are its totals.'),
  limits: z
    .record(z.string(), limit)
    .optional()
    .describe('By `NAME`, `NAME@SCOPE`, `NAME@LEVEL`, `experiment.NAME`; only where there is one.'),
  cost: z
    .strictObject({
      currency: z.string().describe('`cost.currency`, ISO 4217.'),
      total: amount.describe('As in business/cost_analysis_summary.json, which has every scope.'),
      gpu_basis: z
        .enum(['active', 'allocated'])
        .optional()
        .describe('What of a GPU was paid for, `cost.gpu_basis`; absent where no GPU was.'),
      unpriced: z
        .array(z.enum(RESOURCE_NAMES))
        .describe('What is not in the total: not measured, or without a rate.'),
    })
    .optional()
    .describe('Only where something that was used has a price.'),
});

/** What comes after the scopes. */
export const tail = z.strictObject({
  unattributed: columns,
  conservation: z.partialRecord(columnName, conservation),
  gpus: z.array(gpu).optional().describe('What the run had of each GPU; absent where it used none.'),
});

export const agent = z.strictObject({
  version: z.string(),
  overhead_cpu_seconds: amount.optional().describe('CPU the agent itself has used since it started.'),
  lost_events: count,
  coverage: share.optional().describe('Share of the run’s time that was observed.'),
});

export const summary = z
  .strictObject({
    ...head.shape,
    ...tail.shape,
    scopes: z.array(scope),
    processes: z
      .array(z.union([endedProcess, restOfProcesses]))
      .describe('Ended ones, and one line for those that are not listed one by one.'),
    agent,
  })
  .meta({ title: 'Resources of a run on one node' });

export const mergedSummary = z
  .strictObject({
    ...summary.pick({ schema: true, unattributed: true, conservation: true, scopes: true }).shape,
    merged_from: z
      .array(z.strictObject({ node: z.string(), attempt: z.int().min(1), sha256: z.string() }))
      .min(1)
      .describe('The nodes’ documents that it was made of: by this a merge is known for what it is.'),
    run: run
      .omit({
        rank: true,
        processes: true,
        cgroup: true,
        progress: true,
        elapsed_seconds: true,
        cpu_windows: true,
      })
      .extend({ status: z.enum(final) }),
    nodes: z.array(node).describe('Each machine once, however many documents come from it.'),
    environments: z
      .record(z.string(), z.string())
      .optional()
      .describe('Stable fingerprints by node, of each node’s last attempt, where they are known.'),
    hosts: z.strictObject({ count, cpus: count, memory_bytes: count }).describe('Of the machines together.'),
    totals: z.partialRecord(columnName, mergedTotal),
    agent: z.strictObject({ versions: z.array(z.string()), lost_events: count }),
  })
  .meta({ title: 'Resources of a run on several nodes, merged' });

/** JSON Schema, draft 2020-12. */
export function summarySchema(): string {
  const schema = z.toJSONSchema(z.union([summary, mergedSummary]));
  return `${JSON.stringify({ $id: SUMMARY_SCHEMA, title: 'Resources of a run', ...schema }, null, 2)}\n`;
}
