// What tells two environments apart. Pure.

import { createHash } from 'node:crypto';
import type { Environment } from './document.js';
import { isStableFact } from './stable-facts.js';

/** JSON without space, keys in order of their UTF-16 code units, absent values left out: the same for the same content. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map((one) => canonicalJson(one ?? null)).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const fields = Object.entries(value)
    .filter(([, one]) => one !== undefined)
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([key, one]) => `${JSON.stringify(key)}:${canonicalJson(one)}`);
  return `{${fields.join(',')}}`;
}

/** Lower-case hexadecimal SHA-256 of the canonical JSON. */
export function fingerprintOf(value: unknown): string {
  return createHash('sha256').update(canonicalJson(value)).digest('hex');
}

/** One value that two environments do not share. */
export interface Difference {
  /** Dotted, e.g. `hardware.cpu.microcode`. */
  path: string;
  /** Part of the stable fingerprint. */
  stable: boolean;
  /** Absent: it has none. */
  a?: unknown;
  b?: unknown;
}

/** Everything in which two environments differ, in the document's order. */
export function differences(a: Environment, b: Environment): Difference[] {
  return [
    ...below('hardware', a.hardware, b.hardware, true),
    ...below('software', a.software, b.software, true),
    ...below('volatile', a.volatile, b.volatile, false),
    // Of a node by itself nobody said anything.
    ...(a.run && b.run ? below('run.facts', a.run.facts, b.run.facts, isStableFact) : []),
  ];
}

function* below(
  path: string,
  a: unknown,
  b: unknown,
  stable: boolean | ((path: string) => boolean),
): Generator<Difference> {
  if (isTree(a) && isTree(b)) {
    const keys = new Set([...Object.keys(a), ...Object.keys(b)]);
    for (const key of keys) yield* below(`${path}.${key}`, a[key], b[key], stable);
    return;
  }
  if (a === b) return;
  const counts = typeof stable === 'boolean' ? stable : stable(path);
  yield { path, stable: counts, ...(a !== undefined && { a }), ...(b !== undefined && { b }) };
}

/** An object or a list: a list's keys are its indices. */
function isTree(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
