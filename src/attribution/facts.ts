// What clients say of a run: JSON by key, merged (RFC 7386), one key's text at a time. Pure.

import { LezeaError } from '../errors.js';
import type { Limiter } from './limits.js';
import { redacted } from './secrets.js';

/** Facts of a run by their keys. */
export type Facts = Readonly<Record<string, unknown>>;

/** What a client found out about its own process; a later attempt is another process. */
export const CAPTURED = 'captured';

/** How many keys there are, and the bytes of their JSON. */
export interface FactsSize {
  count: number;
  bytes: number;
}

export interface FactsKnown {
  size: FactsSize;
  /** JSON; undefined where the key is not there. */
  text(key: string): string | undefined;
}

/** The keys that become others, as JSON; null: no longer there. Throws where a limit stands in the way, of all of them. */
export function mergeFacts(
  known: FactsKnown,
  changes: Facts,
  limiter: Limiter,
): { texts: Map<string, string | null>; size: FactsSize } {
  // Before anything goes into it: what is nested thousands of levels deep would overflow the stack.
  const { factLevels } = limiter.limits;
  if (Object.values(changes).some((change) => isDeeper(change, factLevels)))
    limiter.admitSize('factLevels', Number.POSITIVE_INFINITY);
  const texts = new Map<string, string | null>();
  const size = { ...known.size };
  for (const [key, change] of Object.entries(redacted(changes))) {
    const before = known.text(key);
    const value = merged(before === undefined ? undefined : JSON.parse(before), change, limiter, 1);
    const after = value === undefined ? undefined : JSON.stringify(value);
    if (after === before) continue;
    size.count += Number(after !== undefined) - Number(before !== undefined);
    size.bytes += bytesOf(key, after) - bytesOf(key, before);
    if (after !== undefined) limiter.admitSize('factBytes', bytesOf(key, after));
    texts.set(key, after ?? null);
  }
  limiter.admit('factsPerRun', size.count - 1);
  limiter.admitSize('factBytesPerRun', size.bytes);
  return { texts, size };
}

/** Whether lists and objects are nested in more levels than these; looks no deeper. */
export function isDeeper(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return levels === 0 || Object.values(value).some((inner) => isDeeper(inner, levels - 1));
}

function bytesOf(key: string, text: string | undefined): number {
  return text === undefined ? 0 : Buffer.byteLength(key) + Buffer.byteLength(text);
}

/** Objects are merged, null takes away, everything else takes the place of what was there. */
function merged(before: unknown, change: unknown, limiter: Limiter, level: number): unknown {
  if (level > limiter.limits.factLevels) limiter.admitSize('factLevels', Number.POSITIVE_INFINITY);
  if (Array.isArray(change))
    return change.map((one) => merged(undefined, one ?? undefined, limiter, level + 1) ?? null);
  if (typeof change !== 'object') return change;
  if (change === null) return undefined;
  const result = new Map(isObject(before) ? Object.entries(before) : []);
  for (const [key, inner] of Object.entries(change)) {
    const value = merged(result.get(key), inner, limiter, level + 1);
    if (value === undefined) result.delete(key);
    else result.set(key, value);
  }
  return Object.fromEntries(result);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** As they were stored. */
export function factsOf(texts: Iterable<readonly [string, string]>): Facts {
  return Object.fromEntries([...texts].map(([key, text]) => [key, readFact(text)]));
}

function readFact(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new LezeaError('state', 'a stored fact is not JSON', { cause: error });
  }
}
