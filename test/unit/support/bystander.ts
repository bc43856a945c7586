// A run of somebody who does nothing wrong, while others do: its workload says itself what CPU it used, and its questions
// are timed. Owns the workload and the connection.

import { loadAddon } from '../../../src/native/addon.js';
import { type Burner, startBurner } from './burner.js';
import { Client } from './ipc-bench.js';

export class Bystander {
  /** CPU that the workload says it used while bound, seconds. */
  used = 0;
  readonly #client: Client;
  readonly #burner: Burner;

  private constructor(client: Client, burner: Burner) {
    this.#client = client;
    this.#burner = burner;
  }

  static async start(socket: string): Promise<Bystander> {
    const burner = await startBurner();
    const client = await Client.connect(socket);
    await client.result('run.start', { run_id: 'bystander' });
    const where = { birth_scope: 'builder:b0', t_ns: Number(loadAddon().monotonicNs()) };
    await client.result('session.open', { run_id: 'bystander', pid: burner.child.pid, ...where });
    return new Bystander(client, burner);
  }

  async burn(ms: number): Promise<void> {
    this.used += await this.#burner.burn(ms);
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
    this.#burner.child.kill('SIGKILL');
    this.#client.close();
  }
}
