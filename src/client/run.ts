// A run as a program sees it: scopes, questions and the end. Everything that records is harmless whatever happens to the
// agent: it never throws, never waits, and without an agent does nothing. Owns the link and the process's exit listeners.

import type { Columns } from '../attribution/totals.js';
import { LezeaError, messageOf } from '../errors.js';
import { type Limit, LimitBook, type LimitEvent, type Limits } from './limits.js';
import type { Link } from './link.js';
import type { Scope } from './scopes.js';

export type EndStatus = 'FINISHED' | 'FAILED' | 'INTERRUPTED' | 'KILLED';

export interface Usage {
  run_id: string;
  /** Path of the scope asked about; null: the whole run. */
  scope: string | null;
  status: string;
  /** Without what lies below it; of the whole run, what no scope used. Base units; unknown columns have no key. */
  self: Columns;
  inclusive: Columns;
  /** How the limits stand; only of the whole run, and where there are any. */
  limits?: Limit[];
}

/** An entered scope; leave it in the same function that entered it. */
export interface EnteredScope {
  readonly path: string;
  exit(): void;
}

export interface Progress {
  /** Steps and episodes done since the last call. */
  steps?: number;
  episodes?: number;
  /** Path of the scope they belong to; default: the current one. null: the run. */
  scope?: string | null;
}

/** Longest wait of a phase, and at the end, for an agent that is being restarted, milliseconds. */
const COME_BACK_MS = 3000;

const OUTSIDE: EnteredScope = { path: '', exit: () => undefined };

/** Puts variables into the environment, for child processes; returns what takes them out again. */
function setEnvironment(values: Record<string, string>): () => void {
  const before = Object.keys(values).map((key) => [key, process.env[key]] as const);
  Object.assign(process.env, values);
  return () => {
    for (const [key, value] of before) {
      if (process.env[key] !== values[key]) continue;
      if (value === undefined) delete process.env[key];
      else process.env[key] = value;
    }
  };
}

export class Run {
  readonly #link: Link | null;
  readonly #limits: LimitBook;
  #ended = false;
  #lastPhase: Promise<unknown> = Promise.resolve();
  #failure: string | undefined;
  #warned = false;
  #restoreEnvironment: () => void = () => undefined;

