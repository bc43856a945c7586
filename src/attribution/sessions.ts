// Sessions: the tokens that processes speak with, their ids of scopes, and where their threads are when they announce
// it over the socket. Owns the open sessions. A session is a connection's; the part of the run it stands for is the
// process's and outlives it.

import { randomBytes } from 'node:crypto';
import { LezeaError } from '../errors.js';
import type { Sampler } from '../native/addon.js';
import type { Ledger } from './ledger.js';
import type { Holding, Limiter, Room } from './limits.js';
import type { Dropped, EnterRequest, Owner, ScopeDefinition, Session } from './model.js';
import { levelFault, nameFault, parsePath } from './names.js';
import { type PartRecord, processKey } from './records.js';
import type { Registry } from './registry.js';
import type { Scope } from './scopes.js';
import type { TrackedRun } from './tracked-run.js';

/** What a client's id of a scope means. A refused id counts on the nearest defined ancestor (null: unattributed). */
interface Meaning {
  scope: Scope | null;
  refused: boolean;
}

export interface OpenSession extends Session {
  isOpen: boolean;
  readonly run: TrackedRun;
  readonly part: PartRecord;
  readonly meanings: Map<number, Meaning>;
  /** By thread: the scopes it is inside, innermost last. */
  readonly stacks: Map<number, (Scope | null)[]>;
  /** So many of its GPUs have a name. */
  namedDevices: number;
}

export interface SessionsOptions {
  sampler: Sampler;
  ledger: Ledger;
  registry: Registry;
  limiter: Limiter;
}

export class Sessions {
  readonly #o: SessionsOptions;
  readonly #byToken = new Map<string, OpenSession>();
  readonly #byProcess = new Map<string, OpenSession>();

  constructor(options: SessionsOptions) {
    this.#o = options;
  }

  get count(): number {
    return this.#byToken.size;
  }

  get(token: string): OpenSession | undefined {
    return this.#byToken.get(token);
  }

  /** Throws when the owner may open no more; one that takes the place of an earlier one is none more. */
  admit(owner: Owner, standing: PartRecord | undefined): void {
    if (standing && this.#byProcess.has(processKey(standing.process))) return;
    this.#o.limiter.admitOwner(
      'sessions',
      owner,
      this.#holdings(() => 1),
    );
  }

  *#holdings(count: (session: OpenSession) => number): Generator<Holding> {
    for (const session of this.#byToken.values()) yield { owner: session.owner, count: count(session) };
  }

  /** Opens a session for a part; an earlier one of the same process is closed: the process opened anew. */
  open(run: TrackedRun, part: PartRecord, given: { owner: Owner; clockOffsetNs: bigint }): OpenSession {
    this.closeOf(part);
    const session: OpenSession = {
      ...given,
      token: randomBytes(16).toString('hex'),
      handle: part.session,
      run,
      part,
      process: part.process,
      primaryTid: part.primaryTid,
      outside: part.outside,
      isOpen: true,
      meanings: new Map(),
      stacks: new Map(),
      namedDevices: 0,
    };
    this.#byToken.set(session.token, session);
    this.#byProcess.set(processKey(part.process), session);
    return session;
  }

