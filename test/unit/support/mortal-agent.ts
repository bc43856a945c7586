// A whole agent in a folder of its own, which is killed and started again over the same state, and a client of the one that
// lives. Owns the folder and every process given to it until stop().

import type { ChildProcess } from 'node:child_process';
import { type AgentOptions, AgentProcess } from './agent-process.js';
import { temporaryFolder } from './bench.js';
import { Client } from './ipc-bench.js';

export class MortalAgent {
  readonly #folder = temporaryFolder();
  readonly #options: AgentOptions;
  readonly #children: ChildProcess[] = [];
  #agent: AgentProcess | undefined;
  #client: Client | undefined;

  private constructor(options: AgentOptions) {
    this.#options = options;
  }

  static async start(args: string[] = [], env: Record<string, string> = {}): Promise<MortalAgent> {
    const agent = new MortalAgent({ args, env });
    try {
      await agent.start();
    } catch (error) {
      await agent.stop();
      throw error;
    }
    return agent;
  }

  get folder(): string {
    return this.#folder.path;
  }
  get socket(): string {
    if (!this.#agent) throw new Error('no agent was started');
    return this.#agent.socket;
  }
  get client(): Client {
    if (!this.#client) throw new Error('no agent was started');
    return this.#client;
  }

  /** Is killed at the end, if it still lives. */
  own<Child extends ChildProcess>(child: Child): Child {
    this.#children.push(child);
    return child;
  }

  async start(): Promise<void> {
    this.#agent = new AgentProcess(this.folder, this.#options);
    await this.#agent.ready();
    this.#client = await Client.connect(this.socket);
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    this.#agent?.child.kill(signal);
    await this.#agent?.exit;
    this.#client?.close();
  }

  async restart(): Promise<void> {
    await this.kill();
    await this.start();
  }

  async stop(): Promise<void> {
    await this.kill();
    for (const child of this.#children) child.kill('SIGKILL');
    this.#folder.remove();
  }
}
