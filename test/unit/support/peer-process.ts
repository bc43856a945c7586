// Starts peer.mjs as somebody else: another account, another PID or user namespace. Owns the child until end().

import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import type { Message } from './ipc-bench.js';

const SCRIPT = readFileSync(join(import.meta.dirname, 'peer.mjs'), 'utf8');

/** Why accounts cannot be changed here; undefined when they can. */
export const noAccounts = process.getuid?.() === 0 ? undefined : 'other accounts need root';

/** The command line that runs a command as this user id. */
export function asUser(uid: number): string[] {
  return ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups'];
}

export class PeerProcess {
  readonly child: ChildProcess;
  readonly #answers: AsyncIterator<string>;
  readonly #reader: Interface;

  private constructor(child: ChildProcess) {
    this.child = child;
    this.#reader = createInterface({ input: child.stdout as NodeJS.ReadableStream });
    this.#answers = this.#reader[Symbol.asyncIterator]();
  }

  /** `prefix`: what runs the command, `setpriv … unshare …`. */
  static async start(socket: string, prefix: string[] = []): Promise<PeerProcess> {
    const [file = '', ...args] = [...prefix, process.execPath, '--input-type=module', '-e', SCRIPT, socket];
    const peer = new PeerProcess(spawn(file, args, { cwd: '/', stdio: ['pipe', 'pipe', 'inherit'] }));
    await peer.#answer();
    return peer;
  }

  /** As this machine numbers it; the peer may see another number. */
  get pid(): number {
    return this.child.pid as number;
  }

  async call(method: string, params: object = {}): Promise<Message> {
    return (await this.order({ op: 'call', method, params })) as Message;
  }

  async refusal(method: string, params: object = {}): Promise<string | undefined> {
    return (await this.call(method, params))?.error?.data?.code;
  }

  async crowd(connections: number) {
    return (await this.order({ op: 'crowd', connections })) as {
      accepted: number;
      refused: number;
      failed: number;
    };
  }

  async order(order: object): Promise<unknown> {
    this.child.stdin?.write(`${JSON.stringify(order)}\n`);
    return this.#answer();
  }

  end(): void {
    this.child.kill('SIGKILL');
  }

  async #answer(): Promise<unknown> {
    const { done, value } = await this.#answers.next();
    if (done) throw new Error('the peer has ended');
    return JSON.parse(value);
  }
}
