// The rules for what runs, levels and scopes may be called. Reads and owns nothing.
// A name never becomes a path: folders have a key of the agent's making.

import { DEFAULT_LIMITS } from './limits.js';

const RUN_ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const LEVEL = /^[a-z][a-z0-9_]*$/;
// Control characters, lone surrogates, line and paragraph separators, and the marks that reorder text on a terminal.
const UNPRINTABLE = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\u202A-\u202E\u2066-\u2069/]/u;
/** Level words that mean something else in metric and artifact names. */
const RESERVED_LEVELS = new Set(['inclusive', 'total', 'nodes', 'attempts']);

/** Longest level, scope or run name, bytes of UTF-8. */
export const MAX_NAME_BYTES = DEFAULT_LIMITS.nameBytes;

export function isRunId(text: string): boolean {
  return RUN_ID.test(text);
}

/** Why a name of a scope or run is refused; undefined when it is fine. */
export function nameFault(name: string): string | undefined {
  if (name.length === 0) return 'the name is empty';
  if (Buffer.byteLength(name) > MAX_NAME_BYTES) return `the name is longer than ${MAX_NAME_BYTES} bytes`;
  if (UNPRINTABLE.test(name)) return 'the name has a character that is not printable, or a slash';
  return undefined;
}

/** Why a level is refused; undefined when it is fine. */
export function levelFault(level: string): string | undefined {
  if (!LEVEL.test(level)) return 'the level is not a lower-case word ([a-z][a-z0-9_]*)';
  if (level.length > MAX_NAME_BYTES) return `the level is longer than ${MAX_NAME_BYTES} bytes`;
  if (RESERVED_LEVELS.has(level)) return `the level ${level} is reserved`;
  return undefined;
}

/** The steps of a path `level:name/level:name`; undefined when it is not one. */
export function parsePath(path: string): { level: string; name: string }[] | undefined {
  const steps: { level: string; name: string }[] = [];
  for (const step of path.split('/')) {
    const colon = step.indexOf(':');
    if (colon < 1 || colon === step.length - 1) return undefined;
    steps.push({ level: step.slice(0, colon), name: step.slice(colon + 1) });
  }
  return steps;
}

/** A run id for a run that nobody named, e.g. `20261121-104312-3fa9c1` (UTC). */
export function makeRunId(nowMs: number, random: Buffer): string {
  const digits = new Date(nowMs).toISOString().replace(/[-:]/g, '');
  return `${digits.slice(0, 8)}-${digits.slice(9, 15)}-${random.toString('hex').slice(0, 6)}`;
}
