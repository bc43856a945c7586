// What was said of a run, as MLflow shows it: hyperparameters as params, short facts and the run's tags as tags. Reads the
// ended run; emits items. The same run gives the same bytes. What is longer is in environment/full.json alone.

import { CAPTURED, type Facts } from '../../attribution/facts.js';
import type { Draft, EndedRun } from '../model.js';
import { draft, type Param, type Tag } from './items.js';
import { encodeSegment, MAX_KEY_CHARS } from './keys.js';

const HYPERPARAMETERS = 'hyperparameters';
/** How a client would have a hyperparameter written, where that is another text than this program's. */
const PARAM_TEXTS = 'param_texts';
/** What the oldest servers store of a param; cut, it would be another one than the program's own. */
const MAX_PARAM_CHARS = 500;
/** Longer facts are for the document. */
const MAX_FACT_CHARS = 250;
const MAX_FACT_TAGS = 64;
const MAX_PARAMS = 1000;
/** Params, or tags, of one request: as every server takes them, and so that the longest fit into an answer on the socket. */
const MAX_TOGETHER = 50;
const MAX_TOGETHER_BYTES = 32 * 1024;
/** Of what clients found out themselves, what people look for. */
const CAPTURED_TAGS: readonly (readonly [string, string])[] = [
  ['code', 'commit'],
  ['code', 'branch'],
  ['code', 'dirty'],
  ['python', 'version'],
];
/** Before a tag of the run that holds what a param of another value could not. */
export const PARAM_TAG = 'lezea_monitor.param.';

export function* factDrafts(run: Pick<EndedRun, 'facts' | 'tags'>): Generator<Draft> {
  const { facts = {}, tags } = run;
  for (const params of chunks(paramsOf(facts))) yield draft('params', { params });
  for (const some of chunks([...factTags(facts), ...ownTags(tags)])) yield draft('tags', { tags: some });
}

function* chunks<T>(list: readonly T[]): Generator<T[]> {
  let chunk: T[] = [];
  let bytes = 0;
  for (const one of list) {
    const more = Buffer.byteLength(JSON.stringify(one)) + 1;
    if (chunk.length > 0 && (chunk.length === MAX_TOGETHER || bytes + more > MAX_TOGETHER_BYTES)) {
      yield chunk;
      [chunk, bytes] = [[], 0];
    }
    chunk.push(one);
    bytes += more;
  }
  if (chunk.length > 0) yield chunk;
}

function paramsOf(facts: Facts): Param[] {
  const texts = flat(facts[PARAM_TEXTS]);
  const params = new Map<string, string>();
  for (const [name, value] of flat(facts[HYPERPARAMETERS])) {
    const key = keyOf(name);
    const written = texts.get(name);
    // What was said of an earlier value does not hold for this one.
    const fits = typeof written === 'string' && typeof value === 'number' && Number(written) === value;
    const text = clean(fits ? written : pythonText(value));
    if (key.length <= MAX_KEY_CHARS - PARAM_TAG.length && text !== '' && text.length <= MAX_PARAM_CHARS)
      params.set(key, text);
  }
  return [...params]
    .sort(byKey)
    .slice(0, MAX_PARAMS)
    .map(([key, value]) => ({ key, value }));
}

/** `{optimizer: {lr: 1}}` as `optimizer.lr`. */
function flat(value: unknown, prefix = ''): Map<string, unknown> {
  if (!isObject(value)) return new Map(prefix === '' ? [] : [[prefix, value]]);
  const below = Object.entries(value).flatMap(([key, inner]) => [
    ...flat(inner, prefix === '' ? key : `${prefix}.${key}`),
  ]);
  return new Map(below);
}

function factTags(facts: Facts): Tag[] {
  const captured = isObject(facts[CAPTURED]) ? facts[CAPTURED] : {};
  const found: [string, unknown][] = CAPTURED_TAGS.flatMap(([part, key]) => {
    const inner = captured[part];
    return isObject(inner) && inner[key] !== undefined ? [[`${part}.${key}`, inner[key]]] : [];
  });
  const said = Object.entries(facts).filter(
    ([key]) => ![CAPTURED, HYPERPARAMETERS, PARAM_TEXTS].includes(key),
  );
  return shortTags('lezea_monitor.fact.', [...found, ...said]).slice(0, MAX_FACT_TAGS);
}

function ownTags(tags: EndedRun['tags']): Tag[] {
  return shortTags('lezea_monitor.tag.', Object.entries(tags));
}

/** Under a name of ours: nothing that the program has logged is written over. */
function shortTags(prefix: string, entries: readonly [string, unknown][]): Tag[] {
  return entries
    .map(([key, value]) => {
      const text = typeof value === 'string' ? value : JSON.stringify(value);
      return [prefix + keyOf(key), clean(text)] as const;
    })
    .filter(([key, value]) => key.length <= MAX_KEY_CHARS && value.length <= MAX_FACT_CHARS)
    .sort(byKey)
    .map(([key, value]) => ({ key, value }));
}

/** Without what a tracker's database may choke on: half a character becomes a whole one. */
function clean(text: string): string {
  return Buffer.from(text.replaceAll('\0', '')).toString();
}

function byKey([one]: readonly [string, unknown], [other]: readonly [string, unknown]): number {
  return one < other ? -1 : Number(one > other);
}

/** As MLflow takes it: `/` between parts, and every part as of a metric's key, but for spaces. */
function keyOf(name: string): string {
  const parts = name
    .split('/')
    .map((part) => (part === '' ? '.x' : part.split(' ').map(encodeSegment).join(' ')));
  return parts.join('/');
}

/** As Python's str() writes it: a param that the program logs itself is the same then. */
export function pythonText(value: unknown, isInside = false): string {
  if (value === null) return 'None';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (typeof value === 'number') return pythonNumber(value);
  if (typeof value === 'string') return isInside ? pythonQuoted(value) : value;
  if (Array.isArray(value)) return `[${value.map((one) => pythonText(one, true)).join(', ')}]`;
  const fields = Object.entries(value as object).map(
    ([key, inner]) => `${pythonQuoted(key)}: ${pythonText(inner, true)}`,
  );
  return `{${fields.join(', ')}}`;
}

function pythonQuoted(text: string): string {
  return text.includes("'") && !text.includes('"') ? `"${text}"` : `'${text.replaceAll("'", "\\'")}'`;
}

/** 1e-05, not 0.00001; what is whole has no point: JSON does not tell 1 from 1.0. */
function pythonNumber(value: number): string {
  const [digits = '', exponent = '0'] = value.toExponential().split('e');
  const power = Number(exponent);
  if (Number.isInteger(value) && Math.abs(value) < 1e16) return String(value);
  if (power >= -4 && power < 16) return String(value);
  const sign = power < 0 ? '-' : '+';
  return `${digits}e${sign}${String(Math.abs(power)).padStart(2, '0')}`;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
