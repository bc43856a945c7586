// The checkpoint: pull a sample, commit everything that changed in one transaction, publish it. Owns the schedule and
// the single flight: whoever asks while one is under way shares the next one. JavaScript is woken by sampling only
// here, at most once an interval.

import { LezeaError, messageOf, StoppingError } from '../errors.js';
import type { Sampler, Snapshot } from '../native/addon.js';
import type { Ledger } from './ledger.js';
import type { Persistence } from './records.js';
import type { TrackedRun } from './tracked-run.js';

/** While no run is live only the agent's own figures change: it looks at them every so many intervals. */
const IDLE_INTERVALS = 10;
/** The interval stretches so that checkpoints take at most this share of the time. */
const MAX_SHARE = 0.02;

export interface CheckpointHooks {
  /** Before the commit: what the sample means for the runs, to be stored with it. */
  sampled(snapshot: Snapshot): void;
  /** After the commit of figures: what they mean for limits. True: that is to be stored too, before anybody is told. */
  judged(): boolean;
  /** After the commit: the runs whose published figures changed. */
  committed(runs: TrackedRun[]): void;
  /** Whether any run is live: the schedule follows it. */
  busy(): boolean;
  /** The state changed between working and failing; a failing database is tried again at every checkpoint. */
  failing(error: LezeaError | undefined): void;
}

export interface CheckpointParts {
  sampler: Sampler;
  ledger: Ledger;
  persistence: Persistence;
  hooks: CheckpointHooks;
}

interface Waiter {
  durable: boolean;
  resolve(): void;
  reject(error: LezeaError): void;
}

export class Checkpoint {
  /** The newest sample, committed or not: the source of the agent's own figures. */
  lastSnapshot: Snapshot | undefined;
  /** CLOCK_MONOTONIC of the newest sample that is committed, ns; 0: none is. */
  storedNs = 0n;
  /** Checkpoints committed, those that failed, and how long they took in all, ms. */
  commits = 0;
  failures = 0;
  commitMs = 0;
  error: LezeaError | undefined;

  readonly #parts: CheckpointParts;
  readonly #intervalMs: number;
  #waiting: Waiter[] = [];
  #flight: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #lastMs = 0;
  #running = false;
  #ended = false;

  constructor(parts: CheckpointParts, intervalMs: number) {
    this.#parts = parts;
    this.#intervalMs = intervalMs;
  }

  /** The first one is at once: until then nothing is known, and the agent is not well. */
  start(): void {
    this.#running = true;
    this.#tick();
  }

  /** Stops the schedule and waits for a checkpoint under way. */
  async stop(): Promise<void> {
    this.#running = false;
    clearTimeout(this.#timer);
    await this.#flight;
  }

  /** The last one, on the disk. What is requested after it is refused with StoppingError: the next agent's. */
  last(): Promise<void> {
    const last = this.request({ durable: true });
    this.#ended = true;
    return last;
  }

  /** The schedule follows whether a run is live; call it when the first one begins. */
  wake(): void {
    if (this.#running && !this.#flight) this.#schedule();
  }

  /**
   * Resolves once a sample that was begun after this call is committed; rejects when it could not be.
   * The sample is taken at once: whoever asks meanwhile would else wait for the next tick too.
   * `durable`: have it on the disk.
   */
  request(how: { durable?: boolean } = {}): Promise<void> {
    if (this.#ended) return Promise.reject(new StoppingError());
    return new Promise((resolve, reject) => {
      this.#waiting.push({ durable: how.durable ?? false, resolve, reject });
      this.#flight ??= this.#fly();
    });
  }

  /** Serves everyone who waits, round by round, then goes back to the schedule. Never rejects. */
  async #fly(): Promise<void> {
    clearTimeout(this.#timer);
    while (this.#waiting.length > 0) {
      const served = this.#waiting;
      this.#waiting = [];
      try {
        await this.#once(served.some((w) => w.durable));
        for (const waiter of served) waiter.resolve();
      } catch (error) {
        const failure = this.#failed(error);
        for (const waiter of served) waiter.reject(failure);
      }
    }
    this.#flight = undefined;
    this.#schedule();
  }

  async #once(durable: boolean): Promise<void> {
    const { ledger, persistence, hooks } = this.#parts;
    const snapshot = await this.#pull();
    const begun = performance.now();
    this.#take(snapshot);
    const changed = new Set(ledger.commit(persistence, durable));
    if (hooks.judged()) for (const run of ledger.commit(persistence, durable)) changed.add(run);
    this.#lastMs = performance.now() - begun;
    this.commitMs += this.#lastMs;
    this.commits += 1;
    this.storedNs = snapshot.tMonoNs;
    if (this.error) hooks.failing(undefined);
    this.error = undefined;
    hooks.committed([...changed]);
  }

  /** A sample of now. One that came too late for an earlier checkpoint goes into this one, before it. */
  async #pull(): Promise<Snapshot> {
    for (;;) {
      const snapshot = await this.#parts.sampler.pull(true);
      if (!snapshot.late) return snapshot;
      this.#take(snapshot);
    }
  }

  #take(snapshot: Snapshot): void {
    this.lastSnapshot = snapshot;
    this.#parts.ledger.absorb(snapshot);
    this.#parts.hooks.sampled(snapshot);
  }

  #failed(cause: unknown): LezeaError {
    const failure = new LezeaError('internal', `the checkpoint failed: ${messageOf(cause)}`, { cause });
    this.failures += 1;
    if (!this.error) this.#parts.hooks.failing(failure);
    this.error = failure;
    return failure;
  }

  #schedule(): void {
    clearTimeout(this.#timer);
    if (!this.#running) return;
    const interval = Math.max(this.#intervalMs, this.#lastMs / MAX_SHARE);
    const delay = this.#parts.hooks.busy() ? interval : interval * IDLE_INTERVALS;
    this.#timer = setTimeout(() => this.#tick(), delay);
  }

  #tick(): void {
    // Its failure was reported by #failed and the next interval tries again.
    this.request().catch(() => undefined);
  }
}
