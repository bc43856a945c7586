// When ended runs are looked after: at the start, a while after a run has ended, and once an hour. Owns the timer.

import { messageOf } from '../errors.js';
import type { Logger } from '../log.js';

const SOON_MS = 10_000;
const HOUR_MS = 3_600_000;

export class Sweeper {
  readonly #sweep: () => Promise<unknown>;
  readonly #log: Logger;
  #timer: NodeJS.Timeout | undefined;
  #dueMs = Number.POSITIVE_INFINITY;
  #work: Promise<void> | undefined;
  #stopped = false;

  constructor(sweep: () => Promise<unknown>, log: Logger) {
    this.#sweep = sweep;
    this.#log = log;
  }

  /** Something has changed: once for all that happens in the next seconds. */
  soon(): void {
    this.#schedule(SOON_MS);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#work;
  }

  #schedule(delayMs: number): void {
    const dueMs = performance.now() + delayMs;
    if (this.#stopped || dueMs >= this.#dueMs) return;
    clearTimeout(this.#timer);
    this.#dueMs = dueMs;
    this.#timer = setTimeout(() => this.#begin(), delayMs);
    this.#timer.unref();
  }

  #begin(): void {
    this.#dueMs = Number.POSITIVE_INFINITY;
    this.#work ??= this.#sweep()
      .then(() => undefined)
      // The next one tries again: nothing depends on it now.
      .catch((error) => this.#log.warn({ reason: messageOf(error) }, 'ended runs could not be looked after'))
      .finally(() => {
        this.#work = undefined;
        this.#schedule(HOUR_MS);
      });
  }
}
