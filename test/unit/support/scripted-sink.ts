// A place that totals go to, for tests: it keeps what it was sent, and fails as the test says.

import { once } from 'node:events';
import {
  type Delivery,
  type Draft,
  type EndedRun,
  type Item,
  SendError,
  type Sink,
} from '../../../src/delivery/model.js';

export interface Sent {
  run: string;
  items: { kind: string; body: string }[];
}

export class ScriptedSink implements Sink {
  readonly sent: Sent[] = [];
  readonly tried: Sent[] = [];
  /** Deliveries in the order in which requests of them were taken. */
  readonly delivered: number[] = [];
  /** Called before each request; what it throws is what the place said. */
  script: (delivery: Delivery, items: readonly Item[]) => void | Promise<void> = () => undefined;
  /** The run's columns, each eight times, two to an item. */
  plan(run: EndedRun): Draft[] {
    const figures = Object.entries(run.totals).flatMap(([column, value]) =>
      Array.from({ length: 8 }, (_, n) => [n === 0 ? column : `${column}#${n}`, value]),
    );
    const drafts: Draft[] = [];
    for (let at = 0; at < figures.length; at += 2) {
      drafts.push({ stage: 1, kind: 'figures', body: JSON.stringify(figures.slice(at, at + 2)) });
    }
    const { status, reason } = run.outcome;
    const end = { status, reason, files: run.files, allDead: run.allDead };
    return [...drafts, { stage: 2, kind: 'end', body: JSON.stringify(end) }];
  }

  together(_delivery: Delivery, items: readonly Item[]): number {
    return Math.min(2, items.length);
  }

  async send(delivery: Delivery, items: readonly Item[], signal: AbortSignal): Promise<void> {
    const sent = { run: delivery.run.runId, items: items.map(({ kind, body }) => ({ kind, body })) };
    this.tried.push(sent);
    const slow = this.script(delivery, items);
    if (slow) await Promise.race([slow, once(signal, 'abort')]);
    signal.throwIfAborted();
    this.sent.push(sent);
    this.delivered.push(delivery.id);
  }

  close(): void {
    // Nothing is open.
  }

  split(item: Item): Draft[] {
    const figures = JSON.parse(item.body) as unknown[];
    if (item.kind !== 'figures' || figures.length < 2) return [];
    return figures.map((figure) => ({ stage: item.stage, kind: item.kind, body: JSON.stringify([figure]) }));
  }
}

/** A script that fails so many times, then is fine. */
export function failing(
  times: number,
  make: () => Error = () => new SendError('retry', 'no room'),
): () => void {
  let left = times;
  return () => {
    if (left === 0) return;
    left -= 1;
    throw make();
  };
}
