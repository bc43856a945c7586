// Brings runs' totals to MLflow over its REST interface. Reads the run's documents and what is at the server; owns the
// connections. Sent again, every item has the same effect: figures are the same rows, documents the same bytes, tags the
// same values, and a run that has ended stays as it is.

import {
  type Delivery,
  type Draft,
  type EndedRun,
  type Item,
  SendError,
  type Sink,
  type Target,
} from '../model.js';
import { HttpClient } from '../request.js';
import { Documents, type Sending } from './documents.js';
import { PARAM_TAG } from './facts.js';
import { bodyOf, type Param, readBody, type Tag } from './items.js';
import { MAX_BATCH_KEYS, planRun, splitItem } from './plan.js';
import { MlflowRuns } from './runs.js';
import { type Credentials, MlflowServer } from './server.js';
import { wantedRun } from './settings.js';

export interface MlflowSinkOptions {
  /** This program's. */
  version: string;
  /** A document of an ended run. */
  readFile(run: Delivery['run'], path: string): Promise<Buffer>;
  /** The tracker settings of the run's later attempts, which have begun. @default there are none */
  laterTrackers?(run: Delivery['run']): readonly Readonly<Record<string, string>>[];
  credentials: Credentials;
  caFile?: string;
  insecureTls?: boolean;
  /** For one request, milliseconds. */
  timeoutMs: number;
  /** @default the time since this process started, milliseconds */
  nowMs?: () => number;
}

/** How many figures a server takes in one request, whatever its version. */
const MAX_REQUEST_METRICS = 1000;
/** How long what a server said of a run is good enough to log figures and tags to it, milliseconds. */
const RUN_MAX_AGE_MS = 60_000;
/** How long a server is taken to be of the version that it told, milliseconds. */
const VERSION_MAX_AGE_MS = 600_000;

export class MlflowSink implements Sink {
  readonly #o: MlflowSinkOptions;
  readonly #http: HttpClient;
  readonly #nowMs: () => number;
  readonly #runs: MlflowRuns;
  readonly #documents: Documents;
  /** Figures in one request, by address; where none is known, the fewest. */
  readonly #bounds = new Map<string, { keys: number; atMs: number }>();

