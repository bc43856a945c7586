// A run of somebody who does nothing wrong, while others do: its workload says itself what CPU it used, and its questions
// are timed. Owns the workload and the connection.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { loadAddon } from '../../../src/native/addon.js';
import { Client } from './ipc-bench.js';

/** Uses as many milliseconds of CPU as it is told, and says how many seconds those were. */
const BURNER = `
  process.on('message', (ms) => {
    const begun = process.cpuUsage();
    let used = 0;
    while (used < ms) {
      const { user, system } = process.cpuUsage(begun);
      used = (user + system) / 1000;
    }
    process.send(used / 1000);
  });
  process.send('ready');
`;

export class Bystander {
  /** CPU that the workload says it used while bound, seconds. */
  used = 0;
  readonly #client: Client;
  readonly #child: ChildProcess;

  private constructor(client: Client, child: ChildProcess) {
    this.#client = client;
    this.#child = child;
  }

  static async start(socket: string): Promise<Bystander> {
    const child = spawn(process.execPath, ['-e', BURNER], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    await once(child, 'message');
    const client = await Client.connect(socket);
    await client.result('run.start', { run_id: 'bystander' });
    const where = { birth_scope: 'builder:b0', t_ns: Number(loadAddon().monotonicNs()) };
    await client.result('session.open', { run_id: 'bystander', pid: child.pid, ...where });
    return new Bystander(client, child);
  }

  async burn(ms: number): Promise<void> {
    this.#child.send(ms);
    const [used] = await once(this.#child, 'message');
    this.used += used as number;
  }

  /** Asks over and over until the work is done; the longest answer, ms. */
  async longestAnswer(work: Promise<unknown>): Promise<number> {
    let done = false;
    const finished = work.finally(() => {
      done = true;
    });
    let longest = 0;
    while (!done) {
      const begun = performance.now();
      await this.#client.result('run.usage', { run_id: 'bystander' });
      longest = Math.max(longest, performance.now() - begun);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await finished;
    return longest;
  }

  /** What the agent has counted so far, seconds of CPU. */
  async counted(): Promise<number> {
    const usage = await this.#client.result('run.usage', { run_id: 'bystander', fresh: true });
    return (usage.inclusive as Record<string, number>).cpu_seconds ?? 0;
  }

  /** Ends the run; its summary document. */
  async end() {
    await this.#client.result('run.end', { run_id: 'bystander', status: 'FINISHED', all: true });
    const file = { run_id: 'bystander', file: 'resources/summary.json' };
    const { data } = await this.#client.result('run.get', file);
    return JSON.parse(Buffer.from(data as string, 'base64').toString());
  }

  kill(): void {
    this.#child.kill('SIGKILL');
    this.#client.close();
  }
}