  /** Use startRun. A null link: no agent. */
  constructor(link: Link | null, onLimit?: (limit: LimitEvent) => void) {
    this.#link = link;
    this.#limits = new LimitBook({
      ask: () => this.#askLimits(),
      onLimit,
      onFault: (error) => this.#warnOnce(`onLimit threw: ${messageOf(error)}`),
    });
    if (!link) return;
    this.#limits.hear(link.limits);
    link.onLimits = (states) => this.#limits.hear(states);
    link.onLimit = (state) => (state ? this.#limits.notice(state) : void this.#limits.refresh());
    link.warn = (line) => this.#warnOnce(line);
    link.tracker.start();
    // Children that use a client themselves attach to this run.
    this.#restoreEnvironment = setEnvironment({
      LEZEA_RUN_ID: link.runId,
      LEZEA_MONITOR_SOCKET: link.socketPath,
    });
    process.on('uncaughtExceptionMonitor', this.#onUncaught);
    process.on('beforeExit', this.#onBeforeExit);
    process.on('exit', this.#onExit);
  }

  /** Empty without an agent. */
  get id(): string {
    return this.#link?.runId ?? '';
  }

  /** Whether anything is recorded. */
  get active(): boolean {
    return this.#link !== null && !this.#ended;
  }

  /** Announcements and notes that could not be sent. */
  get dropped(): number {
    const link = this.#link;
    return link ? link.dropped + link.tracker.dropped + link.scopes.dropped : 0;
  }

  /** Path of the scope that the calling code is in; undefined outside of all. */
  get currentPath(): string | undefined {
    return this.#link?.tracker.current?.path;
  }

  /** Runs `fn` inside a scope of any level. What it awaits, and what it starts, stays inside. */
  scope<T>(level: string, name: unknown, fn: () => T): T {
    const child = this.#child(level, name);
    return child && this.#link ? this.#link.tracker.run(child, fn) : fn();
  }

  builder<T>(name: unknown, fn: () => T): T {
    return this.scope('builder', name, fn);
  }

  tasker<T>(name: unknown, fn: () => T): T {
    return this.scope('tasker', name, fn);
  }

  algorithm<T>(name: unknown, fn: () => T): T {
    return this.scope('algorithm', name, fn);
  }

  network<T>(name: unknown, fn: () => T): T {
    return this.scope('network', name, fn);
  }

  layer<T>(name: unknown, fn: () => T): T {
    return this.scope('layer', name, fn);
  }

  /** Enters a scope without a function to hang it on. Prefer scope(): nothing leaves this one by itself. */
  enter(level: string, name: unknown): EnteredScope {
    const tracker = this.#link?.tracker;
    const outer = tracker?.current ?? null;
    const child = this.#child(level, name);
    if (!tracker || !child) return OUTSIDE;
    tracker.enterWith(child, true);
    let left = false;
    const exit = () => {
      if (left) return;
      left = true;
      tracker.enterWith(outer, false);
    };
    return { path: child.path, exit };
  }

  /** What a scope (by path), or the run, has consumed so far; undefined when no agent can say. */
  async usage(scope?: string, options: { fresh?: boolean } = {}): Promise<Usage | undefined> {
    if (!this.#link) return undefined;
    const params = { ...(scope === undefined ? {} : { scope }), fresh: options.fresh ?? false };
    const usage = await this.#ask<Usage>('run.usage', params);
    if (usage && scope === undefined) this.#limits.hear(usage.limits);
    return usage;
  }

  /** Changes limits by name; null takes one away, the others stay. Whether the agent took it. */
  async setLimits(limits: Limits): Promise<boolean> {
    if (!this.#link || this.#ended) return false;
    const answer = await this.#ask<{ limits?: unknown }>('run.update', { limits });
    if (!answer) return false;
    this.#link.changeLimits(limits);
    this.#limits.hear(answer.limits);
    return true;
  }

  /** How every limit of the run and of its experiment stands, as far as it was heard; usage() has them asked for. */
  get limits(): readonly Limit[] {
    return this.#limits.states;
  }

  /** Whether a limit has come to 100 %. At most a second old, and waits for nothing: made to be read in every step. */
  get shouldStop(): boolean {
    return this.#limits.shouldStop;
  }

  async #askLimits(): Promise<void> {
    if (!this.#link || this.#ended) return;
    try {
      const { limits } = await this.#link.request<{ limits?: unknown }>('run.usage', {});
      this.#limits.hear(limits);
    } catch (error) {
      // Asked again a second after the next reading.
      if (!(error instanceof LezeaError)) throw error;
    }
  }

  progress(progress: Progress): void {
    if (!this.#link || this.#ended) return;
    const { steps, episodes } = progress;
    const scope = progress.scope === undefined ? this.currentPath : (progress.scope ?? undefined);
    this.#link.notify('run.progress', {
      ...(scope === undefined ? {} : { scope }),
      ...(steps === undefined ? {} : { steps }),
      ...(episodes === undefined ? {} : { episodes }),
    });
  }

  /** An entry in the run's audit trail. */
  event(event: string, data: Record<string, unknown> = {}): void {
    if (this.#link && !this.#ended) this.#link.notify('run.event', { event, data });
  }

  /**
   * Says what the run is made of: dataset_version, seeds, config_sha256, hyperparameters, whatever else; `tags` are the run's.
   * Objects are merged key by key, null takes a key away. Resolves when it is stored.
   */
  async facts(facts: Record<string, unknown>): Promise<void> {
    if (!this.#link || this.#ended) return;
    const { tags, ...rest } = facts;
    await this.#ask('run.update', { facts: rest, ...(tags === undefined ? {} : { tags }) });
  }

  /**
   * The phase the whole run is in from now on; said again, it goes on. Resolves when the sample that is its beginning is
   * stored, also by an agent that comes back within seconds.
   */
  async phase(name: string): Promise<void> {
    const link = this.#link;
    if (!link || this.#ended) return;
    // In the order in which they were named, also where they wait for an agent.
    const asked = this.#lastPhase.then(() => link.requestAgain('run.phase', { name }, COME_BACK_MS));
    this.#lastPhase = this.#answerTo(asked, 'run.phase');
    await this.#lastPhase;
  }

  /** Ends this process's part of the run. Resolves to the run's totals, or undefined when no agent can say. */
  async end(status: EndStatus = 'FINISHED', reason?: string): Promise<Columns | undefined> {
    const link = this.#link;
    if (!link || this.#ended) return undefined;
    this.#finish();
    link.tracker.stop();
    const question = link.end<{ totals: Columns }>(endParams(status, reason), COME_BACK_MS);
    const answer = await this.#answerTo(question, 'run.end');
    link.close();
    return answer?.totals;
  }

  #child(level: string, name: unknown): Scope | null {
    const link = this.#link;
    if (!link || this.#ended) return null;
    const current = link.tracker.current;
    const child = link.scopes.child(current, level, name);
    if (child !== current) return child;
    if (child !== null || link.scopes.dropped > 0)
      this.#warnOnce('too many scopes: further ones count on their parent');
    return null;
  }

  async #ask<T>(method: string, params: object): Promise<T | undefined> {
    return this.#link ? this.#answerTo(this.#link.request<T>(method, params), method) : undefined;
  }

  /** The answer, or undefined with a warning. */
  async #answerTo<T>(question: Promise<T>, method: string): Promise<T | undefined> {
    try {
      return await question;
    } catch (error) {
      this.#warnOnce(`${method}: ${messageOf(error)}`);
      return undefined;
    }
  }

  #warnOnce(line: string): void {
    if (this.#warned) return;
    this.#warned = true;
    process.emitWarning(line, { type: 'LezeaMonitorWarning' });
  }

  #finish(): void {
    this.#ended = true;
    this.#restoreEnvironment();
    process.off('uncaughtExceptionMonitor', this.#onUncaught);
    process.off('beforeExit', this.#onBeforeExit);
    process.off('exit', this.#onExit);
  }

  readonly #onUncaught = (error: unknown): void => {
    this.#failure = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  };

  /** The loop is empty: there is time for a proper end. */
  readonly #onBeforeExit = (code: number): void => {
    const { status, reason } = this.#outcome(code);
    void this.end(status, reason);
  };

  /** process.exit() or an exception: the end is sent, and nobody waits for the answer. */
  readonly #onExit = (code: number): void => {
    const { status, reason } = this.#outcome(code);
    this.#link?.lastWord('run.end', endParams(status, reason));
    this.#finish();
  };

  #outcome(code: number): { status: EndStatus; reason?: string } {
    if (this.#failure !== undefined) return { status: 'FAILED', reason: this.#failure };
    const actual = code || Number(process.exitCode ?? 0);
    return actual === 0 ? { status: 'FINISHED' } : { status: 'FAILED', reason: `exit code ${actual}` };
  }
}

function endParams(status: EndStatus, reason: string | undefined): object {
  return reason === undefined ? { status } : { status, reason };
}
