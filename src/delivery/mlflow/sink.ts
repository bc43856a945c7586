// Brings runs' totals to MLflow over its REST interface. Reads the run's documents and what is at the server; owns the
// connections. Sent again, every item has the same effect: figures are the same rows, documents the same bytes, tags the
// same values, and a run that has ended stays as it is.

import { messageOf } from '../../errors.js';
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
import { RunArtifacts, sha256 } from './artifacts.js';
import { type ArtifactBody, bodyOf, type Tag } from './items.js';
import { MAX_BATCH_KEYS, planRun, splitItem } from './plan.js';
import { MlflowRuns } from './runs.js';
import { type Credentials, MlflowServer, type RunInfo } from './server.js';
import { wantedRun } from './settings.js';

export interface MlflowSinkOptions {
  /** This program's. */
  version: string;
  /** A document of an ended run. */
  readFile(run: Delivery['run'], path: string): Promise<Buffer>;
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
/** The same where it matters whether the run is still running. */
const STATUS_MAX_AGE_MS = 2000;
/** How long a server is taken to be of the version that it told, milliseconds. */
const VERSION_MAX_AGE_MS = 600_000;

export class MlflowSink implements Sink {
  readonly #o: MlflowSinkOptions;
  readonly #http: HttpClient;
  readonly #nowMs: () => number;
  readonly #runs: MlflowRuns;
  /** Figures in one request, by address; where none is known, the fewest. */
  readonly #bounds = new Map<string, { keys: number; atMs: number }>();

  constructor(options: MlflowSinkOptions) {
    this.#o = options;
    this.#http = new HttpClient({ ...options, userAgent: `lezea-monitor/${options.version}` });
    this.#nowMs = options.nowMs ?? (() => performance.now());
    this.#runs = new MlflowRuns(this.#nowMs);
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
      metrics += bodyOf(item, 'metrics').metrics.length;
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
    switch (item.kind) {
      case 'create':
        return this.#runs.create(server, delivery, bodyOf(item, 'create'), signal);
      case 'artifact':
        return this.#sendArtifact(server, delivery, bodyOf(item, 'artifact'), signal);
      case 'tags':
        return this.#log(server, delivery, bodyOf(item, 'tags'), signal);
      case 'end': {
        const run = await this.#runs.find(server, delivery, 0, signal);
        // Whoever ended it knew how it came out.
        if (run.status === 'RUNNING') await server.endRun(run.run_id, bodyOf(item, 'end'), signal);
        return;
      }
      default:
        throw new SendError('poison', `item ${item.id} is of a kind that is not known: ${item.kind}`);
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

  async #sendArtifact(
    server: MlflowServer,
    delivery: Delivery,
    body: ArtifactBody,
    signal: AbortSignal,
  ): Promise<void> {
    const run = await this.#runs.find(server, delivery, STATUS_MAX_AGE_MS, signal);
    const artifacts = new RunArtifacts(server, run.artifact_uri);
    const data = await this.#document(delivery, body);
    const aside = `lezea-monitor/${body.path}`;
    const others = [aside, `lezea-monitor/${delivery.run.key}/${body.path}`] as const;
    let place = await artifacts.put(body, data, others, signal);
    // A trainer may still write its own there, and would not look: ours lies where it stays as well.
    const isOurs = wantedRun(delivery.target).by === 'creation';
    if (place === body.path && isRunning(run) && !isOurs) {
      place = await artifacts.put({ ...body, path: aside }, data, [others[1]], signal);
    }
    if (place === body.path) return;
    const tags = [{ key: `lezea_monitor.artifact.${body.path}`, value: place }];
    await this.#log(server, delivery, { tags }, signal);
  }

  /** What the item promised, and nothing else. */
  async #document({ run }: Delivery, { path, sha256: promised }: ArtifactBody): Promise<Buffer> {
    let data: Buffer;
    try {
      data = await this.#o.readFile(run, path);
    } catch (error) {
      const isMissing = (error as NodeJS.ErrnoException).code === 'ENOENT';
      throw new SendError(
        isMissing ? 'poison' : 'retry',
        `${path} of run ${run.runId}: ${messageOf(error)}`,
        { cause: error },
      );
    }
    if (sha256(data) === promised) return data;
    throw new SendError('poison', `${path} of run ${run.runId} is not what it was when the run ended`);
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

type LogBatch = { metrics: ReturnType<typeof bodyOf<'metrics'>>['metrics'] } | { tags: Tag[] };

function isRunning({ status }: RunInfo): boolean {
  return status === 'RUNNING' || status === 'SCHEDULED';
}

/** Whether figures that the server has already may come again among any number of others. */
export function recoversDuplicates(version: string | undefined): boolean {
  const [major = 0, minor = 0] = (version ?? '').split('.').map(Number);
  return major > 3 || (major === 3 && minor >= 10);
}
