// Attribution put together: ledger, registry, lifecycle, sessions, commands and the checkpoint that drives them. Owns
// their wiring and order; whoever composes the agent gives it the sampler, the database and the writer of documents.

import type { Logger } from 'pino';
import { type LezeaError, messageOf, StoppingError } from '../errors.js';
import type { ProcessId, Sampler, Signalled } from '../native/addon.js';
import { Budgets } from './budgets.js';
import { Checkpoint } from './checkpoint.js';
import { Commands } from './commands.js';
import { Ledger } from './ledger.js';
import { Lifecycle } from './lifecycle.js';
import type { Price } from './limit-figures.js';
import { Limiter, type Limits } from './limits.js';
import type { Owner, Run, RunCommands, RunStore } from './model.js';
import type { Persistence } from './records.js';
import { Registry } from './registry.js';
import { restoreRuns } from './restore.js';
import { Sessions } from './sessions.js';
import { Starter } from './starting.js';
import { Terminator } from './terminating.js';
import { writeUndocumented } from './undocumented.js';

export interface AttributionOptions {
  sampler: Sampler;
  persistence: Persistence;
  log: Logger;
  bootId: string;
  /** Wall clock, milliseconds since 1970, and CLOCK_MONOTONIC, ns. */
  nowMs(): number;
  monotonicNs(): bigint;
  isAlive(process: ProcessId): boolean;
  checkpointIntervalMs: number;
  keepEndedMs(): number;
  unboundTimeoutMs(): number;
  /** Writes the documents of a run that is over: figures, outcome and end time are final. */
  writeFiles(run: Run): Promise<void>;
  /** Keeps what is to be delivered of it; `allDead`: no process of it lives. */
  prepareDelivery(run: Run, allDead: boolean): Promise<void>;
  /** Keeps its documents to be delivered, where they could not be written when it ended. */
  prepareDocuments(run: Run): Promise<void>;
  /** Whether what is stored of the owner's runs, and may not be removed, is its whole share. */
  isFull(owner: Owner): boolean;
  limits?: Limits;
  /** What totals cost, for limits of cost. @default not known */
  price?: Price;
  /** Has the GPUs read at once; resolves when they were, or after a moment; undefined: there are none. */
  readGpus?(): Promise<void> | undefined;
  /** Sends a signal to exactly that process of that user. @default cannot */
  signal?(process: ProcessId, uid: number, signal: number): Signalled;
}

export class Attribution {
  readonly limiter: Limiter;
  readonly ledger = new Ledger();
  readonly checkpoint: Checkpoint;
  readonly store: RunStore;
  readonly commands: RunCommands;
  readonly sessions: Sessions;
  readonly budgets: Budgets;

  /** Checkpoints at which a run's columns did not add up, counted once a run; 0 unless something broke. */
  violations = 0;

  readonly #o: AttributionOptions;
  readonly #unbalanced = new Set<number>();
  readonly #registry: Registry;
  readonly #lifecycle: Lifecycle;
  readonly #terminator: Terminator;
  #limitsFailed = false;
  readonly #stopping = new AbortController();

