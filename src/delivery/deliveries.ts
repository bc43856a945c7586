// Delivery put together: what an ended run has to say is cut into items and kept, and brought to its places. Owns the
// courier; the socket's outbox methods end here.

import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Facts } from '../attribution/facts.js';
import type { Caller, Run } from '../attribution/model.js';
import { sameOwner } from '../attribution/owners.js';
import { LezeaError, messageOf } from '../errors.js';
import type { SummaryEnvironment } from '../files/summary-document.js';
import type { Logger } from '../log.js';
import { aboutPlace } from './about-place.js';
import { addDrafts } from './bearers.js';
import { Courier, type CourierOptions } from './courier.js';
import { endedRun } from './ended-run.js';
import type { Folders, PieceAt } from './importing/folders.js';
import { Imports } from './importing/imports.js';
import type { AttemptDocuments, DocumentFile, Draft, Item, Sink, Target } from './model.js';
import type {
  DeliveryFilter,
  DeliveryState,
  Depth,
  ItemState,
  Outbox,
  SinkFigures,
  SinkState,
  WholeItem,
} from './outbox.js';
import {
  importedPlace,
  mlflowPlace,
  type Place,
  type Standing,
  standingOf,
  type TargetRules,
} from './targets.js';

/** How long the figures of the outbox are shown before they are counted again: it may be long. */
const FIGURES_MS = 5000;
/** What only clients bring: where to is their own business, and there is no end of such places. */
const CLIENT_SINKS = '(clients)';
const NOTHING: Depth = { sink: '', waiting: 0, withClient: 0, dead: 0, bytes: 0, oldestCreatedMs: 0 };
/** Drafts that are stored together: a transaction of some milliseconds. */
const DRAFTS_TOGETHER = 8;
/** Deliveries that are listed at once. */
const PAGE = 1000;
/** Of how many earlier attempts the documents go along: a run that is started over and over has few that matter. */
const MAX_EARLIER_DOCUMENTS = 32;

export interface DeliveriesOptions {
  outbox: Outbox;
  sinks: Partial<Record<Target['kind'], Sink>>;
  /** Nothing is sent at all; what there is to send waits. */
  offline: boolean;
  /** A place that every run of the node goes to. */
  everyRun?: Target;
  rules(): TargetRules;
  node: string;
  log: Logger;
  nowMs(): number;
  /** Whether the tracker's run is given its end where nobody else is left to. */
  closeDeadRuns(): boolean;
  /** The documents of an ended run, as they lie in its folder. */
  documents(run: Run): Promise<DocumentFile[]>;
  /** What an ended run ran on, where it is known. */
  fingerprints?(run: Run): Promise<SummaryEnvironment | undefined>;
  /** What was said of it. */
  facts?(run: Run): Facts;
  /** The attempts of a run before this one: the tracker has one run for all of them. */
  earlier(run: Run): Run[];
  folders: Folders;
  courier?: Pick<CourierOptions, 'random' | 'limits' | 'refusedMs'>;
}

export class Deliveries {
  readonly #o: DeliveriesOptions;
  readonly #courier: Courier;
  #figures: SinkFigures[] = [];
  #figuresAt = Number.NEGATIVE_INFINITY;
  /** What comes from other agents. */
  readonly imports: Imports;

  constructor(options: DeliveriesOptions) {
    this.#o = options;
    const { outbox, sinks, offline, log, nowMs, courier } = options;
    this.#courier = new Courier({ outbox, sinks: offline ? {} : sinks, log, nowMs, ...courier });
    this.imports = new Imports({
      outbox,
      folders: options.folders,
      log,
      place: (target, { privileged }) => {
        const { everyRun } = options;
        return importedPlace(target, options.rules(), { privileged, ...(everyRun ? { everyRun } : {}) });
      },
    });
    this.imports.sweep();
  }

  /** What became ready is brought to its places; at the start, what was left from before. */
  wake(): void {
    try {
      this.#courier.wake();
    } catch (error) {
      // What waits, waits for the next time; the agent has other things to do as well.
      this.#o.log.error({ reason: messageOf(error) }, 'the outbox cannot be read');
    }
  }

