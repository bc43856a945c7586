// The list of configuration keys, read off the zod schema: dotted name, kind, default and meaning of each. Emits what
// the loader, the reference and the hints need; owns nothing.

import { z } from 'zod';
import { distance, nearest } from '../nearest.js';
import { configSchema, type KeyMeta } from './schema.js';

/** How a text from the environment or a flag becomes a value. */
export type KeyKind = 'number' | 'boolean' | 'string' | 'list' | 'number list';

export interface ConfigKey {
  /** Dotted name, e.g. `sampling.interval_ms`. */
  name: string;
  kind: KeyKind;
  fallback: unknown;
  meta: KeyMeta;
}

/** A heading of the reference: a section and the keys directly in it. */
export interface ConfigSection {
  name: string;
  description: string;
  keys: ConfigKey[];
}

function unwrap(type: z.ZodType): z.ZodType {
  let inner = type;
  while (
    inner instanceof z.ZodDefault ||
    inner instanceof z.ZodPrefault ||
    inner instanceof z.ZodNullable ||
    inner instanceof z.ZodPipe
  ) {
    inner = (inner instanceof z.ZodPipe ? inner.in : inner.unwrap()) as z.ZodType;
  }
  return inner;
}

function kindOf(type: z.ZodType): KeyKind {
  const inner = unwrap(type);
  if (inner instanceof z.ZodNumber) return 'number';
  if (inner instanceof z.ZodBoolean) return 'boolean';
  if (inner instanceof z.ZodArray) {
    return unwrap(inner.element as z.ZodType) instanceof z.ZodNumber ? 'number list' : 'list';
  }
  return 'string';
}

function walk(object: z.ZodObject, prefix: string, description: string): ConfigSection[] {
  const own: ConfigSection = { name: prefix, description, keys: [] };
  const below: ConfigSection[] = [];
  for (const [part, type] of Object.entries(object.shape as Record<string, z.ZodType>)) {
    const name = prefix === '' ? part : `${prefix}.${part}`;
    const inner = unwrap(type);
    if (inner instanceof z.ZodObject) {
      below.push(...walk(inner, name, type.meta()?.description ?? ''));
    } else {
      const fallback = type instanceof z.ZodDefault ? type.def.defaultValue : undefined;
      own.keys.push({ name, kind: kindOf(type), fallback, meta: type.meta() as unknown as KeyMeta });
    }
  }
  return own.keys.length > 0 ? [own, ...below] : below;
}

/** Sections in the schema's order; keys outside any section are under the empty name. */
export const CONFIG_SECTIONS: readonly ConfigSection[] = walk(configSchema, '', '');

export const CONFIG_KEYS: ReadonlyMap<string, ConfigKey> = new Map(
  CONFIG_SECTIONS.flatMap((section) => section.keys).map((entry) => [entry.name, entry]),
);

/** Environment variable of a key: `sampling.interval_ms` is LEZEA_MONITOR_SAMPLING__INTERVAL_MS. */
export function environmentName(key: string): string {
  return `LEZEA_MONITOR_${key.replaceAll('.', '__').toUpperCase()}`;
}

/** The known key or section whose name is nearest to a mistyped one, if any is near enough to be meant. */
export function nearestKey(mistyped: string): string | undefined {
  const names = new Set<string>();
  for (const name of CONFIG_KEYS.keys()) {
    const parts = name.split('.');
    for (let depth = 1; depth <= parts.length; depth++) names.add(parts.slice(0, depth).join('.'));
  }
  // A right last word in the wrong section is as near as one typing slip.
  return nearest(mistyped, names, (short, name) =>
    name.endsWith(`.${short.split('.').at(-1)}`) ? 1 : distance(short, name),
  );
}

/** Puts a value at a dotted key, making the sections on the way. */
export function setAt(root: object, key: string, value: unknown): void {
  const parts = key.split('.');
  const last = parts.pop() as string;
  let at = root as Record<string, unknown>;
  for (const part of parts) {
    at[part] ??= {};
    at = at[part] as Record<string, unknown>;
  }
  at[last] = value;
}

/** The value at a dotted key. */
export function valueAt(root: object, key: string): unknown {
  let at: unknown = root;
  for (const part of key.split('.')) at = (at as Record<string, unknown>)[part];
  return at;
}
