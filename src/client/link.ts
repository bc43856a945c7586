// A process's standing with the agent: connection, run, session, scope definitions, and all of that again after the agent
// was restarted. Owns the connection and the timer of the next attempt; neither keeps the process alive.

import { setTimeout as sleep } from 'node:timers/promises';
import { LezeaError, messageOf } from '../errors.js';
import { type AgentConnection, connectToAgent } from './connection.js';
import { type Limits, mergedLimits } from './limits.js';
import { type Announcer, monotonicNs, ScopeTracker } from './scope-tracker.js';
import { definitionOf, type Scope, ScopeTable } from './scopes.js';

interface Started {
  run_id: string;
  created?: boolean;
  limits?: unknown;
}

/** What `run.start` is told, by the names of the wire. */
export interface StartParams {
  run_id?: string;
  experiment?: string;
  name?: string;
  tags?: Record<string, string>;
  tracker?: Record<string, string>;
  rank?: number;
  world_size?: number;
  local_world_size?: number;
  limits?: Limits;
}

/** Waits between attempts to reconnect, milliseconds; the last one is repeated. */
const RETRY_MS = [100, 200, 500, 1000, 2000, 5000] as const;
/** How often the end of a run looks whether the agent is back, milliseconds. */
const RECONNECTED_MS = 50;
/** Definitions in one message, so that it stays below 64 KiB with names of 128 bytes and their labels. */
const DEFINE_AT_ONCE = 64;
/** Refusals that no later attempt can change. */
const FINAL = new Set([
  'not_authorized',
  'run_ended',
  'already_bound',
  'clock_mismatch',
  'invalid_params',
  'untrusted',
]);

export class Link implements Announcer {
  readonly scopes = new ScopeTable((scope) => this.#define([scope]));
  readonly tracker = new ScopeTracker(this);
  runId = '';
  socketPath = '';
  /** Notifications that could not be sent. */
  dropped = 0;
  /** Called with one line when something is amiss that the program should hear of once. */
  warn: (line: string) => void = () => undefined;
  /** How limits stood at the last start or attachment; called with that, and with one that was reached; `null`: something may have been left out. */
  limits: unknown;
  onLimits: (states: unknown) => void = () => undefined;
  onLimit: (state: Record<string, unknown> | null) => void = () => undefined;
  #start: StartParams;
  readonly #socket: string | undefined;
  #connection: AgentConnection | undefined;
  #session = '';
  #attempts = 0;
  #retry: NodeJS.Timeout | undefined;
  #opening = false;
  /** Nothing is tried any more: it was closed, or the agent refuses this process. */
  #closed = false;
  /** The run's end was asked: no session is opened any more. */
  #ending = false;

  constructor(start: StartParams, socket: string | undefined) {
    this.#start = start;
    this.#socket = socket;
  }

  /** Connects, starts or attaches to the run and binds this process. Throws when there is no agent or it refuses. */
  async open(timeoutMs: number): Promise<void> {
    const connection = await this.#connect(timeoutMs);
    try {
      await this.#bind(connection);
    } catch (error) {
      connection.close();
      throw error;
    }
    connection.onClose = () => this.#lost(connection);
    connection.onDrain = () => this.tracker.resume();
    connection.onNotification = (method, params) => this.#hear(method, params);
    if (!connection.isOpen) return this.#lost(connection);
    for (let at = 0; at < this.scopes.all().length; at += DEFINE_AT_ONCE) {
      this.#define(this.scopes.all().slice(at, at + DEFINE_AT_ONCE));
    }
    this.tracker.reannounce();
  }

  #connect(timeoutMs: number): Promise<AgentConnection> {
    const socket = this.socketPath || this.#socket;
    return connectToAgent({
      ...(socket === undefined ? {} : { socket }),
      timeoutMs,
      background: true,
      client: 'typescript',
    });
  }

  async #bind(connection: AgentConnection): Promise<void> {
    this.limits = await (this.runId === '' ? this.#begin(connection) : this.#goOn(connection));
    this.onLimits(this.limits);
    this.socketPath = connection.path;
    this.#connection = connection;
    this.#attempts = 0;
  }

  /** Starts or attaches to the run. Resolves to how its limits stand. */
  async #begin(connection: AgentConnection): Promise<unknown> {
    const started = await connection.request<Started>('run.start', this.#start);
    this.runId = started.run_id;
    this.#start = { ...this.#start, run_id: started.run_id };
    await this.#openSession(connection);
    return started.limits;
  }

