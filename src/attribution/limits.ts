// What anyone may use of the agent over its socket. Owns the table of limits and what was counted against them: what
// was refused, made to wait or let go. Whoever hits a limit is told its name; docs/protocol.md lists the table.

import { LezeaError } from '../errors.js';
import type { Owner } from './model.js';
import { sameOwner } from './owners.js';

export interface LimitMeaning {
  readonly value: number;
  /** Of what it is the most; completes "too many …" or "too large: …". */
  readonly counts: string;
  /** What happens past it. */
  readonly past: 'too_many' | 'too_large' | 'waits' | 'lost' | 'let_go';
  /** It is an owner's; all PID namespaces of one user id have USER_SHARES of it, everybody together AGENT_SHARES. */
  readonly owner?: true;
}

/** A process may make PID namespaces, and with them owners, as it likes; user ids are fewer. */
export const USER_SHARES = 4;
export const AGENT_SHARES = 16;

/** Every limit of the socket. A name ends in what is counted; sizes are bytes. */
const TABLE = {
  requestBytes: { value: 65_536, counts: 'bytes of one request, without its newline', past: 'too_large' },
  fieldLength: {
    value: 5000,
    counts: 'characters or entries of one field; of most fields less, as the tables say',
    past: 'too_large',
  },
  requestTokens: {
    value: 20_000,
    counts: 'tokens that a connection saves up; a request costs one a KiB begun, a dear one more',
    past: 'waits',
  },
  requestTokensPerSecond: { value: 2000, counts: 'tokens that a connection gets a second', past: 'waits' },
  requestsUnderWay: {
    value: 64,
    counts: 'requests of one connection that are not answered yet',
    past: 'waits',
  },
  queuedBytes: { value: 262_144, counts: 'bytes of answers that a connection has not read', past: 'waits' },
  queuedNotificationBytes: {
    value: 131_072,
    counts: 'bytes that a connection has not read, for a notification to be sent',
    past: 'lost',
  },
  idleConnections: { value: 64, counts: 'connections without a session', past: 'too_many', owner: true },
  sessions: { value: 1024, counts: 'open sessions', past: 'too_many', owner: true },
  subscriptions: { value: 16, counts: 'connections with topics', past: 'too_many', owner: true },
  liveRuns: { value: 256, counts: 'runs that have not ended', past: 'too_many', owner: true },
  liveScopes: { value: 20_000, counts: 'scopes of all live runs', past: 'too_many', owner: true },
  liveParts: {
    value: 50_000,
    counts: 'processes bound to live runs, ended ones too',
    past: 'too_many',
    owner: true,
  },
  liveIds: { value: 262_144, counts: 'scope ids defined in all sessions', past: 'too_many', owner: true },
  endedRuns: { value: 256, counts: 'ended runs held in memory', past: 'let_go', owner: true },
  endedScopes: { value: 20_000, counts: 'scopes of ended runs held in memory', past: 'let_go', owner: true },
  imports: {
    value: 4,
    counts: 'bundles that are being imported, one a connection',
    past: 'too_many',
    owner: true,
  },
  importBytes: {
    value: 268_435_456,
    counts: 'bytes of bundles that are being imported',
    past: 'too_large',
    owner: true,
  },
  scopesPerRun: { value: 10_000, counts: 'scopes of one run', past: 'too_many' },
  scopeDepth: { value: 16, counts: 'levels of nested scopes', past: 'too_many' },
  nameBytes: { value: 128, counts: 'bytes of a level or name', past: 'too_large' },
  partsPerRun: { value: 10_000, counts: 'processes bound to one run one after another', past: 'too_many' },
  limitsPerRun: { value: 256, counts: 'limits of one run', past: 'too_many' },
  experimentBudgets: { value: 256, counts: 'experiments with a budget', past: 'too_many', owner: true },
  stateShares: {
    value: 1,
    counts: "owner's shares of state.max_bytes that are full of what may not be removed",
    past: 'too_many',
  },
  phasesPerRun: { value: 1000, counts: 'phases of one run', past: 'too_many' },
  eventsPerRun: { value: 10_000, counts: 'events that clients add to one run', past: 'too_many' },
  eventBytesPerRun: { value: 4_194_304, counts: 'bytes of JSON in events of one run', past: 'too_large' },
  eventBytes: { value: 16_384, counts: 'bytes of JSON in one event', past: 'too_large' },
  eventLevels: { value: 32, counts: 'levels of nesting in one event', past: 'too_large' },
  factsPerRun: { value: 256, counts: 'keys of facts of one run', past: 'too_many' },
  factBytesPerRun: { value: 1_048_576, counts: 'bytes of facts of one run, as JSON', past: 'too_large' },
  factBytes: { value: 262_144, counts: "bytes of one key's facts, as JSON", past: 'too_large' },
  factLevels: { value: 16, counts: 'levels of nesting in facts', past: 'too_large' },
  tagsPerRun: { value: 256, counts: 'tags, or tracker settings, of one run', past: 'too_many' },
  tagBytesPerRun: {
    value: 65_536,
    counts: 'bytes of tags, or tracker settings, of one run',
    past: 'too_large',
  },
  idsPerSession: { value: 65_536, counts: 'scope ids defined in one session', past: 'too_many' },
  threadsPerSession: { value: 4096, counts: 'threads inside scopes by `scope.enter`', past: 'too_many' },
  scopesPerThread: {
    value: 64,
    counts: 'scopes that one thread is inside by `scope.enter`',
    past: 'too_many',
  },
} as const satisfies Record<string, LimitMeaning>;

