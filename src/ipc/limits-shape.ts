// Limits on the wire: what a client may set, and how one stands. Owns those shapes; what they mean is run-limits.ts.

import { z } from 'zod';
import { levelFault } from '../attribution/names.js';
import {
  DEFAULT_GRACE_SECONDS,
  keyText,
  type LimitChange,
  type LimitPlace,
  type LimitState,
  limitNameFault,
  limitValueFault,
  ON_EXCEEDED,
  RUN_LIMIT_NAMES,
  type RunLimitName,
  scopePathFault,
} from '../attribution/run-limits.js';
import { nearest } from '../nearest.js';

const MAX_GRACE_SECONDS = 86_400;
const SECTIONS = ['scopes', 'levels', 'experiment', 'on_exceeded', 'grace_seconds'] as const;

type Given = Record<string, unknown>;
type Fault = (path: string[], message: string) => void;

/** What is wrong is said of the one thing that is; how the whole has to look, the description says. */
function change(what: string) {
  return z
    .record(z.string(), z.unknown())
    .superRefine((given, context) =>
      check(given, (path, message) => context.addIssue({ code: 'custom', path, message })),
    )
    .transform(changeOf)
    .describe(
      `${what} \`{NAME: number, scopes?: {PATH: {NAME: number}}, levels?: {LEVEL: {NAME: number}}, experiment?: {NAME: number}, ` +
        `on_exceeded?: ${ON_EXCEEDED.map((word) => JSON.stringify(word)).join(' or ')}, grace_seconds?: number}\`; ` +
        `NAME: ${RUN_LIMIT_NAMES.join(', ')}. \`null\` takes one away. docs/limits.md.`,
    );
}

export const newLimits = change('What the run is allowed.');
export const changedLimits = change('Limits by name; those that are not named stay as they are.');

function check(given: Given, fault: Fault): void {
  for (const [name, value] of Object.entries(given)) {
    if (name === 'scopes') checkPlaces(value, { at: name, place: 'scope', fault, nameFault: scopePathFault });
    else if (name === 'levels')
      checkPlaces(value, { at: name, place: 'level', fault, nameFault: levelFault });
    else if (name === 'experiment') checkValues(value, { at: [name], place: name, fault });
    else if (name === 'on_exceeded') checkWord(value, fault);
    else if (name === 'grace_seconds') checkGrace(value, fault);
    else checkValue(name, value, { at: [], place: 'run', fault });
  }
}

interface Where {
  at: string[];
  place: LimitPlace;
  fault: Fault;
}

function checkPlaces(
  value: unknown,
  how: { at: string; place: LimitPlace; fault: Fault; nameFault(name: string): string | undefined },
): void {
  const { at, place, fault, nameFault } = how;
  if (!isObject(value)) {
    fault([at], `expected an object of {${place}: {NAME: number}}`);
    return;
  }
  for (const [name, values] of Object.entries(value)) {
    const bad = nameFault(name);
    if (bad) fault([at, name], bad);
    else checkValues(values, { at: [at, name], place, fault });
  }
}

function checkValues(values: unknown, where: Where): void {
  if (!isObject(values)) {
    where.fault(where.at, 'expected an object of {NAME: number}');
    return;
  }
  for (const [name, value] of Object.entries(values)) checkValue(name, value, where);
}

function checkValue(name: string, value: unknown, { at, place, fault }: Where): void {
  const section = place === 'run' && !(RUN_LIMIT_NAMES as readonly string[]).includes(name);
  const near = section ? nearest(name, [...RUN_LIMIT_NAMES, ...SECTIONS]) : undefined;
  const meant = SECTIONS.find((word) => word === near);
  const bad = meant
    ? `no limit is called ${JSON.stringify(name.slice(0, 64))} (did you mean ${meant}?)`
    : (limitNameFault(name, place) ?? (value === null ? undefined : limitValueFault(value)));
  if (bad) fault([...at, name], bad);
}

function checkWord(value: unknown, fault: Fault): void {
  if ((ON_EXCEEDED as readonly unknown[]).includes(value)) return;
  fault(['on_exceeded'], `expected one of ${ON_EXCEEDED.join(', ')}`);
}

function checkGrace(value: unknown, fault: Fault): void {
  const fits = typeof value === 'number' && value >= 0 && value <= MAX_GRACE_SECONDS;
  if (!fits)
    fault(
      ['grace_seconds'],
      `expected a number from 0 to ${MAX_GRACE_SECONDS}; else it is ${DEFAULT_GRACE_SECONDS}`,
    );
}

function isObject(value: unknown): value is Given {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Of what was checked. */
function changeOf(given: Given): LimitChange {
  const {
    scopes = {},
    levels = {},
    experiment = {},
    on_exceeded,
    grace_seconds,
    ...run
  } = given as {
    scopes?: Record<string, Given>;
    levels?: Record<string, Given>;
    experiment?: Given;
    on_exceeded?: LimitChange['onExceeded'];
    grace_seconds?: number;
  } & Given;
  const values = new Map<string, number | null>();
  const put = (limits: Given, where: { scope?: string; level?: string }) => {
    for (const [limit, value] of Object.entries(limits)) {
      values.set(keyText({ limit: limit as RunLimitName, ...where }), value as number | null);
    }
  };
  put(run, {});
  for (const [scope, limits] of Object.entries(scopes)) put(limits, { scope });
  for (const [level, limits] of Object.entries(levels)) put(limits, { level });
  return {
    values,
    experiment: new Map(Object.entries(experiment)) as LimitChange['experiment'],
    ...(on_exceeded === undefined ? {} : { onExceeded: on_exceeded }),
    ...(grace_seconds === undefined ? {} : { graceSeconds: grace_seconds }),
  };
}

export const limitWord = z.enum(['ok', 'warned', 'exceeded', 'unknown']);

const figures = {
  limit: z.enum(RUN_LIMIT_NAMES),
  scope: z.string().optional().describe('Path of the scope that it is of.'),
  level: z.string().optional().describe('Level whose scopes it is of, together.'),
  experiment: z.string().optional().describe('Experiment whose runs it is of, together.'),
  value: z.number(),
  used: z.number().optional().describe('Absent: not known; then so is what follows from it.'),
  remaining: z.number().optional(),
  ratio: z.number().optional(),
  state: limitWord,
};

export const limitView = z.object(figures);
export const limitViews = z
  .array(limitView)
  .describe('How the limits of the run, and of its experiment, stand. Only where there are any.');

/** As it goes to clients. */
export function viewOfLimit(state: LimitState): z.output<typeof limitView> {
  const { warnedAtMs: _warned, exceededAtMs: _exceeded, ...view } = state;
  return view;
}

/** `{limits: […]}`, or nothing where there are none. */
export function limitsOf(run: { limits: readonly LimitState[] }): { limits?: z.output<typeof limitViews> } {
  return run.limits.length === 0 ? {} : { limits: run.limits.map(viewOfLimit) };
}
