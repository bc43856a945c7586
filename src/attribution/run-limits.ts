// What a run is allowed: the limits that its owner set, how they are named, merged and stored, and how one stands. Pure.
// (What anyone may use of the socket is another thing: limits.ts.)

import { LezeaError } from '../errors.js';
import { nearest } from '../nearest.js';
import { levelFault, nameFault, parsePath } from './names.js';

/** What may be limited: the name everywhere, with its unit. */
export const RUN_LIMIT_NAMES = [
  ...(['runtime_seconds', 'core_hours', 'gpu_hours', 'energy_joules', 'cost'] as const),
  ...(['memory_bytes', 'gpu_memory_bytes', 'steps', 'episodes'] as const),
] as const;
export type RunLimitName = (typeof RUN_LIMIT_NAMES)[number];

/** Of what a limit is: the run, one of its scopes, all scopes of a level, or all runs of the experiment. */
export type LimitPlace = 'run' | 'scope' | 'level' | 'experiment';

const ADDITIVE = ['core_hours', 'gpu_hours', 'energy_joules', 'cost', 'steps', 'episodes'] as const;

/** Peaks of several scopes or runs do not add up, and only a run has a wall time of its own. */
export const LIMITS_OF: Readonly<Record<LimitPlace, readonly RunLimitName[]>> = {
  run: RUN_LIMIT_NAMES,
  scope: [...ADDITIVE, 'memory_bytes', 'gpu_memory_bytes'],
  level: ADDITIVE,
  experiment: ['runtime_seconds', ...ADDITIVE],
};

/** What is done past a limit: it is told; a start is refused as well; the run's processes are ended as well. */
export const ON_EXCEEDED = ['tell', 'refuse', 'terminate'] as const;
export type OnExceeded = (typeof ON_EXCEEDED)[number];

/** How long processes have between SIGTERM and SIGKILL unless the run says otherwise, seconds. */
export const DEFAULT_GRACE_SECONDS = 30;

/** From this share of a limit on it is warned. */
export const WARNING_RATIO = 0.8;

/** Which limit: its name and of what it is. */
export interface LimitKey {
  limit: RunLimitName;
  scope?: string;
  level?: string;
  experiment?: string;
}

/** When a limit was first seen at 80 % and at 100 %, milliseconds since 1970. What is marked is not told again. */
export interface LimitMark {
  warnedAtMs?: number;
  exceededAtMs?: number;
}

/** Limits by their key (keyText), as they are stored. */
export interface LimitTable {
  values: Record<string, number>;
  marks: Record<string, LimitMark>;
}

/** What is stored of a run's limits, in its record. */
export interface RunLimits extends LimitTable {
  onExceeded: OnExceeded;
  graceSeconds: number;
  /** Its processes got SIGTERM, because of this, then (CLOCK_MONOTONIC, ns, decimal); and SIGKILL. */
  ending?: { text: string; sinceNs: string; killed?: true };
}

/** A change: null takes a limit away; what is not named stays. */
export interface LimitChange {
  values: Map<string, number | null>;
  /** Of all runs of the experiment; by name. */
  experiment: Map<RunLimitName, number | null>;
  onExceeded?: OnExceeded;
  graceSeconds?: number;
}

export type LimitWord = 'ok' | 'warned' | 'exceeded' | 'unknown';

/** How one limit stands. */
export interface LimitState extends LimitKey {
  value: number;
  /** Absent where it is not known; then so are the two that follow from it. */
  used?: number;
  /** What is left before the limit; never below 0. */
  remaining?: number;
  ratio?: number;
  state: LimitWord;
  warnedAtMs?: number;
  exceededAtMs?: number;
}

/** `core_hours`, `steps@tasker:t0`, `steps@tasker`, `experiment.core_hours`. */
export function keyText({ limit, scope, level, experiment }: LimitKey): string {
  if (experiment !== undefined) return `experiment.${limit}`;
  const where = scope ?? level;
  return where === undefined ? limit : `${limit}@${where}`;
}

/** Of a key that was stored: `experiment`: whose budget it is. */
export function keyOf(text: string, experiment?: string): LimitKey {
  if (experiment !== undefined) return { limit: text as RunLimitName, experiment };
  const at = text.indexOf('@');
  if (at < 0) return { limit: text as RunLimitName };
  const limit = text.slice(0, at) as RunLimitName;
  const where = text.slice(at + 1);
  return where.includes(':') ? { limit, scope: where } : { limit, level: where };
}

/** Why this is no limit of such a thing; undefined when it is one. */
export function limitNameFault(name: string, place: LimitPlace): string | undefined {
  const allowed: readonly string[] = LIMITS_OF[place];
  if (allowed.includes(name)) return undefined;
  if ((RUN_LIMIT_NAMES as readonly string[]).includes(name)) {
    return `${name} is no limit of ${PLACES[place]}: expected one of ${allowed.join(', ')}`;
  }
  const near = nearest(name, allowed);
  const hint = near === undefined ? '' : ` (did you mean ${near}?)`;
  return `no limit is called ${JSON.stringify(name.slice(0, 64))}${hint}: expected one of ${allowed.join(', ')}`;
}