  async stop(): Promise<void> {
    await Promise.all([this.imports.stop(), this.#courier.stop()]);
    for (const sink of Object.values(this.#o.sinks)) sink.close();
  }

  /** Who will bring the run's totals to its tracker; undefined where it has none. */
  standing(tracker: Readonly<Record<string, string>>): Standing | undefined {
    return standingOf(tracker, this.#o.rules());
  }

  /** Keeps what is to be delivered of a run that has ended. It goes out once the run's status is final. */
  async prepare(run: Run, allDead: boolean): Promise<void> {
    await this.#cut(run, this.#places(run.tracker), { allDead: allDead && this.#o.closeDeadRuns() });
  }

  /** The same of its documents only: they could not be written when it ended, and its figures are kept already. */
  async prepareDocuments(run: Run): Promise<void> {
    const places = this.#places(run.tracker).filter(({ target }) => target.kind === 'mlflow');
    await this.#cut(run, places, { allDead: false, withoutFigures: true });
  }

  async #cut(
    run: Run,
    places: readonly Place[],
    { allDead, withoutFigures }: { allDead: boolean; withoutFigures?: true },
  ): Promise<void> {
    const { outbox, sinks, node, documents, nowMs } = this.#o;
    outbox.discard(run.handle);
    if (places.length === 0) return;
    const earlier = this.#o.earlier(run);
    const fingerprints = await this.#o.fingerprints?.(run);
    const facts = this.#o.facts?.(run);
    const whole = endedRun(run, {
      node,
      allDead,
      files: await documents(run),
      earlier,
      earlierFiles: await this.#documentsOf(earlier.slice(-MAX_EARLIER_DOCUMENTS)),
      ...(fingerprints && { environmentFingerprint: fingerprints.fingerprint }),
      ...(fingerprints?.run_fingerprint !== undefined && { runFingerprint: fingerprints.run_fingerprint }),
      ...(facts && { facts }),
    });
    const ended = withoutFigures ? { ...whole, totals: {}, scopes: () => [] } : whole;
    const { key, runId, attempt } = ended;
    for (const place of places) {
      const { target } = place;
      const sink = sinks[target.kind];
      if (!sink) continue;
      const id = outbox.begin({
        handle: run.handle,
        run: { key, runId, attempt },
        target,
        owner: run.owner,
        createdMs: nowMs(),
      });
      for await (const drafts of inSlices(sink.plan(ended, target))) addDrafts(outbox, id, drafts, place);
    }
  }

  async #documentsOf(attempts: readonly Run[]): Promise<AttemptDocuments[]> {
    const found: AttemptDocuments[] = [];
    for (const run of attempts) {
      const files = await this.#o.documents(run);
      if (files.length > 0) found.push({ attempt: run.attempt, files });
    }
    return found;
  }

  #places(tracker: Readonly<Record<string, string>>): Place[] {
    const { everyRun } = this.#o;
    const mlflow = mlflowPlace(tracker, this.#o.rules());
    return [
      ...(mlflow ? [mlflow] : []),
      ...(everyRun ? [{ target: everyRun, bearer: 'agent', documents: 'agent' } as const] : []),
    ];
  }

  /** What waits for which place, and how the places do. */
  figures(): SinkFigures[] {
    const now = performance.now();
    if (now - this.#figuresAt >= FIGURES_MS) {
      this.#figuresAt = now;
      try {
        this.#figures = this.#count();
      } catch (error) {
        this.#figures = [];
        this.#o.log.error({ reason: messageOf(error) }, 'the outbox cannot be counted');
      }
    }
    return this.#figures;
  }

  #count(): SinkFigures[] {
    const { outbox, nowMs } = this.#o;
    const places = new Map(outbox.sinks().map((state) => [state.name, { state, depth: NOTHING }]));
    let elsewhere: Depth | undefined;
    for (const depth of outbox.depths()) {
      const { state } = places.get(depth.sink) ?? { state: outbox.sink(depth.sink) };
      if (depth.waiting > 0 || places.has(depth.sink)) places.set(depth.sink, { state, depth });
      else elsewhere = elsewhere ? together(elsewhere, depth) : { ...depth, sink: CLIENT_SINKS };
    }
    if (elsewhere) places.set(CLIENT_SINKS, { state: outbox.sink(CLIENT_SINKS), depth: elsewhere });
    return [...places]
      .sort(([one], [other]) => (one < other ? -1 : 1))
      .map(([sink, { state, depth }]) => {
        const { sink: _own, oldestCreatedMs, ...counts } = depth;
        return {
          ...counts,
          sink,
          failures: state.failures,
          refused: state.refused !== undefined,
          ...(oldestCreatedMs > 0 && { oldestMs: Math.max(0, nowMs() - oldestCreatedMs) }),
          ...(state.deliveredMs !== undefined && { deliveredMs: state.deliveredMs }),
        };
      });
  }

  // What the socket asks. Callers see what is theirs.

  list(caller: Caller, filter: Omit<DeliveryFilter, 'owner'>): DeliveryState[] {
    return this.#o.outbox.deliveries({ ...filter, ...(caller.privileged ? {} : { owner: caller.owner }) });
  }

  /** A page of them. */
  page(caller: Caller, filter: Omit<DeliveryFilter, 'owner'>): { found: DeliveryState[]; more: boolean } {
    const found = this.list(caller, { ...filter, limit: PAGE + 1 });
    return { found: found.slice(0, PAGE), more: found.length > PAGE };
  }

  /** A delivery, and its items with ids after that. */
  show(caller: Caller, delivery: number, { after, limit }: { after: number; limit: number }) {
    const state = this.#own(caller, delivery);
    const items: ItemState[] = this.#o.outbox.items(delivery, after, limit);
    return { state, items };
  }

  item(caller: Caller, delivery: number, item: number): WholeItem {
    this.#own(caller, delivery);
    const found = this.#o.outbox.item(delivery, item);
    if (!found) throw new LezeaError('unknown_delivery', `no item ${item} in delivery ${delivery}`);
    return found;
  }

  /** Of a document that the delivery brings. */
  piece(caller: Caller, delivery: number, at: PieceAt) {
    return this.#o.folders.piece(this.#own(caller, delivery).run, at);
  }

  /** How the places do that these deliveries go to; what one said of another's delivery may name that one's runs. */
  sinks(caller: Caller, deliveries: readonly DeliveryState[]): SinkState[] {
    const names = new Set(deliveries.map(({ sink }) => sink));
    return [...names].map((name) => {
      const state = this.#o.outbox.sink(name);
      return this.#isOwn(caller, state.delivery) ? state : aboutPlace(state);
    });
  }

  #isOwn(caller: Caller, delivery: number | undefined): boolean {
    if (caller.privileged) return true;
    const [found] = delivery === undefined ? [] : this.#o.outbox.deliveries({ id: delivery, all: true });
    return found !== undefined && sameOwner(found.owner, caller.owner);
  }

  /** What a client is to bring next, in this order; [] when nothing is left for it. */
  take(caller: Caller, delivery: number, limit = 1): Item[] {
    const { ready } = this.#own(caller, delivery);
    return ready ? this.#o.outbox.nextForClient(delivery, limit) : [];
  }

  /** The client has brought them, or says of one why nobody ever will. */
  acknowledge(caller: Caller, delivery: number, items: readonly number[], error?: string): DeliveryState {
    this.#own(caller, delivery);
    const { outbox, nowMs } = this.#o;
    const next = new Set(outbox.nextForClient(delivery, items.length).map(({ id }) => id));
    // Not what is said twice, nor what is the agent's to bring.
    const taken = items.filter((id) => next.has(id));
    if (error === undefined) outbox.delivered(delivery, taken, nowMs());
    else for (const id of taken) outbox.bury(id, error);
    return this.#one(delivery);
  }

  /** Tries a delivery again, now, its dead items too. */
  retry(caller: Caller, delivery: number): DeliveryState {
    const { sink } = this.#own(caller, delivery);
    this.#o.outbox.revive(delivery);
    this.#courier.hurry(sink);
    return this.#one(delivery);
  }

  #own(caller: Caller, delivery: number): DeliveryState {
    const found = this.#one(delivery);
    if (!caller.privileged && !sameOwner(found.owner, caller.owner)) throw unknown(delivery);
    return found;
  }

  #one(id: number): DeliveryState {
    const [found] = this.#o.outbox.deliveries({ id, all: true });
    if (!found) throw unknown(id);
    return found;
  }
}

function together(one: Depth, other: Depth): Depth {
  return {
    sink: one.sink,
    waiting: one.waiting + other.waiting,
    withClient: one.withClient + other.withClient,
    dead: one.dead + other.dead,
    bytes: one.bytes + other.bytes,
    oldestCreatedMs: Math.min(one.oldestCreatedMs, other.oldestCreatedMs),
  };
}

function unknown(delivery: number): LezeaError {
  return new LezeaError('unknown_delivery', `no delivery ${delivery}`);
}

/** A few at a time, with other work in between. */
async function* inSlices(drafts: Iterable<Draft>): AsyncGenerator<Draft[]> {
  let slice: Draft[] = [];
  for (const draft of drafts) {
    slice.push(draft);
    if (slice.length < DRAFTS_TOGETHER) continue;
    yield slice;
    slice = [];
    await nextTurn();
  }
  if (slice.length > 0) yield slice;
}
