// Sessions: the tokens that processes speak with, their ids of scopes, and where their threads are when they announce
// it over the socket. Owns the open sessions. A session is a connection's; the part of the run it stands for is the
// process's and outlives it.

import { randomBytes } from 'node:crypto';
import { LezeaError } from '../errors.js';
import type { Sampler } from '../native/addon.js';
import type { Ledger } from './ledger.js';
import type { Limiter } from './limits.js';
import type { Dropped, EnterRequest, Owner, ScopeDefinition, Session } from './model.js';
import { levelFault, nameFault, parsePath } from './names.js';
import { sameOwner } from './owners.js';
import { type PartRecord, processKey } from './records.js';
import type { Registry } from './registry.js';
import type { Scope } from './scopes.js';
import type { TrackedRun } from './tracked-run.js';

/** Threads that may be inside scopes at once over one session, and scopes that one thread may be inside. */
const MAX_THREADS = 4096;
const MAX_NESTING = 64;

/** What a client's id of a scope means. A refused id counts on the nearest defined ancestor (null: unattributed). */
interface Meaning {
  scope: Scope | null;
  refused: boolean;
}

export interface OpenSession extends Session {
  readonly run: TrackedRun;
  readonly part: PartRecord;
  readonly meanings: Map<number, Meaning>;
  /** By thread: the scopes it is inside, innermost last. */
  readonly stacks: Map<number, (Scope | null)[]>;
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

  countOf(owner: Owner): number {
    let count = 0;
    for (const session of this.#byToken.values()) if (sameOwner(session.owner, owner)) count += 1;
    return count;
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
      meanings: new Map(),
      stacks: new Map(),
    };
    this.#byToken.set(session.token, session);
    this.#byProcess.set(processKey(part.process), session);
    return session;
  }

  close(session: OpenSession): void {
    if (!this.#byToken.delete(session.token)) return;
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
    let liveScopes = this.#liveScopes(session.run.owner);
    for (const definition of definitions) {
      const before = session.run.tree.size;
      const reason = this.#defineOne(session, definition, liveScopes);
      liveScopes += session.run.tree.size - before;
      if (reason === undefined) continue;
      dropped.set(reason, [...(dropped.get(reason) ?? []), definition.id]);
    }
    return [...dropped].map(([reason, ids]) => ({ reason, ids }));
  }

  /** Gives an id its meaning; returns why it was refused, if it was. */
  #defineOne(session: OpenSession, definition: ScopeDefinition, liveScopes: number): string | undefined {
    const { id, parent: parentId } = definition;
    const known = session.meanings.get(id);
    if (!known) {
      const fault = this.#o.limiter.fault('idsPerSession', session.meanings.size);
      if (fault) return fault;
    }
    const parent: Meaning | undefined =
      parentId === 0 ? { scope: null, refused: false } : session.meanings.get(parentId);
    const made =
      parent === undefined
        ? `its parent ${parentId} is not defined`
        : parent.refused
          ? 'its parent was refused'
          : this.#node(session.run, parent.scope, definition, liveScopes);
    if (known && !known.refused) {
      return made === known.scope ? undefined : 'the id already means another scope';
    }
    const refused = typeof made === 'string';
    const scope = refused ? (parent?.scope ?? null) : made;
    session.meanings.set(id, { scope, refused });
    this.#o.sampler.mapScope(session.handle, id, this.#slotOf(session.run, scope));
    return refused ? made : undefined;
  }

  /** The child, defined if need be, or why it may not be. */
  #node(
    run: TrackedRun,
    parent: Scope | null,
    child: { level: string; name: string; label?: string },
    liveScopes: number,
  ): Scope | string {
    const known = run.tree.find(parent, child.level, child.name);
    if (known) return known;
    const { limiter } = this.#o;
    const fault =
      levelFault(child.level) ??
      nameFault(child.name) ??
      limiter.fault('scopeDepth', parent?.depth ?? 0) ??
      limiter.fault('scopesPerRun', run.tree.size) ??
      limiter.fault('liveScopes', liveScopes);
    if (fault) return fault;
    const scope = run.tree.add(this.#o.registry.take('slot'), parent, child);
    this.#o.ledger.scopeDefined(run, scope);
    this.#o.sampler.defineSlot(scope.slot, run.handle, parent?.slot ?? 0);
    return scope;
  }

  /** The scope of a path, defined if need be. Refusals are `invalid_params` or `too_many`. */
  scopeAt(run: TrackedRun, path: string): Scope {
    const known = run.tree.get(path);
    if (known) return known;
    const steps = parsePath(path);
    if (!steps)
      throw new LezeaError('invalid_params', `not a path of level:name steps: ${JSON.stringify(path)}`);
    let scope: Scope | null = null;
    for (const step of steps) {
      const made: Scope | string = this.#node(run, scope, step, this.#liveScopes(run.owner));
      if (typeof made === 'string') {
        throw new LezeaError(made.startsWith('too many') ? 'too_many' : 'invalid_params', made);
      }
      scope = made;
    }
    if (!scope) throw new LezeaError('invalid_params', 'the path is empty');
    return scope;
  }

  enter(session: OpenSession, request: EnterRequest): void {
    const scope = this.#resolve(session, request.scope);
    const stack = session.stacks.get(request.tid) ?? [];
    if (stack.length >= MAX_NESTING || (stack.length === 0 && session.stacks.size >= MAX_THREADS)) {
      throw new LezeaError('too_many', `at most ${MAX_THREADS} threads, each inside ${MAX_NESTING} scopes`);
    }
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

  #liveScopes(owner: Owner): number {
    let count = 0;
    for (const run of this.#o.registry.live()) if (sameOwner(run.owner, owner)) count += run.scopeCount;
    return count;
  }
}

function requireOwn(session: OpenSession): void {
  if (session.outside) {
    throw new LezeaError('not_authorized', 'a process that was bound from outside announces no scopes');
  }
}
