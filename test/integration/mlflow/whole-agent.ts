// A whole agent of a test, in a folder of its own: started, killed, started again; the command line and training programs
// that speak to it. Owns the folder and the processes until remove().

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect } from 'vitest';
import type { SummaryDocument } from '../../../src/files/summary-document.js';
import { AgentProcess, BIN } from '../../unit/support/agent-process.js';
import { temporaryFolder } from '../../unit/support/bench.js';
import { asked, delivered, ended, type ListedDelivery } from './whole-run.js';

/** Tries come soon enough for a test. */
const IMPATIENT = ['--set', 'tracker.retry_first_ms=50', '--set', 'tracker.retry_most_ms=200'];

export interface WholeAgentOptions {
  /** As `agent` takes them. */
  args?: readonly string[];
  /** As AgentOptions.through. */
  through?: readonly string[];
}

export interface Orders {
  runs: readonly { id: string; mlflowRun: string }[];
  /** Address. */
  tracker: string;
  builders?: number;
  /** In each builder. */
  layers?: number;
  rank?: number;
  worldSize?: number;
  /** Every run waits for a line before its end. */
  hold?: boolean;
}

export class WholeAgent {
  readonly folder = temporaryFolder();
  #process: AgentProcess | undefined;
  readonly #trainers: Trainer[] = [];

  static async start(options: WholeAgentOptions = {}): Promise<WholeAgent> {
    const agent = new WholeAgent();
    try {
      await agent.start(options);
    } catch (error) {
      await agent.remove();
      throw error;
    }
    return agent;
  }

  /** In the folder as it was left. */
  async start({ args = [], through = [] }: WholeAgentOptions = {}): Promise<void> {
    this.#process = new AgentProcess(this.folder.path, { args: [...IMPATIENT, ...args], through });
    await this.#process.ready();
  }

  get process(): AgentProcess {
    return this.#process!;
  }

  get stateFolder(): string {
    return join(this.folder.path, 'state');
  }

  async stop(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    this.process.child.kill(signal);
    await this.process.exit;
  }

  async remove(): Promise<void> {
    for (const trainer of this.#trainers) await trainer.kill();
    if (this.#process) await this.stop('SIGKILL');
    this.folder.remove();
  }

  train(orders: Orders): Trainer {
    const trainer = new Trainer(this.process.socket, orders);
    this.#trainers.push(trainer);
    return trainer;
  }

  ended(runId: string): Promise<SummaryDocument> {
    return ended(this.process.socket, runId);
  }

  delivered(runId: string): Promise<ListedDelivery> {
    return delivered(this.process.socket, runId);
  }

  /** Everything that it has to bring. */
  async deliveredAll(timeout = 60_000): Promise<void> {
    const list = () => this.ask<{ deliveries: ListedDelivery[] }>('outbox.list', {});
    await expect.poll(async () => (await list()).deliveries, { timeout, interval: 100 }).toEqual([]);
  }

  ask<T>(method: string, params: object): Promise<T> {
    return asked(this.process.socket, (connection) => connection.request<T>(method, params));
  }

  /** The command line, as a user of the agent types it. */
  cli(...words: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
    return run(process.execPath, [BIN, ...words, '--socket', this.process.socket]);
  }

  /** A file beside the agent's own. */
  write(name: string, text: string): string {
    const path = join(this.folder.path, name);
    writeFileSync(path, text);
    return path;
  }
}

export class Trainer {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(socket: string, orders: Orders) {
    const { LEZEA_RUN_ID: _run, ...rest } = process.env;
    const program = join(import.meta.dirname, 'trainer.mjs');
    this.#child = spawn(process.execPath, [program, JSON.stringify(orders)], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...rest, LEZEA_MONITOR_SOCKET: socket },
    });
    this.#lines = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]();
  }

  /** Resolves when it has printed this line, the next one. */
  async says(line: string): Promise<void> {
    expect((await this.#lines.next()).value).toBe(line);
  }

  /** Lets a run go on to its end. */
  go(): void {
    this.#child.stdin!.write('\n');
  }

  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await gone;
  }
}

export async function run(command: string, words: readonly string[]) {
  const child = spawn(command, words, { stdio: ['ignore', 'pipe', 'pipe'] });
  let [stdout, stderr] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const [code] = (await once(child, 'close')) as [number];
  return { code, stdout, stderr };
}