export type LimitName = keyof typeof TABLE;
export type Limits = Record<LimitName, number>;

export const LIMIT_TABLE: Readonly<Record<LimitName, LimitMeaning>> = TABLE;

export const DEFAULT_LIMITS: Readonly<Limits> = Object.fromEntries(
  Object.entries(TABLE).map(([name, { value }]) => [name, value]),
) as Limits;

/** So much of a limit is in use by this owner. */
export interface Holding {
  owner: Owner;
  count: number;
}

/** What is left of an owner's limit, and whose limit it is that leaves least. */
export interface Room {
  limit: LimitName;
  left: number;
  whose: string;
  most: number;
}

export class Limiter {
  readonly limits: Readonly<Limits>;
  /** So far, by the limit's name: what was refused (or lost, or let go), and how often somebody was made to wait. */
  readonly refusals = new Map<LimitName, number>();
  readonly waits = new Map<LimitName, number>();

  constructor(limits: Readonly<Limits> = DEFAULT_LIMITS) {
    this.limits = limits;
  }

  /** Throws when `used` leaves no room for one more. */
  admit(limit: LimitName, used: number): void {
    raise(this.fault(limit, used));
  }

  /** Throws when something is larger than its limit. */
  admitSize(limit: LimitName, size: number): void {
    raise(this.sizeFault(limit, size));
  }

  /** Throws when the owner, its user id or everybody together has no room for one more. */
  admitOwner(limit: LimitName, owner: Owner, held: Iterable<Holding>): void {
    raise(this.roomFault(this.room(limit, owner, held)));
  }

  /** The refusal, counted; undefined when one more is allowed. */
  fault(limit: LimitName, used: number): LezeaError | undefined {
    const most = this.limits[limit];
    return used < most ? undefined : this.#refuse(limit, LIMIT_TABLE[limit].counts, most);
  }

  /** The same for a size; infinite: it was not measured to its end. */
  sizeFault(limit: LimitName, size: number): LezeaError | undefined {
    const most = this.limits[limit];
    if (size <= most) return undefined;
    const much = Number.isFinite(size) ? size : `more than ${most}`;
    return this.#refuse(limit, `${much} ${LIMIT_TABLE[limit].counts}`, most);
  }

  /** The refusal, counted; undefined when this much room is enough for one more. */
  roomFault({ limit, left, whose, most }: Room): LezeaError | undefined {
    if (left > 0) return undefined;
    return this.#refuse(limit, `${LIMIT_TABLE[limit].counts} of ${whose}`, most);
  }

  room(limit: LimitName, owner: Owner, held: Iterable<Holding>): Room {
    const used = { own: 0, user: 0, all: 0 };
    for (const holding of held) {
      used.all += holding.count;
      if (holding.owner.uid === owner.uid) used.user += holding.count;
      if (sameOwner(holding.owner, owner)) used.own += holding.count;
    }
    const most = this.limits[limit];
    const rooms = [
      { most, used: used.own, whose: 'one owner' },
      { most: most * USER_SHARES, used: used.user, whose: 'one user id' },
      { most: most * AGENT_SHARES, used: used.all, whose: 'all owners' },
    ].map((each) => ({ limit, left: each.most - each.used, whose: each.whose, most: each.most }));
    return rooms.reduce((least, each) => (each.left < least.left ? each : least));
  }

  /** Counts something that was lost or let go because of a limit. */
  lose(limit: LimitName): void {
    this.refusals.set(limit, (this.refusals.get(limit) ?? 0) + 1);
  }

  /** Counts somebody who has to wait because of a limit. */
  hold(limit: LimitName): void {
    this.waits.set(limit, (this.waits.get(limit) ?? 0) + 1);
  }

  #refuse(limit: LimitName, what: string, most: number): LezeaError {
    this.lose(limit);
    const word = LIMIT_TABLE[limit].past === 'too_large' ? 'too_large' : 'too_many';
    return new LezeaError(word, `${word.replace('_', ' ')}: ${what}: the limit ${limit} is ${most}`);
  }
}

function raise(fault: LezeaError | undefined): void {
  if (fault) throw fault;
}
