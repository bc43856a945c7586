// What one owner may use of the agent. Owns the figures and the count of refusals by limit, which is
// published; a refusal names the limit it hit.

import { LezeaError } from '../errors.js';

/** Every limit: its figure and what it counts. */
export const LIMIT_TABLE = {
  sessions: { value: 1024, counts: 'open sessions of one owner' },
  idleConnections: { value: 64, counts: 'connections of one owner without a session' },
  liveRuns: { value: 256, counts: 'runs of one owner that have not ended' },
  scopesPerRun: { value: 10_000, counts: 'scopes of one run' },
  liveScopes: { value: 20_000, counts: 'scopes of all live runs of one owner' },
  scopeDepth: { value: 16, counts: 'levels of nested scopes' },
  idsPerSession: { value: 65_536, counts: 'scope ids defined in one session' },
  partsPerRun: { value: 10_000, counts: 'processes bound to one run one after another' },
  eventsPerRun: { value: 10_000, counts: 'events that clients add to one run' },
  tagsPerRun: { value: 256, counts: 'tags, or tracker settings, of one run' },
  phasesPerRun: { value: 1000, counts: 'phases of one run' },
} as const;

export type LimitName = keyof typeof LIMIT_TABLE;
export type Limits = Record<LimitName, number>;

export const DEFAULT_LIMITS: Readonly<Limits> = Object.fromEntries(
  Object.entries(LIMIT_TABLE).map(([name, { value }]) => [name, value]),
) as Limits;

export class Limiter {
  readonly limits: Readonly<Limits>;
  /** Refusals so far, by the limit's name. */
  readonly refusals = new Map<LimitName, number>();

  constructor(limits: Readonly<Limits> = DEFAULT_LIMITS) {
    this.limits = limits;
  }

  /** Throws `too_many` when `used` leaves no room for one more. */
  admit(limit: LimitName, used: number): void {
    const fault = this.fault(limit, used);
    if (fault) throw new LezeaError('too_many', fault);
  }

  /** The refusal as text, counted; undefined when one more is allowed. */
  fault(limit: LimitName, used: number): string | undefined {
    if (used < this.limits[limit]) return undefined;
    this.refusals.set(limit, (this.refusals.get(limit) ?? 0) + 1);
    return `too many ${LIMIT_TABLE[limit].counts}: the limit ${limit} is ${this.limits[limit]}`;
  }
}
