// What the cases against a real MLflow server share: the server, sinks for it, and what it says of a run.

import { expect } from 'vitest';
import { bodyOf, type Metric } from '../../../src/delivery/mlflow/items.js';
import { MlflowSink } from '../../../src/delivery/mlflow/sink.js';
import { SendError } from '../../../src/delivery/model.js';
import type { EndedRunWithFiles } from '../../unit/support/ended-run.js';
import { itemsOf, targetOf } from './courier.js';
import { RealServer } from './real-server.js';

/** Milliseconds for a server to start, and for one test: others may need the machine. */
export const START_MS = 120_000;
export const TEST_MS = 120_000;
export const SUMMARY = 'resources/summary.json';

export interface Expected {
  major: 2 | 3;
  /** Figures in one request once the version is known. */
  together: number;
  /** For 1000 scopes with every column, on an idle machine. */
  budgetSeconds: number;
  /** Ways in which training programs are run against it. */
  programs: readonly string[];
}

export interface StoredRun {
  info: {
    run_id: string;
    status: string;
    end_time?: number;
    artifact_uri: string;
    run_name: string;
    start_time: number;
  };
  data: { metrics?: Metric[]; tags?: { key: string; value: string }[] };
}

export class Bench {
  readonly #sinks: MlflowSink[] = [];
  #server: RealServer | undefined;

  /** @param server one that runs already, and is another's to stop */
  constructor(server?: RealServer) {
    this.#server = server;
  }

  async start(mlflow: string): Promise<void> {
    this.#server = await RealServer.start(mlflow);
  }

  async stop(): Promise<void> {
    for (const sink of this.#sinks) sink.close();
    await this.#server?.stop();
  }

  get server(): RealServer {
    return this.#server!;
  }

  /** A new one, as after a restart of the agent. */
  sinkFor({ readFile }: EndedRunWithFiles): MlflowSink {
    const sink = new MlflowSink({ version: '0', credentials: {}, timeoutMs: 60_000, readFile });
    this.#sinks.push(sink);
    return sink;
  }

  /** A trainer's run. */
  async startRun(): Promise<string> {
    const body = { experiment_id: '0', run_name: 'trainer', start_time: 1 };
    const made = await this.server.call<{ run: StoredRun }>('POST', 'mlflow/runs/create', body);
    return made.run.info.run_id;
  }

  async end(runId: string, status: string): Promise<void> {
    await this.server.call('POST', 'mlflow/runs/update', { run_id: runId, status, end_time: 77 });
  }

  async stored(runId: string): Promise<StoredRun> {
    return (await this.server.call<{ run: StoredRun }>('GET', `mlflow/runs/get?run_id=${runId}`)).run;
  }

  /** An artifact of the trainer's. */
  async put(runId: string, path: string, body: string): Promise<void> {
    const url = `${this.server.address}/api/2.0/mlflow-artifacts/artifacts/0/${runId}/artifacts/${path}`;
    expect((await fetch(url, { method: 'PUT', body })).status).toBe(200);
  }

  /** What the server's rows have to be. */
  plannedMetrics(run: EndedRunWithFiles, runId: string): Metric[] {
    return itemsOf(this.sinkFor(run), run, targetOf(this.server.address, runId))
      .filter(({ kind }) => kind === 'metrics')
      .flatMap((item) => bodyOf(item, 'metrics').metrics)
      .sort((a, b) => (a.key < b.key ? -1 : 1));
  }
}

export function tagsOf(run: StoredRun): Record<string, string> {
  return Object.fromEntries((run.data.tags ?? []).map((tag) => [tag.key, tag.value]));
}

export async function refusal(done: Promise<unknown>): Promise<SendError> {
  const error = await done.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(SendError);
  return error as SendError;
}