  close(session: OpenSession): void {
    if (!this.#byToken.delete(session.token)) return;
    session.isOpen = false;
    session.meanings.clear();
    session.stacks.clear();
    const key = processKey(session.process);
    if (this.#byProcess.get(key) === session) this.#byProcess.delete(key);
    if (!session.outside) this.#o.sampler.closeSession(session.handle);
  }

  closeOf(part: PartRecord): void {
    const session = this.#byProcess.get(processKey(part.process));
    if (session) this.close(session);
  }

  define(session: OpenSession, definitions: ScopeDefinition[]): Dropped[] {
    requireOwn(session);
    const dropped = new Map<string, number[]>();
    const rooms = { scopes: this.#scopeRoom(session.run.owner), ids: this.#idRoom(session.owner) };
    for (const definition of definitions) {
      const reason = this.#defineOne(session, definition, rooms);
      if (reason === undefined) continue;
      const ids = dropped.get(reason);
      if (ids) ids.push(definition.id);
      else dropped.set(reason, [definition.id]);
    }
    return [...dropped].map(([reason, ids]) => ({ reason, ids }));
  }

  /** Gives an id its meaning; returns why it was refused, if it was. */
  #defineOne(
    session: OpenSession,
    definition: ScopeDefinition,
    rooms: { scopes: Room; ids: Room },
  ): string | undefined {
    const { id, parent: parentId } = definition;
    const known = session.meanings.get(id);
    if (!known) {
      const { limiter } = this.#o;
      const fault = limiter.fault('idsPerSession', session.meanings.size) ?? limiter.roomFault(rooms.ids);
      if (fault) return fault.message;
      rooms.ids.left -= 1;
    }
    const parent: Meaning | undefined =
      parentId === 0 ? { scope: null, refused: false } : session.meanings.get(parentId);
    const made =
      parent === undefined
        ? refusal('its parent is not defined')
        : parent.refused
          ? refusal('its parent was refused')
          : this.#node(session.run, parent.scope, definition, rooms.scopes);
    if (known && !known.refused) {
      return made === known.scope ? undefined : 'the id already means another scope';
    }
    const refused = made instanceof LezeaError;
    const scope = refused ? (parent?.scope ?? null) : made;
    session.meanings.set(id, { scope, refused });
    this.#o.sampler.mapScope(session.handle, id, this.#slotOf(session.run, scope));
    return refused ? made.message : undefined;
  }

  /** The child, defined if need be, or why it may not be. */
  #node(
    run: TrackedRun,
    parent: Scope | null,
    child: { level: string; name: string; label?: string },
    room: Room,
  ): Scope | LezeaError {
    const known = run.tree.find(parent, child.level, child.name);
    if (known) return known;
    const fault = this.#nodeFault(run, parent, child) ?? this.#o.limiter.roomFault(room);
    if (fault) return fault;
    room.left -= 1;
    const scope = run.tree.add(this.#o.registry.take('slot'), parent, child);
    this.#o.ledger.scopeDefined(run, scope);
    this.#o.sampler.defineSlot(scope.slot, run.handle, parent?.slot ?? 0);
    return scope;
  }

  #nodeFault(
    run: TrackedRun,
    parent: Scope | null,
    { level, name }: { level: string; name: string },
  ): LezeaError | undefined {
    const { limiter } = this.#o;
    const longest = Math.max(Buffer.byteLength(level), Buffer.byteLength(name));
    const malformed = levelFault(level) ?? nameFault(name);
    return (
      limiter.sizeFault('nameBytes', longest) ??
      (malformed === undefined ? undefined : refusal(malformed)) ??
      limiter.fault('scopeDepth', parent?.depth ?? 0) ??
      limiter.fault('scopesPerRun', run.tree.size)
    );
  }

  /** The scope of a path, defined if need be. */
  scopeAt(run: TrackedRun, path: string): Scope {
    const defined = run.tree.get(path);
    if (defined) return defined;
    const steps = parsePath(path);
    if (!steps) throw refusal(`not a path of level:name steps: ${JSON.stringify(path)}`);
    const room = this.#scopeRoom(run.owner);
    let scope: Scope | null = null;
    for (const step of steps) {
      const made: Scope | LezeaError = this.#node(run, scope, step, room);
      if (made instanceof LezeaError) throw made;
      scope = made;
    }
    if (!scope) throw refusal('the path is empty');
    return scope;
  }

  /** Which GPUs the session's records mean, by index. An index keeps its GPU: what is said of it again changes nothing. */
  nameDevices(session: OpenSession, devices: readonly string[]): void {
    requireOwn(session);
    for (let index = session.namedDevices; index < devices.length; index += 1)
      this.#o.sampler.mapDevice(session.handle, index, devices[index] as string);
    session.namedDevices = Math.max(session.namedDevices, devices.length);
  }

  enter(session: OpenSession, request: EnterRequest): void {
    const scope = this.#resolve(session, request.scope);
    const stack = session.stacks.get(request.tid) ?? [];
    this.#o.limiter.admit('scopesPerThread', stack.length);
    if (stack.length === 0) this.#o.limiter.admit('threadsPerSession', session.stacks.size);
    stack.push(scope);
    session.stacks.set(request.tid, stack);
    this.#announce(session, request, request.activation ?? true);
  }

  exit(session: OpenSession, request: EnterRequest): void {
    const scope = this.#resolve(session, request.scope);
    const stack = session.stacks.get(request.tid);
    const at = stack ? stack.lastIndexOf(scope) : -1;
    if (!stack || at < 0) throw new LezeaError('invalid_params', 'the thread is not inside that scope');
    const innermost = at === stack.length - 1;
    stack.splice(at, 1);
    if (innermost) this.#announce(session, request, false);
    if (stack.length === 0) session.stacks.delete(request.tid);
  }

  #announce(session: OpenSession, request: EnterRequest, activation: boolean): void {
    const scope = session.stacks.get(request.tid)?.at(-1);
    const slot = scope === undefined ? 0 : this.#slotOf(session.run, scope);
    this.#o.sampler.enter(session.handle, request.tid, slot, request.tNs, activation);
  }

  #resolve(session: OpenSession, scope: number | string): Scope | null {
    requireOwn(session);
    if (typeof scope === 'string') return this.scopeAt(session.run, scope);
    const meaning = session.meanings.get(scope);
    if (!meaning) throw new LezeaError('invalid_params', `the session has defined no scope ${scope}`);
    return meaning.scope;
  }

  #slotOf(run: TrackedRun, scope: Scope | null): number {
    return scope ? scope.slot : run.unattributedSlot;
  }

  #scopeRoom(owner: Owner): Room {
    const runs = [...this.#o.registry.live()];
    const held = runs.map((run) => ({ owner: run.owner, count: run.scopeCount }));
    return this.#o.limiter.room('liveScopes', owner, held);
  }

  #idRoom(owner: Owner): Room {
    return this.#o.limiter.room(
      'liveIds',
      owner,
      this.#holdings((session) => session.meanings.size),
    );
  }
}

function refusal(why: string): LezeaError {
  return new LezeaError('invalid_params', why);
}

function requireOwn(session: OpenSession): void {
  if (session.outside) {
    throw new LezeaError('not_authorized', 'a process that was bound from outside announces no scopes');
  }
}