  constructor(options: AttributionOptions) {
    this.#o = options;
    const { sampler, persistence, log } = options;
    const { ledger } = this;
    this.limiter = new Limiter(options.limits);
    this.#registry = new Registry({
      persistence,
      ledger,
      limiter: this.limiter,
      log,
      keepEndedMs: options.keepEndedMs,
    });
    this.store = this.#registry;
    const registry = this.#registry;
    const checkpoint = (how?: { durable?: boolean }) => this.checkpoint.request(how);
    const readGpus = () => options.readGpus?.();
    const common = { ...options, ledger, registry, limiter: this.limiter, checkpoint, readGpus };
    this.#lifecycle = new Lifecycle({ ...common, retryDelay: () => this.#retryDelay() });
    const price = options.price ?? (() => undefined);
    this.budgets = new Budgets({ ...common, lifecycle: this.#lifecycle, price });
    const signal = options.signal?.bind(options) ?? (() => 'unsupported' as const);
    this.#terminator = new Terminator({ ...common, lifecycle: this.#lifecycle, signal });
    this.sessions = new Sessions(common);
    this.#lifecycle.partEnded = (part) => this.sessions.closeOf(part);
    this.checkpoint = new Checkpoint(
      { sampler, ledger, persistence, hooks: this.#hooks() },
      options.checkpointIntervalMs,
    );
    const living = { ...common, lifecycle: this.#lifecycle, budgets: this.budgets };
    const starter = new Starter({ ...living, wake: () => this.checkpoint.wake() });
    this.commands = new Commands({ ...living, starter, sessions: this.sessions });
  }

  #hooks() {
    const lifecycle = this.#lifecycle;
    const registry = this.#registry;
    return {
      sampled: lifecycle.observe.bind(lifecycle),
      judged: () => this.#ofLimits(() => this.budgets.judge()) ?? false,
      committed: (runs: Run[]) => {
        this.#audit(runs);
        registry.emit('committed', runs);
        this.#ofLimits(() => {
          this.budgets.tell();
          this.#terminator.act();
        });
        lifecycle.settle();
      },
      busy: () => registry.liveCount > 0,
      failing: (error: LezeaError | undefined) => {
        if (error)
          this.#o.log.error({ reason: error.message }, 'figures cannot be stored; nothing new is published');
        else this.#o.log.info('figures are stored again');
      },
    };
  }

  /** Figures are kept and published whatever goes wrong with limits; that is said once. */
  #ofLimits<T>(work: () => T): T | undefined {
    try {
      return work();
    } catch (error) {
      if (!this.#limitsFailed)
        this.#o.log.error({ reason: messageOf(error), err: error }, 'limits cannot be looked at');
      this.#limitsFailed = true;
      return undefined;
    }
  }

  /** Takes up what was left open, starts the sampler and the checkpoints. */
  start(): void {
    const { sampler, persistence, log, bootId, nowMs, keepEndedMs } = this.#o;
    const endedSinceMs = nowMs() - keepEndedMs();
    const parts = { sampler, persistence, log, bootId, endedSinceMs, ledger: this.ledger };
    const over = restoreRuns({ ...parts, registry: this.#registry, lifecycle: this.#lifecycle });
    sampler.start();
    this.checkpoint.start();
    for (const run of over) this.#lifecycle.finish(run);
  }

  /** Tries again to write what could not be written when runs ended. How many runs have their documents now. */
  writeUndocumented(): Promise<number> {
    const checkpoint = (how: { durable: boolean }) => this.checkpoint.request(how);
    return writeUndocumented({ ...this.#o, ledger: this.ledger, registry: this.#registry, checkpoint });
  }

  /**
   * Takes a last sample, stores it and stops. Live runs stay live: the next start goes on with them. Nothing is asked
   * of it by now: who goes on asking for samples holds it up.
   */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.checkpoint.stop();
    this.#o.sampler.rest();
    try {
      await this.checkpoint.last();
    } finally {
      await this.#o.sampler.stop(this.checkpoint.storedNs);
    }
  }

  /** Books that do not balance are counted at every checkpoint and logged once a run. */
  #audit(runs: readonly Run[]): void {
    for (const run of runs) {
      if (run.residualColumns.length === 0) continue;
      this.violations += 1;
      if (this.#unbalanced.has(run.handle)) continue;
      this.#unbalanced.add(run.handle);
      const columns = run.residualColumns;
      this.#o.log.error({ run: run.key, columns }, 'scopes and unattributed do not add up to the run');
    }
  }

  #retryDelay(): Promise<void> {
    const { signal } = this.#stopping;
    return new Promise((resolve, reject) => {
      const stopped = () => {
        clearTimeout(timer);
        reject(new StoppingError());
      };
      const timer = setTimeout(() => {
        signal.removeEventListener('abort', stopped);
        resolve();
      }, this.#o.checkpointIntervalMs);
      signal.addEventListener('abort', stopped, { once: true });
      if (signal.aborted) stopped();
    });
  }
}
