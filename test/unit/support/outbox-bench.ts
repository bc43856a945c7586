// An agent with ended runs in its outbox: a real database, socket and documents, a scripted place, and the real program of
// the command line. Owns a folder until stop().

import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { AttributionOptions } from '../../../src/attribution/attribution.js';
import type { Run } from '../../../src/attribution/model.js';
import type { DeliveriesOptions } from '../../../src/delivery/deliveries.js';
import type { DeliveryState } from '../../../src/delivery/outbox.js';
import { EVENTS_FILE, runFileFacts, runFolder, SUMMARY_FILE } from '../../../src/files/run-files.js';
import { cli, cliBytes, type Outcome } from '../cli/command-line.js';
import { type Bench, callerOf, openRequest, processOf, startBench, temporaryFolder } from './bench.js';
import { type Client, type IpcBench, startIpc } from './ipc-bench.js';

export const ME = callerOf(100);
export const TRACKER = { mlflow_tracking_uri: 'http://tracker:5000', mlflow_run_id: 'abc' };

export class OutboxBench {
  readonly folder = temporaryFolder();
  bench!: Bench;
  ipc!: IpcBench;
  readonly #clients: Client[] = [];

  static async start(
    delivery: Partial<DeliveriesOptions> = {},
    more: Partial<AttributionOptions> = {},
  ): Promise<OutboxBench> {
    const made = new OutboxBench();
    await made.open(delivery, more);
    return made;
  }

  /** Also after close(), on what it left. */
  async open(delivery: Partial<DeliveriesOptions>, more: Partial<AttributionOptions> = {}): Promise<void> {
    const { path } = this.folder;
    const documents = (run: Run) => runFileFacts(path, run);
    const writeFiles = async (run: Run) => writeDocuments(path, run);
    this.bench = startBench(path, { checkpointIntervalMs: 1, writeFiles, ...more }, undefined, {
      documents,
      ...delivery,
    });
    this.ipc = await startIpc(this.bench, path, join(path, 'proc'));
  }

  /** A run that used some CPU and has ended. */
  async ended(runId: string, tracker: Record<string, string> = TRACKER): Promise<void> {
    const { commands } = this.bench.attribution;
    commands.start(ME, { runId, tracker });
    await commands.openSession(ME, openRequest(runId, 100));
    this.bench.sampler.spend(processOf(100), 1_500_000_000n);
    await commands.end(ME, { runId, status: 'FINISHED', all: true });
  }

  /** `lezea-monitor outbox …` as a program of its own. */
  cli(...args: string[]): Promise<Outcome> {
    return cli(['outbox', ...args, '--socket', this.ipc.path]);
  }

  cliBytes(...args: string[]): Promise<Buffer> {
    return cliBytes(['outbox', ...args, '--socket', this.ipc.path]);
  }

  /** From now on, whoever connects is this user. */
  comeAs(uid: number): void {
    this.ipc.peer = { ...this.ipc.peer, uid };
  }

  async connect(): Promise<Client> {
    const client = await this.ipc.connect();
    this.#clients.push(client);
    return client;
  }

  list(all = true): DeliveryState[] {
    return this.bench.outbox.deliveries({ all });
  }

  /** What its place got, an entry for each item, in no order. */
  got(): string[] {
    return this.bench.sink.sent
      .flatMap(({ run, items }) => items.map(({ kind, body }) => `${run} ${kind} ${body}`))
      .sort();
  }

  async close(): Promise<void> {
    for (const client of this.#clients.splice(0)) client.close();
    this.ipc.server.stopAccepting();
    this.ipc.server.close();
    await this.bench.deliveries.stop();
    this.bench.close();
  }

  async stop(): Promise<void> {
    await this.close();
    this.folder.remove();
  }
}

/** Documents of more than one piece, with characters of several bytes. */
function writeDocuments(stateDir: string, run: Run): void {
  const texts = {
    [SUMMARY_FILE]: `{"run":"${run.runId}","é":"${'€uro '.repeat(20_000)}"}`,
    [EVENTS_FILE]: '{"seq":1}\n',
  };
  for (const [name, text] of Object.entries(texts)) {
    const path = join(runFolder(stateDir, run), name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
}