const PLACES: Record<LimitPlace, string> = {
  run: 'a run',
  scope: 'a scope',
  level: 'a level',
  experiment: 'an experiment',
};

/** Why this is no amount that something may be limited to; undefined when it is one. */
export function limitValueFault(value: unknown): string | undefined {
  if (typeof value === 'number' && Number.isFinite(value) && value > 0 && value <= 1e18) return undefined;
  return 'expected a number above 0 and at most 1e18';
}

/** Longest path of a scope that is taken, characters; as of paths elsewhere on the wire. */
const MAX_PATH = 4200;

/** Why this is no path of a scope; undefined when it is one. */
export function scopePathFault(path: string): string | undefined {
  if (path.length > MAX_PATH) return `the path is longer than ${MAX_PATH} characters`;
  const steps = parsePath(path);
  const bad = steps?.map(({ level, name }) => levelFault(level) ?? nameFault(name)).find((fault) => fault);
  if (steps && !bad) return undefined;
  return `${bad ?? 'not the path of a scope'}: expected LEVEL:NAME, or several joined with /`;
}

/** The limits after a change, or undefined where there was none and there is nothing to limit. */
export function mergedLimits(
  known: RunLimits | undefined,
  change: Pick<LimitChange, 'values' | 'onExceeded' | 'graceSeconds'>,
): RunLimits | undefined {
  const { values, onExceeded = known?.onExceeded, graceSeconds = known?.graceSeconds } = change;
  if (!known && values.size === 0 && onExceeded === undefined && graceSeconds === undefined) return undefined;
  const table = mergedTable(known ?? { values: {}, marks: {} }, values);
  return {
    ...known,
    ...table,
    onExceeded: onExceeded ?? 'tell',
    graceSeconds: graceSeconds ?? DEFAULT_GRACE_SECONDS,
  };
}

/** The table after a change. A mark goes only with its limit: whether a raised one is still passed, its figures say. */
export function mergedTable(known: LimitTable, changes: ReadonlyMap<string, number | null>): LimitTable {
  const values = { ...known.values };
  const marks = { ...known.marks };
  for (const [key, value] of changes) {
    if (value === null) {
      delete values[key];
      delete marks[key];
    } else {
      values[key] = value;
    }
  }
  return { values, marks };
}

/** How a limit stands at what was used; its mark says what was told already, and stays while it holds. */
export function stateOf(key: LimitKey, value: number, used: number | undefined, mark: LimitMark): LimitState {
  const state =
    mark.exceededAtMs !== undefined ? 'exceeded' : mark.warnedAtMs !== undefined ? 'warned' : 'ok';
  const marked = { ...key, value, ...mark };
  if (used === undefined) return { ...marked, state: state === 'ok' ? 'unknown' : state };
  return { ...marked, used, remaining: Math.max(0, value - used), ratio: used / value, state };
}

/** What is new at this use: the mark as it is to be, and the words that are to be told, in their order. */
export function judged(
  value: number,
  used: number | undefined,
  mark: LimitMark,
  nowMs: number,
): { mark: LimitMark; told: ('warned' | 'exceeded')[] } {
  const told: ('warned' | 'exceeded')[] = [];
  const next = { ...mark };
  if (used === undefined) return { mark: next, told };
  // Of whole numbers without rounding: 4 of 5 steps are 80 %.
  if (next.warnedAtMs === undefined && used * 5 >= value * 4) {
    next.warnedAtMs = nowMs;
    told.push('warned');
  }
  if (next.exceededAtMs === undefined && used >= value) {
    next.exceededAtMs = nowMs;
    told.push('exceeded');
  }
  return { mark: next, told };
}

/** The mark of a limit that was changed: what it no longer exceeds may be told again. */
export function rearmed(value: number, used: number | undefined, mark: LimitMark): LimitMark {
  const next: LimitMark = {};
  if (used === undefined) return next;
  if (mark.warnedAtMs !== undefined && used * 5 >= value * 4) next.warnedAtMs = mark.warnedAtMs;
  if (mark.exceededAtMs !== undefined && used >= value) next.exceededAtMs = mark.exceededAtMs;
  return next;
}

/** One line for a reason: `limit core_hours of 2 exceeded`. */
export function exceededText(state: Pick<LimitState, 'value'> & LimitKey): string {
  return `limit ${keyText(state)} of ${state.value} exceeded`;
}

export function overBudget(states: readonly LimitState[]): LezeaError | undefined {
  const over = states.find(({ state }) => state === 'exceeded');
  if (!over) return undefined;
  return new LezeaError('over_budget', `over budget: ${exceededText(over)} (${over.used ?? '?'} used)`);
}
