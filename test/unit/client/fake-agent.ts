// An agent on a real Unix socket that says what a test tells it to. Owns the socket, its temporary folder and the connections.

import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Received {
  id?: number;
  method: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into whatever was sent.
  params: any;
}

/** Answers a request; an Error becomes a refusal whose code is its message; `silence` is no answer. */
export type Answer = (params: Received['params']) => unknown;

export const silence = Symbol('silence');

const HELLO = {
  server: 'lezea-monitor',
  version: '0.1.0',
  protocol: 1,
  node: 'n',
  boot_id: 'b',
  mode: 'user',
  features: [],
};

export class FakeAgent {
  readonly received: Received[] = [];
  readonly answers: Record<string, Answer> = {
    hello: () => HELLO,
    'run.start': ({ run_id }) => ({ run_id: run_id ?? 'made-1', created: run_id === undefined }),
    'session.open': () => ({ session: `${++this.#sessions}`.padStart(32, '0') }),
    'run.end': () => ({ final: true, status: 'FINISHED', totals: { cpu_seconds: 1.5 } }),
  };
  readonly folder = mkdtempSync(join(tmpdir(), 'lezea-fake-'));
  readonly path = join(this.folder, 'agent.sock');
  readonly #sockets = new Set<Socket>();
  readonly #waiting: (() => void)[] = [];
  #server: Server | undefined;
  #sessions = 0;

  static async start(): Promise<FakeAgent> {
    const agent = new FakeAgent();
    await agent.listen();
    return agent;
  }

  listen(): Promise<void> {
    this.#server = createServer((socket) => this.#accept(socket));
    return new Promise((resolve) => this.#server?.listen(this.path, resolve));
  }

  /** Ends every connection and listens no more, as a killed agent would. */
  async die(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => this.#server?.close(() => resolve()) ?? resolve());
  }

  async stop(): Promise<void> {
    await this.die();
    rmSync(this.folder, { recursive: true, force: true });
  }

  send(message: unknown): void {
    for (const socket of this.#sockets) {
      socket.write(typeof message === 'string' ? message : `${JSON.stringify(message)}\n`);
    }
  }

  /** What was received of these methods, as `method scope`. */
  of(...methods: string[]): Received[] {
    return this.received.filter(({ method }) => methods.includes(method));
  }

  /** Resolves when the condition holds, which is looked at after every message. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  #accept(socket: Socket): void {
    this.#sockets.add(socket);
    let partial = '';
    socket.setEncoding('utf8');
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('data', (text: string) => {
      const lines = (partial + text).split('\n');
      partial = lines.pop() ?? '';
      for (const line of lines) this.#take(socket, JSON.parse(line) as Received);
      for (const resolve of this.#waiting.splice(0)) resolve();
    });
  }

  #take(socket: Socket, message: Received): void {
    this.received.push(message);
    if (message.id === undefined) return;
    const answer = this.answers[message.method]?.(message.params) ?? {};
    if (answer === silence || socket.destroyed) return;
    const { id } = message;
    const reply =
      answer instanceof Error
        ? { error: { code: -32000, message: `refused: ${answer.message}`, data: { code: answer.message } } }
        : { result: answer };
    socket.write(`${JSON.stringify({ jsonrpc: '2.0', id, ...reply })}\n`);
  }
}