  constructor(options: MlflowSinkOptions) {
    this.#o = options;
    this.#http = new HttpClient({ ...options, userAgent: `lezea-monitor/${options.version}` });
    this.#nowMs = options.nowMs ?? (() => performance.now());
    this.#runs = new MlflowRuns(this.#nowMs);
    this.#documents = new Documents({
      runs: this.#runs,
      readFile: options.readFile,
      logTags: ({ server, delivery, signal }, tags) => this.#log(server, delivery, { tags }, signal),
      logMetrics: (sending, drafts) => this.#logDrafts(sending, drafts),
    });
  }

  close(): void {
    this.#http.close();
  }

  plan(run: EndedRun, target: Target): Iterable<Draft> {
    return planRun(run, target);
  }

  together({ target }: Delivery, items: readonly Item[]): number {
    const most = this.#bounds.get(target.address)?.keys ?? MAX_BATCH_KEYS;
    let metrics = 0;
    let count = 0;
    for (const item of items) {
      if (item.kind !== 'metrics') break;
      const body = readBody(item, 'metrics');
      // By itself, it is refused by itself.
      if (!body) break;
      metrics += body.metrics.length;
      if (count > 0 && metrics > most) break;
      count += 1;
    }
    return Math.max(count, 1);
  }

  split(item: Item): Draft[] {
    return splitItem(item);
  }

  async send(delivery: Delivery, items: readonly Item[], signal: AbortSignal): Promise<void> {
    const server = new MlflowServer(this.#http, delivery.target.address, this.#o.credentials);
    if (items[0]?.kind === 'metrics') return this.#sendMetrics(server, delivery, items, signal);
    for (const item of items) await this.#sendOne(server, delivery, item, signal);
  }

  async #sendOne(server: MlflowServer, delivery: Delivery, item: Item, signal: AbortSignal): Promise<void> {
    const sending = { server, delivery, signal };
    switch (item.kind) {
      case 'create':
        return this.#runs.create(server, delivery, bodyOf(item, 'create'), signal);
      case 'params':
        return this.#sendParams(sending, bodyOf(item, 'params').params);
      case 'artifact':
        return this.#documents.send(sending, bodyOf(item, 'artifact'));
      case 'merge':
        return this.#documents.merge(sending, bodyOf(item, 'merge'));
      case 'tags':
        return this.#documents.tags(sending, bodyOf(item, 'tags').tags);
      case 'end':
        return this.#end(sending, item);
      default:
        throw new SendError('poison', `item ${item.id} is of a kind that is not known: ${item.kind}`);
    }
  }

  /** A param is there for ever: where one of another value is, it stays, and a tag has ours. */
  async #sendParams({ server, delivery, signal }: Sending, params: Param[]): Promise<void> {
    const refused = await this.#refusedParams({ server, delivery, signal }, params);
    if (refused.length === 0) return;
    const tags = refused.map(({ key, value }) => ({ key: PARAM_TAG + key, value }));
    await this.#log(server, delivery, { tags }, signal);
  }

  /** Those that the server does not take: of several, perhaps one alone is in the way. */
  async #refusedParams(sending: Sending, params: Param[]): Promise<Param[]> {
    const { server, delivery, signal } = sending;
    try {
      await this.#log(server, delivery, { params }, signal);
      return [];
    } catch (error) {
      if (!(error instanceof SendError) || error.verdict !== 'poison') throw error;
    }
    if (params.length < 2) return params;
    const refused: Param[] = [];
    for (const one of params) refused.push(...(await this.#refusedParams(sending, [one])));
    return refused;
  }

  async #end({ server, delivery, signal }: Sending, item: Item): Promise<void> {
    const body = bodyOf(item, 'end');
    const run = await this.#runs.find(server, delivery, 0, signal);
    // Whoever ended it knew how it came out; and a later attempt of it is not over with this one.
    if (run.status !== 'RUNNING' || this.#goesOn(delivery)) return;
    await server.endRun(run.run_id, body, signal);
  }

  /** Whether a later attempt has begun, unless that one has an MLflow run of its own. */
  #goesOn({ run, target }: Delivery): boolean {
    const wanted = wantedRun(target);
    const ownId = wanted.by === 'id' ? wanted.runId : undefined;
    const later = this.#o.laterTrackers?.(run) ?? [];
    return later.some(({ mlflow_run_id: id }) => id === undefined || id === ownId);
  }

  /** Figures that were made while sending, in as few requests as the server takes. */
  async #logDrafts({ server, delivery, signal }: Sending, drafts: Iterable<Draft>): Promise<void> {
    let left = [...drafts].map((draft, id) => ({ ...draft, id }));
    while (left.length > 0) {
      const count = this.together(delivery, left.slice(0, MAX_REQUEST_METRICS));
      await this.#sendMetrics(server, delivery, left.slice(0, count), signal);
      left = left.slice(count);
    }
  }

  async #sendMetrics(
    server: MlflowServer,
    delivery: Delivery,
    items: readonly Item[],
    signal: AbortSignal,
  ): Promise<void> {
    await this.#learnBound(server, signal);
    const metrics = items.flatMap((item) => bodyOf(item, 'metrics').metrics);
    await this.#log(server, delivery, { metrics }, signal);
  }

  /** A refusal may be about the run and not about what was sent: that is asked. */
  async #log(server: MlflowServer, delivery: Delivery, batch: LogBatch, signal: AbortSignal): Promise<void> {
    const run = await this.#runs.find(server, delivery, RUN_MAX_AGE_MS, signal);
    try {
      await server.logBatch(run.run_id, batch, signal);
    } catch (error) {
      if (error instanceof SendError && error.verdict === 'poison')
        await this.#runs.find(server, delivery, 0, signal);
      throw error;
    }
  }

  /** Servers before 3.10 answer 400, always, when more than 100 keys come again in one request (mlflow/mlflow#20807). */
  async #learnBound(server: MlflowServer, signal: AbortSignal): Promise<void> {
    const known = this.#bounds.get(server.address);
    if (known && this.#nowMs() - known.atMs <= VERSION_MAX_AGE_MS) return;
    const version = await server.version(signal);
    const keys = recoversDuplicates(version) ? MAX_REQUEST_METRICS : MAX_BATCH_KEYS;
    this.#bounds.set(server.address, { keys, atMs: this.#nowMs() });
  }
}

type LogBatch =
  | { metrics: ReturnType<typeof bodyOf<'metrics'>>['metrics'] }
  | { params: Param[] }
  | { tags: Tag[] };

/** Whether figures that the server has already may come again among any number of others. */
export function recoversDuplicates(version: string | undefined): boolean {
  const [major = 0, minor = 0] = (version ?? '').split('.').map(Number);
  return major > 3 || (major === 3 && minor >= 10);
}
