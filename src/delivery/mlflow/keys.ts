// Metric keys: what a scope's figure is called at MLflow, and back. Reads scope paths and column names; owns the escaping,
// which is reversible and the same for ever, because a key is how a figure is found again. Writes nothing.
//
//   resources/total/<column>                              the whole run
//   resources/<level>/<name>/…/<column>                   a scope itself
//   resources/<level>/<name>/…/inclusive/<column>         with everything below it
//   resources/nodes/<node>/…                              the same of one node, where a run has several
//   resources/[<level>/<name>/…/]cut/<hash>/[inclusive/]<column>   a scope whose path is too long for MLflow
//   system/<node>/<column>                                a running run so far, where MLflow has its own system metrics

import { createHash } from 'node:crypto';
import { parsePath } from '../../attribution/names.js';
import { LezeaError } from '../../errors.js';
import { type ColumnName, isColumnName } from '../../native/frame.js';

/** Longest key that MLflow takes, characters. */
export const MAX_KEY_CHARS = 250;
/** Room that every key leaves behind its scope's folder, for `/inclusive/` and the longest column there may ever be. */
const COLUMN_CHARS = 60;
const HASH_CHARS = 32;
const ROOT = 'resources';
const LIVE_ROOT = 'system';
const CUT = 'cut';
const INCLUSIVE = 'inclusive';
const TOTAL = 'total';
const NODES = 'nodes';
/** Longest name of a node as it is; of a longer one there is a hash. */
const NODE_CHARS = 64;
/** Words that stand for something else where a level would stand. */
const RESERVED = new Set([INCLUSIVE, TOTAL, NODES, 'attempts', CUT]);

/** Which of a scope's two figures. */
export type Share = 'self' | 'inclusive';

/** What a key speaks of; `path` null: the whole run. */
export interface KeyMeaning {
  path: string | null;
  /** Of that node only. */
  node?: string;
  share: Share;
  column: ColumnName;
}

export function totalKey(column: ColumnName, node?: string): string {
  return `${rootOf(node)}/${TOTAL}/${column}`;
}

/** What keys and documents of one node begin with. */
export function nodeFolder(node: string): string {
  return `${ROOT}/${NODES}/${nodeSegment(node)}`;
}

/** Of a run that goes on; `name`: a column, or a level of now. */
export function liveKey(node: string, name: string): string {
  return `${LIVE_ROOT}/${nodeSegment(node)}/${name}`;
}

function nodeSegment(node: string): string {
  const segment = encodeSegment(node);
  return segment.length > NODE_CHARS ? `${CUT}-${hashOf(node)}` : segment;
}

function rootOf(node: string | undefined): string {
  return node === undefined ? ROOT : nodeFolder(node);
}

function hashOf(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, HASH_CHARS);
}

/** The keys of one scope. `folder` is worked out once a scope, not once a figure. */
export function scopeKey(folder: string, share: Share, column: ColumnName): string {
  return share === 'self' ? `${folder}/${column}` : `${folder}/${INCLUSIVE}/${column}`;
}

/**
 * What the keys of a scope begin with. A path that is too long keeps the leading steps that fit, then `cut` and a hash of
 * the whole path: the figure is there, but whose it is can be found only in summary.json.
 */
export function scopeFolder(path: string, node?: string): string {
  const steps = parsePath(path);
  if (!steps) throw new LezeaError('internal', `scope path ${path}: expected level:name/level:name`);
  const parts = steps.map(({ level, name }) => `/${encodeLevel(level)}/${encodeSegment(name)}`);
  const root = rootOf(node);
  const whole = root + parts.join('');
  if (whole.length <= MAX_KEY_CHARS - COLUMN_CHARS) return whole;
  const tail = `/${CUT}/${hashOf(path)}`;
  let head = root;
  for (const part of parts) {
    if (head.length + part.length + tail.length > MAX_KEY_CHARS - COLUMN_CHARS) break;
    head += part;
  }
  return head + tail;
}

/** What a key speaks of; undefined for a key that is not one of ours, and for a cut one. */
export function readKey(key: string): KeyMeaning | undefined {
  const [root, ...segments] = key.split('/');
  const column = segments.pop();
  if (root !== ROOT || column === undefined || !isColumnName(column)) return undefined;
  const [, node] = segments[0] === NODES && segments.length > 2 ? segments.splice(0, 2) : [];
  const meaning = meaningOf(segments, column);
  return meaning && node !== undefined ? { ...meaning, node: decodeSegment(node) } : meaning;
}

/** Of what lies between the root and the column. */
function meaningOf(segments: string[], column: ColumnName): KeyMeaning | undefined {
  // Steps come in pairs: an odd segment is the word before the column.
  const word = segments.length % 2 === 1 ? segments.pop() : undefined;
  if (segments.length === 0) return word === TOTAL ? { path: null, share: INCLUSIVE, column } : undefined;
  if (word !== undefined && word !== INCLUSIVE) return undefined;
  const steps: string[] = [];
  for (let at = 0; at < segments.length; at += 2) {
    const level = segments[at] ?? '';
    if (isTaken(level)) return undefined;
    steps.push(`${decodeSegment(level)}:${decodeSegment(segments[at + 1] ?? '')}`);
  }
  return { path: steps.join('/'), share: word ?? 'self', column };
}

/** A level as a segment. One that reads like a word of ours has its first letter escaped. */
function encodeLevel(level: string): string {
  const segment = encodeSegment(level);
  return isTaken(segment) ? escapeByte(segment.charCodeAt(0)) + segment.slice(1) : segment;
}

/** A column counts as well: in a file store a figure is a file, and a level would be a folder of the same name. */
function isTaken(segment: string): boolean {
  return RESERVED.has(segment) || isColumnName(segment);
}

/**
 * Any text but the empty one as a segment of letters, digits, `.`, `_` and `-`, never `.` or `..`. Other bytes of its UTF-8
 * become `.x` and two hexadecimal digits; a dot is escaped itself where it would read as the start of such an escape.
 */
export function encodeSegment(text: string): string {
  if (text === '.' || text === '..') return text.replaceAll('.', escapeByte(0x2e));
  return text
    .replace(/\.(?=x[0-9a-f]{2})/g, escapeByte(0x2e))
    .replace(/[^A-Za-z0-9_.-]/gu, (character) => [...Buffer.from(character)].map(escapeByte).join(''));
}

export function decodeSegment(segment: string): string {
  const bytes = segment.replace(/\.x([0-9a-f]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
  // Every character is a byte by now: what was not escaped is ASCII.
  return Buffer.from(bytes, 'latin1').toString();
}

function escapeByte(byte: number): string {
  return `.x${byte.toString(16).padStart(2, '0')}`;
}
