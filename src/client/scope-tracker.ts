// Follows which scope the JavaScript thread is in. A scope belongs to an async context: it is current while that context's
// code runs, and nowhere while it waits (as under Python's asyncio). Owns the AsyncLocalStorage and the hook that sees
// contexts come and go; emits `enter` and `exit` calls, innermost last, through the Announcer.

import { AsyncLocalStorage, AsyncResource, createHook, executionAsyncResource } from 'node:async_hooks';
import type { Scope } from './scopes.js';

/** Where announcements go. A call that returns false was not sent. */
export interface Announcer {
  enter(scope: Scope, tNs: number, activation: boolean): boolean;
  exit(scope: Scope, tNs: number): boolean;
}

/** A context that comes back within this time had not left: most waits are one turn of the loop. ns. */
const REJOIN_NS = 1_000_000;

/** From Node 24 on an AsyncResource enters its own context only after `before`: it has to be remembered. */
const RESOURCES_ENTER_LATE = Number.parseInt(process.versions.node, 10) >= 24;

export class ScopeTracker {
  readonly #announcer: Announcer;
  readonly #now: () => number;
  readonly #store = new AsyncLocalStorage<Scope | null>();
  readonly #hook: { enable(): unknown; disable(): unknown };
  /** Contexts that were interrupted by an inner one, by the async id of the inner. */
  readonly #frames: { asyncId: number; outer: Scope | null }[] = [];
  /** What AsyncResources were made in, where `before` cannot see it. */
  readonly #madeIn = new WeakMap<object, Scope | null>();
  /** What the code that runs now is in. */
  #current: Scope | null = null;
  /** What the agent believes, a chain from outer to inner. */
  #announced: Scope[] = [];
  /** When the announced scopes were left, if that has not been said yet; ns. */
  #leftAt: number | undefined;
  /** Switches that could not be sent. A later one heals them. */
  dropped = 0;

  constructor(announcer: Announcer, now: () => number = monotonicNs) {
    this.#announcer = announcer;
    this.#now = now;
    const init = (_asyncId: number, _type: string, _trigger: number, resource: object) => {
      if (resource instanceof AsyncResource) this.#madeIn.set(resource, this.current);
    };
    this.#hook = createHook({
      ...(RESOURCES_ENTER_LATE ? { init } : {}),
      before: (asyncId) => this.#before(asyncId),
      after: (asyncId) => this.#after(asyncId),
    });
  }

  start(): void {
    this.#hook.enable();
  }

  /** Leaves everything and follows no more. */
  stop(): void {
    this.#hook.disable();
    this.#leftAt = undefined;
    this.#current = null;
    this.#switchTo(null, this.#now(), false);
  }

  get current(): Scope | null {
    return this.#store.getStore() ?? null;
  }

  /** Runs a function, and whatever it starts, inside a scope. */
  run<T>(scope: Scope | null, fn: () => T): T {
    const outer = this.#current;
    this.#move(scope, true);
    try {
      return this.#store.run(scope, fn);
    } finally {
      this.#move(outer, false);
    }
  }

  /** From now on this context is in the scope, until something else is entered in it. */
  enterWith(scope: Scope | null, activation: boolean): void {
    this.#store.enterWith(scope);
    this.#move(scope, activation);
  }

  /** The agent knows nothing of us any more (a new session): says where the thread is. */
  reannounce(): void {
    this.#announced = [];
    this.#leftAt = undefined;
    this.#switchTo(this.#current, this.#now(), false);
  }

  /** What could not be sent before can be sent now. */
  resume(): void {
    if (this.#leftAt === undefined) this.#switchTo(this.#current, this.#now(), false);
  }

  #before(asyncId: number): void {
    const scope = this.#scopeOfCallback();
    this.#frames.push({ asyncId, outer: this.#current });
    if (scope !== this.#current) this.#move(scope, false);
    // Whoever runs now may run for long: the exit that is still held back must not wait for that.
    else if (scope === null) this.#leaveNow();
  }

  #scopeOfCallback(): Scope | null {
    if (!RESOURCES_ENTER_LATE) return this.current;
    const made = this.#madeIn.get(executionAsyncResource());
    return made === undefined ? this.current : made;
  }

  #after(asyncId: number): void {
    // An exception can take away the `after` of an inner context: its frame goes with the outer one's.
    const at = this.#frames.findLastIndex((frame) => frame.asyncId === asyncId);
    if (at < 0) return;
    const outer = this.#frames[at]?.outer ?? null;
    this.#frames.length = at;
    if (outer === this.#current) return;
    if (outer === null) this.#leaveSoon();
    else this.#move(outer, false);
  }

  /** The loop takes over. The exit is sent at the end of this turn, unless the same scope runs again at once. */
  #leaveSoon(): void {
    this.#current = null;
    if (this.#leftAt !== undefined || this.#announced.length === 0) return;
    this.#leftAt = this.#now();
    // Outside every scope: the callback itself must not look like a return to one.
    this.#store.run(null, () => setImmediate(() => this.#leaveNow()));
  }

  #leaveNow(): void {
    if (this.#leftAt === undefined) return;
    const left = this.#leftAt;
    this.#leftAt = undefined;
    this.#switchTo(null, left, false);
  }

  #move(scope: Scope | null, activation: boolean): void {
    this.#current = scope;
    const now = this.#now();
    if (this.#leftAt !== undefined) {
      const back = scope !== null && this.#announced.at(-1) === scope;
      if (back && !activation && now - this.#leftAt < REJOIN_NS) this.#leftAt = undefined;
      else this.#leaveNow();
    }
    this.#switchTo(scope, now, activation);
  }

  /** Tells the agent the least that makes `scope` the innermost: out of what it is not inside of, then in. */
  #switchTo(scope: Scope | null, tNs: number, activation: boolean): void {
    let top = this.#announced.at(-1);
    while (top && !isWithin(scope, top)) {
      if (!this.#announcer.exit(top, tNs)) {
        this.dropped += 1;
        return;
      }
      this.#announced.pop();
      top = this.#announced.at(-1);
    }
    if (scope === null || (top === scope && !activation)) return;
    if (this.#announcer.enter(scope, tNs, activation)) this.#announced.push(scope);
    else this.dropped += 1;
  }
}

function isWithin(scope: Scope | null, ancestor: Scope): boolean {
  for (let at = scope; at; at = at.parent) if (at === ancestor) return true;
  return false;
}

/** CLOCK_MONOTONIC, ns. Exact as a number for the first 104 days after boot, then to 2 ns. */
export function monotonicNs(): number {
  return Number(process.hrtime.bigint());
}
