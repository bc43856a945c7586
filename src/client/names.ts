// Scope names and levels: any id becomes a name that every part of the system accepts, the same as the Python client's
// (python/lezea_monitor/names.py), so that both name one scope alike. Never throws; owns nothing.

import { createHash } from 'node:crypto';

const MAX_NAME_BYTES = 128;
const MAX_LABEL_CHARS = 512;
const HASH_DIGITS = 16;
const RESERVED_LEVELS = new Set(['inclusive', 'total', 'nodes', 'attempts']);
const LEVEL = /^[a-z][a-z0-9_]{0,127}$/;
/** What is not printable (the space is), and what means something in a path or in this encoding. */
const TO_ESCAPE = /(?! )[\p{C}\p{Z}/:%]/gu;

export interface EncodedName {
  name: string;
  /** What it was before; absent where it is the same. */
  label?: string;
}

export function encodeName(value: unknown): EncodedName {
  const original = String(value);
  let name = original.replace(TO_ESCAPE, escapeCharacter) || '(empty)';
  if (Buffer.byteLength(name) > MAX_NAME_BYTES) name = shorten(name, original);
  return name === original
    ? { name }
    : { name, label: Buffer.from(original).toString().slice(0, MAX_LABEL_CHARS) };
}

/** The level word; what is not one is lowered, its other characters become `_`. */
export function cleanLevel(value: unknown): string {
  let level = String(value);
  if (!LEVEL.test(level)) {
    level = level
      .toLowerCase()
      .replace(/[^a-z0-9_]/gu, '_')
      .slice(0, 120);
    if (!/^[a-z]/.test(level)) level = `level_${level}`;
  }
  return RESERVED_LEVELS.has(level) ? `${level}_` : level;
}

function escapeCharacter(character: string): string {
  return [...utf8(character)].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join('');
}

/** Keeps the beginning and replaces the rest by a hash of the whole original. */
function shorten(encoded: string, original: string): string {
  const digest = createHash('sha256').update(utf8(original)).digest('hex').slice(0, HASH_DIGITS);
  const head = Buffer.from(encoded).subarray(0, MAX_NAME_BYTES - HASH_DIGITS - 1);
  // A character that was cut in two decodes to U+FFFD; a name can not hold one otherwise, short of saying so itself.
  const whole = new TextDecoder('utf-8').decode(head, { stream: true });
  return `${whole.replace(/%[0-9A-F]?$/, '')}~${digest}`;
}

/** UTF-8 that keeps half a surrogate pair as its three bytes, as Python's `surrogatepass` does. */
function utf8(text: string): Buffer {
  const parts = [...text].map((character) => {
    const code = character.codePointAt(0) ?? 0;
    if (code < 0xd800 || code > 0xdfff) return Buffer.from(character);
    return Buffer.from([0xe0 | (code >> 12), 0x80 | ((code >> 6) & 0x3f), 0x80 | (code & 0x3f)]);
  });
  return Buffer.concat(parts);
}
