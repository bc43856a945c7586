// Brings what waits in the outbox to its places: a lane for each place, so that a slow one holds nobody else. Owns the
// lanes.

import type { Logger } from 'pino';
import type { BackoffLimits } from './backoff.js';
import { Lane } from './lane.js';
import type { Sink, Target } from './model.js';
import type { Outbox } from './outbox.js';

export interface CourierOptions {
  outbox: Outbox;
  /** By kind; a kind that is not there is switched off: what waits for it waits. */
  sinks: Partial<Record<Target['kind'], Sink>>;
  log: Logger;
  nowMs(): number;
  random?: () => number;
  limits?: BackoffLimits;
  refusedMs?: number;
}

/** From one second to five minutes. */
const LIMITS: BackoffLimits = { firstMs: 1000, mostMs: 300_000 };
const REFUSED_MS = 600_000;

export class Courier {
  readonly #o: CourierOptions;
  readonly #lanes = new Map<string, Lane>();
  #stopped = false;

  constructor(options: CourierOptions) {
    this.#o = options;
  }

  /** Something may have been added: every place with something waiting is brought it. */
  wake(): void {
    if (this.#stopped) return;
    for (const [name, lane] of this.#lanes) if (lane.isIdle) this.#lanes.delete(name);
    for (const name of this.#o.outbox.waitingSinks()) this.#lane(name)?.start();
  }

  /** Tries this place at once, if something waits for the agent to bring it there. */
  hurry(sink: string): void {
    this.wake();
    if (this.#o.outbox.waitingSinks().includes(sink)) this.#lane(sink)?.hurry();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all([...this.#lanes.values()].map((lane) => lane.stop()));
  }

  #lane(name: string): Lane | undefined {
    const {
      sinks,
      outbox,
      log,
      nowMs,
      random = Math.random,
      limits = LIMITS,
      refusedMs = REFUSED_MS,
    } = this.#o;
    const sink = sinks[name.slice(0, name.indexOf(' ')) as Target['kind']];
    if (!sink || this.#stopped) return undefined;
    let lane = this.#lanes.get(name);
    if (!lane) {
      lane = new Lane({ name, sink, outbox, log, limits, refusedMs, nowMs, random });
      this.#lanes.set(name, lane);
    }
    return lane;
  }
}
