// A summary of one node as it is read back from a tracker, where anybody may have written it: checked, and cut down to what
// a merge needs. Reads bytes; owns nothing.

import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { FinalStatus } from '../attribution/model.js';
import { parsePath } from '../attribution/names.js';
import { COLUMN_LIST, type Column, type ColumnName } from '../native/frame.js';
import { nativeOf } from './exact.js';
import { SUMMARY_SCHEMA } from './summary-document.js';

/** Figures in native integers. */
export type Natives = Partial<Record<ColumnName, bigint>>;

/** More than any machine can use, and of 40 digits in native units, as the books: sums of them stay numbers. */
const MAX_FIGURE = 1e31;
const figure = z.number().min(0).max(MAX_FIGURE);
const figures = z.record(z.string(), figure);
const integer = z.string().regex(/^\d{1,40}$/);
/** There is no year 0 in Python, which reads it too. */
const time = z.iso.datetime().regex(/^(?!0000)/);

const SCHEMA = z.object({
  schema: z.literal(SUMMARY_SCHEMA),
  run: z.object({
    id: z.string(),
    experiment: z.string().optional(),
    name: z.string().optional(),
    attempt: z.int().min(1),
    status: z.enum(['FINISHED', 'INTERRUPTED', 'FAILED', 'KILLED', 'LOST'] satisfies FinalStatus[]),
    reason: z.string().optional(),
    user: z.string(),
    started_at: time,
    ended_at: time.optional(),
    tags: z.record(z.string(), z.string()),
    world_size: z.int().min(1).optional(),
  }),
  node: z.object({
    name: z.string().min(1),
    boot_id: z.string(),
    architecture: z.string(),
    kernel: z.string(),
    cpus: z.int().min(0),
    memory_bytes: z.int().min(0),
  }),
  environment: z.object({ fingerprint: z.string() }).optional(),
  totals: z.record(
    z.string(),
    z.object({
      value: figure,
      method: z.enum(['measured', 'estimated']),
      scopes_method: z.enum(['measured', 'apportioned', 'estimated']).optional(),
      source: z.string(),
      coverage: z.number().min(0).max(1).optional(),
    }),
  ),
  scopes: z.array(
    z.object({
      path: z.string().refine((path) => parsePath(path) !== undefined),
      level: z.string(),
      name: z.string(),
      label: z.string().optional(),
      parent: z.string().nullable(),
      self: figures,
      inclusive: figures,
    }),
  ),
  unattributed: figures,
  conservation: z.record(
    z.string(),
    z.object({ scopes: integer, unattributed: integer, total: integer, residual: z.literal('0') }),
  ),
  agent: z.object({ version: z.string(), lost_events: z.int().min(0) }),
});

type Document = z.infer<typeof SCHEMA>;

/** One node's document of one attempt. */
export interface NodeSummary extends Document {
  /** Of the bytes. */
  sha256: string;
}

/** Undefined for what is no node's summary of that run. A merge is none either: it has no `node`. */
export function readNodeSummary(bytes: Buffer, runId: string): NodeSummary | undefined {
  const read = SCHEMA.safeParse(jsonOf(bytes));
  if (!read.success || read.data.run.id !== runId) return undefined;
  return { ...read.data, sha256: createHash('sha256').update(bytes).digest('hex') };
}

/** Hashes of the documents that a merge was made from; undefined for what is no merge. */
export function mergedFrom(bytes: Buffer): string[] | undefined {
  const read = z.object({ merged_from: z.array(z.object({ sha256: z.string() })) }).safeParse(jsonOf(bytes));
  return read.success ? read.data.merged_from.map(({ sha256 }) => sha256) : undefined;
}

/** The known columns of a list of figures as integers. */
export function nativesOf(columns: Readonly<Record<string, number>>): Natives {
  const natives: Natives = {};
  for (const column of COLUMN_LIST) {
    const value = columns[column.name];
    if (value !== undefined) natives[column.name] = nativeOf(value, column.unit);
  }
  return natives;
}

/** The whole run's figure: as the books have it, which passes what a double can hold. */
export function totalOf(document: NodeSummary, { name, unit }: Column): bigint | undefined {
  const total = document.totals[name];
  if (!total) return undefined;
  const line = document.conservation[name];
  return line ? BigInt(line.total) : nativeOf(total.value, unit);
}

function jsonOf(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString());
  } catch {
    return undefined; // An upload that is under way or was cut short, or something else altogether.
  }
}
