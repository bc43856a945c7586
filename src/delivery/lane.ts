// Brings what waits for one place to that place, one request at a time, until nothing waits. Owns the wait between tries;
// what it has to remember over a restart is in the outbox.

import type { Logger } from 'pino';
import { messageOf } from '../errors.js';
import { type BackoffLimits, backoffMs, restOfWait } from './backoff.js';
import { type Delivery, type Item, SendError, type Sink } from './model.js';
import type { Outbox, SinkState } from './outbox.js';

/** Items that are read at once; a sink may put several of them in one request. */
const LOOK_AHEAD = 16;

export interface LaneOptions {
  name: string;
  sink: Sink;
  outbox: Outbox;
  log: Logger;
  limits: BackoffLimits;
  /** Between tries at a place that does not let the agent in, milliseconds. */
  refusedMs: number;
  nowMs(): number;
  random(): number;
}

export class Lane {
  readonly #o: LaneOptions;
  readonly #stopping = new AbortController();
  /** Whom a try failed for last: the next one is another's turn. */
  #after = 0;
  /** Requests with one item each, after several together were refused. */
  #alone = 0;
  #wake: () => void = () => undefined;
  /** Somebody said that something waits, after the outbox was looked into last. */
  #asked = false;
  #work: Promise<void> | undefined;

  constructor(options: LaneOptions) {
    this.#o = options;
  }

  get isIdle(): boolean {
    return this.#work === undefined;
  }

  /** Something may wait: begins, if it is not under way. */
  start(): void {
    if (this.#stopping.signal.aborted) return;
    this.#asked = true;
    this.#work ??= this.#run().finally(() => {
      this.#work = undefined;
      if (this.#asked) this.start();
    });
  }

  /** Tries now, whatever it waits for. */
  hurry(): void {
    this.#o.outbox.setSink({ ...this.#state, retryMs: 0 });
    this.#wake();
    this.start();
  }

  /** Ends the request that is under way; what was not said to be taken stays in the outbox. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#wake();
    await this.#work;
  }

  get #state(): SinkState {
    return this.#o.outbox.sink(this.#o.name);
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      try {
        await this.#sleep();
        this.#asked = false;
        if (signal.aborted || !(await this.#next())) return;
      } catch (error) {
        // The database cannot be read or written: whatever was sent is sent again, which changes nothing.
        this.#o.log.error({ sink: this.#o.name, reason: messageOf(error) }, 'the outbox failed');
        await this.#pause(this.#o.limits.firstMs);
      }
    }
  }

  #sleep(): Promise<void> {
    const { retryMs, refused } = this.#state;
    const { nowMs, limits, refusedMs } = this.#o;
    const most = { ...limits, mostMs: refused === undefined ? limits.mostMs : refusedMs };
    return this.#pause(restOfWait(retryMs, nowMs(), most));
  }

  #pause(ms: number): Promise<void> {
    if (ms <= 0) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** One request; false when nothing waits. */
  async #next(): Promise<boolean> {
    const { outbox, sink, name } = this.#o;
    const found = outbox.next(name, this.#after, LOOK_AHEAD);
    if (!found) return false;
    const { delivery, items } = found;
    // All of those that were read may have turned out to be damaged.
    if (items.length === 0) return true;
    const count = this.#alone > 0 ? 1 : sink.together(delivery, items);
    const taken = items.slice(0, count);
    try {
      await sink.send(delivery, taken, this.#stopping.signal);
    } catch (error) {
      if (!this.#stopping.signal.aborted) this.#failed(delivery, taken, error);
      return true;
    }
    this.#alone = Math.max(0, this.#alone - 1);
    this.#delivered(delivery, taken);
    return true;
  }

  #delivered(delivery: Delivery, items: readonly Item[]): void {
    const { outbox, nowMs, name, log } = this.#o;
    const before = this.#state;
    outbox.delivered(
      delivery.id,
      items.map(({ id }) => id),
      nowMs(),
    );
    outbox.setSink({ name, failures: 0, retryMs: 0, deliveredMs: nowMs() });
    if (before.failures > 0)
      log.info({ sink: name, failures: before.failures }, 'the sink takes totals again');
  }

  #failed(delivery: Delivery, items: readonly Item[], thrown: unknown): void {
    const { outbox } = this.#o;
    // What is no SendError is a fault of ours: it must not lose anything either.
    const error = thrown instanceof SendError ? thrown : new SendError('retry', messageOf(thrown));
    const { verdict, message: reason } = error;
    const [first] = items;
    if (verdict === 'poison' || verdict === 'elsewhere') {
      if (items.length > 1) this.#alone = items.length;
      else if (first && verdict === 'elsewhere') outbox.handOver(first.id, reason);
      else if (first) this.#poisoned(delivery, first, error);
      return;
    }
    if (verdict === 'gone') {
      outbox.buryAll(delivery.id, reason);
      const what = { sink: this.#o.name, run: delivery.run.runId, reason };
      this.#o.log.error(
        what,
        'what totals belong to is no more; they are kept aside (lezea-monitor outbox show)',
      );
      return;
    }
    this.#after = delivery.id;
    this.#later(verdict, { delivery, reason }, error.retryAfterMs);
  }

  #poisoned(delivery: Delivery, item: Item, error: SendError): void {
    const { outbox, sink, log, name } = this.#o;
    const reason = error.message;
    const halves = sink.split(item, error);
    if (halves.length > 0) {
      outbox.replace(item, delivery.id, halves);
      return;
    }
    outbox.bury(item.id, reason);
    const what = { sink: name, run: delivery.run.runId, item: item.id, kind: item.kind, reason };
    log.error(what, 'an item will never be taken; it is kept aside (lezea-monitor outbox show)');
  }

  #later(
    verdict: 'retry' | 'refused',
    { delivery, reason }: { delivery: Delivery; reason: string },
    retryAfterMs = 0,
  ): void {
    const { outbox, log, name, limits, refusedMs, nowMs, random } = this.#o;
    const before = this.#state;
    const failures = before.failures + 1;
    const wait =
      verdict === 'refused' ? refusedMs : backoffMs(failures, limits, { random: random(), retryAfterMs });
    const { refused: _let, ...state } = before;
    outbox.setSink({
      ...state,
      failures,
      retryMs: nowMs() + wait,
      error: reason,
      delivery: delivery.id,
      ...(verdict === 'refused' ? { refused: reason } : {}),
    });
    if (failures === 1 || (verdict === 'refused' && before.refused === undefined)) {
      const what = { sink: name, reason, retry_in_ms: Math.round(wait) };
      log.warn(
        what,
        verdict === 'refused'
          ? 'the sink lets nobody in; everything is kept'
          : 'the sink does not take totals',
      );
    }
  }
}
