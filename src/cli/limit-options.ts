// `--limit` and `--on-limit` of `run`: from words to what run.start takes. Pure.

import { levelFault } from '../attribution/names.js';
import {
  DEFAULT_GRACE_SECONDS,
  type LimitPlace,
  limitNameFault,
  limitValueFault,
  type OnExceeded,
  scopePathFault,
} from '../attribution/run-limits.js';
import { usageError } from './io.js';

export interface LimitOptions {
  /** `NAME=VALUE`, `NAME@SCOPE_PATH=VALUE`, `NAME@LEVEL=VALUE`, `experiment.NAME=VALUE`. */
  limit?: string[];
  onLimit?: OnExceeded;
  /** Seconds. */
  limitGrace?: string;
}

type Values = Record<string, number>;

/** As on the wire. */
export interface GivenLimits {
  scopes?: Record<string, Values>;
  levels?: Record<string, Values>;
  experiment?: Values;
  on_exceeded?: OnExceeded;
  grace_seconds?: number;
  [name: string]: unknown;
}

const EXPERIMENT = 'experiment.';

/** Undefined where nothing was given; throws, naming the option, on what no agent would take. */
export function limitsOf({ limit = [], onLimit, limitGrace }: LimitOptions): GivenLimits | undefined {
  const given: GivenLimits = {};
  for (const text of limit) addLimit(given, text);
  if (onLimit !== undefined) given.on_exceeded = onLimit;
  if (limitGrace !== undefined) given.grace_seconds = graceOf(limitGrace);
  return Object.keys(given).length === 0 ? undefined : given;
}

function addLimit(given: GivenLimits, text: string): void {
  // A scope's name may have any character in it.
  const equals = text.lastIndexOf('=');
  const at = text.indexOf('@');
  if (equals < 1)
    throw usageError(`--limit ${text}: expected NAME=VALUE, NAME@SCOPE=VALUE or NAME@LEVEL=VALUE`);
  const where = at > 0 && at < equals ? text.slice(at + 1, equals) : undefined;
  const name = text.slice(0, where === undefined ? equals : at);
  const value = text.slice(equals + 1);
  const ofExperiment = name.startsWith(EXPERIMENT);
  const place: LimitPlace = ofExperiment ? 'experiment' : placeOf(where);
  const limit = ofExperiment ? name.slice(EXPERIMENT.length) : name;
  const number = value.trim() === '' ? Number.NaN : Number(value);
  const fault =
    (ofExperiment && where !== undefined ? 'a budget is of the whole experiment' : undefined) ??
    limitNameFault(limit, place) ??
    (where === undefined ? undefined : place === 'scope' ? scopePathFault(where) : levelFault(where)) ??
    limitValueFault(number);
  if (fault) throw usageError(`--limit ${text}: ${fault}`);
  valuesAt(given, place, where)[limit] = number;
}

function placeOf(where: string | undefined): LimitPlace {
  if (where === undefined) return 'run';
  return where.includes(':') ? 'scope' : 'level';
}

/** Where such a limit is written. */
function valuesAt(given: GivenLimits, place: LimitPlace, where = ''): Record<string, unknown> {
  if (place === 'run') return given;
  if (place === 'experiment') {
    given.experiment ??= {};
    return given.experiment;
  }
  const section = place === 'scope' ? 'scopes' : 'levels';
  given[section] ??= {};
  given[section][where] ??= {};
  return given[section][where];
}

function graceOf(text: string): number {
  const seconds = text.trim() === '' ? Number.NaN : Number(text);
  if (seconds >= 0 && seconds <= 86_400) return seconds;
  throw usageError(
    `--limit-grace ${text}: expected seconds from 0 to 86400; else it is ${DEFAULT_GRACE_SECONDS}`,
  );
}