  /** With an agent that was restarted: it knows the run, and its limits as others have changed them meanwhile. */
  async #goOn(connection: AgentConnection): Promise<unknown> {
    const told: { run_id: string; limits?: Limits } = { run_id: this.runId };
    try {
      await this.#openSession(connection);
    } catch (error) {
      // One without its memory is told again. A run that has ended is not: its next attempt would begin.
      if (!(error instanceof LezeaError) || error.code !== 'unknown_run') throw error;
      const { limits, ...rest } = this.#start;
      const { created } = await connection.request<Started>('run.start', rest);
      if (created && limits) told.limits = limits;
      await this.#openSession(connection);
    }
    return (await connection.request<Pick<Started, 'limits'>>('run.update', told)).limits;
  }

  async #openSession(connection: AgentConnection): Promise<void> {
    const params = { run_id: this.runId, t_ns: monotonicNs() };
    this.#session = (await connection.request<{ session: string }>('session.open', params)).session;
  }

  /** What a further start is to say: an agent that came back without its memory is told all of it again. */
  changeLimits(change: Limits): void {
    this.#start = { ...this.#start, limits: mergedLimits(this.#start.limits, change) };
  }

  enter(scope: Scope, tNs: number, activation: boolean): boolean {
    const params = { session: this.#session, scope: scope.id, t_ns: tNs };
    // Coming back after a wait is no new activation; agents that do not know the word count one.
    return this.#connection?.notify('scope.enter', activation ? params : { ...params, activation }) ?? false;
  }

  exit(scope: Scope, tNs: number): boolean {
    const params = { session: this.#session, scope: scope.id, t_ns: tNs };
    return this.#connection?.notify('scope.exit', params) ?? false;
  }

  /** Tells something of the run; counted when it could not be sent. */
  notify(method: string, params: object): void {
    try {
      if (this.#connection?.notify(method, { run_id: this.runId, ...params })) return;
    } catch (error) {
      // What JSON cannot say (a cycle, a bigint) must not end the program that wanted to note it.
      this.warn(`${method} was not sent: ${messageOf(error)}`);
    }
    this.dropped += 1;
  }

  /** Asks something of the run. Rejects when there is no agent or it refuses. */
  request<T>(method: string, params: object): Promise<T> {
    const connection = this.#connection;
    if (!connection) return Promise.reject(new LezeaError('no_agent', 'the agent is not connected'));
    return connection.request<T>(method, { run_id: this.runId, ...params });
  }

  lastWord(method: string, params: object): void {
    this.#connection?.lastWord(method, { run_id: this.runId, ...params });
  }

  /** The same, asked again of an agent that goes away and comes back in time. This keeps the process alive. */
  async requestAgain<T>(method: string, params: object, comeBackMs: number): Promise<T> {
    for (const deadline = performance.now() + comeBackMs; ; ) {
      await this.#reconnected(deadline);
      try {
        return await this.request<T>(method, params);
      } catch (error) {
        const gone = error instanceof LezeaError && error.code === 'closed';
        if (!gone || performance.now() > deadline) throw error;
      }
    }
  }

  /**
   * The run's end, asked again of an agent that goes away and comes back in time. No session is opened for it: a run
   * that the last agent ended takes none, and tells its totals.
   */
  async end<T>(params: object, comeBackMs: number): Promise<T> {
    this.#ending = true;
    clearTimeout(this.#retry);
    for (const deadline = performance.now() + comeBackMs; ; await sleep(RECONNECTED_MS)) {
      if (this.#opening) continue;
      try {
        if (!this.#connection) await this.#connectUnbound();
        return await this.request<T>('run.end', params);
      } catch (error) {
        const gone = error instanceof LezeaError && (error.code === 'closed' || error.code === 'no_agent');
        if (!gone || this.#closed || performance.now() > deadline) throw error;
        this.#connection = undefined;
      }
    }
  }

  async #connectUnbound(): Promise<void> {
    this.#opening = true;
    try {
      this.#connection = await this.#connect(2000);
    } finally {
      this.#opening = false;
    }
  }

  async #reconnected(deadline: number): Promise<void> {
    if (!this.#connection && !this.#opening && !this.#closed) {
      clearTimeout(this.#retry);
      this.#attempts = 0;
      void this.#reopen();
    }
    while (!this.#connection && !this.#closed && performance.now() < deadline) await sleep(RECONNECTED_MS);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#retry);
    this.tracker.stop();
    const connection = this.#connection;
    this.#connection = undefined;
    connection?.close();
  }

  #define(scopes: readonly Scope[]): void {
    // Without a connection nothing is lost: every definition is sent again when there is one.
    if (!this.#connection || scopes.length === 0) return;
    const params = { session: this.#session, scopes: scopes.map(definitionOf) };
    if (!this.#connection.notify('scope.define', params)) this.dropped += 1;
  }

  #hear(method: string, params: Record<string, unknown>): void {
    if (method === 'limit') this.onLimit(params);
    if (method === 'resync') this.onLimit(null);
    if (method !== 'dropped') return;
    const ids = Array.isArray(params.ids) ? params.ids.length : 0;
    this.warn(`${ids} scope(s) were refused and count on their parent: ${String(params.reason)}`);
  }

  #lost(connection: AgentConnection): void {
    if (this.#closed || this.#connection !== connection) return;
    this.#connection = undefined;
    if (!this.#ending) this.#retryLater();
  }

  #retryLater(): void {
    const wait = RETRY_MS[Math.min(this.#attempts, RETRY_MS.length - 1)];
    this.#attempts += 1;
    this.#retry = setTimeout(() => void this.#reopen(), wait);
    this.#retry.unref();
  }

  async #reopen(): Promise<void> {
    this.#opening = true;
    try {
      await this.open(2000);
    } catch (error) {
      if (error instanceof LezeaError && FINAL.has(error.code)) {
        this.#closed = true;
        this.warn(`the agent refuses this process from now on: ${messageOf(error)}`);
      }
      if (!this.#closed && !this.#ending) this.#retryLater();
    } finally {
      this.#opening = false;
    }
    // It was closed while it was being opened again.
    if (this.#closed) this.close();
  }
}
