// A socket server on a real Unix socket over the fake sampler, and a client that speaks lines. The peer is said to be a
// process of the test's choosing: native credentials have their own tests.

import { createConnection, type Socket } from 'node:net';
import { join } from 'node:path';
import { collectEnvironment } from '../../../src/inventory/collect.js';
import { createHandlers } from '../../../src/ipc/handlers.js';
import { Identities, type ProcessReader } from '../../../src/ipc/identity.js';
import { IpcServer } from '../../../src/ipc/server.js';
import type { PeerCredentials, ProcessIdentity } from '../../../src/native/addon.js';
import { type Bench, silent } from './bench.js';

export interface FakeProcess {
  pid: number;
  ppid?: number;
  uid?: number;
  pidNamespace?: bigint;
  clockOffsetNs?: bigint;
}

/** A process table that the test writes. */
export class FakeProcesses implements ProcessReader {
  readonly #table = new Map<number, ProcessIdentity>();
  now = 5_000_000_000n;

  add(process: FakeProcess): void {
    this.#table.set(process.pid, {
      process: { pid: process.pid, startTicks: BigInt(process.pid) * 100n },
      uid: process.uid ?? 1000,
      ppid: process.ppid ?? 0,
      ended: false,
      pidNamespace: process.pidNamespace ?? 7n,
      clockOffsetNs: process.clockOffsetNs ?? 0n,
      cgroup: '/',
      exe: '/usr/bin/fake',
      comm: 'fake',
    });
  }

  remove(pid: number): void {
    this.#table.delete(pid);
  }

  processIdentity(pid: number): ProcessIdentity | undefined {
    return this.#table.get(pid);
  }

  monotonicNs(): bigint {
    return this.now;
  }
}

export interface IpcBench {
  server: IpcServer;
  path: string;
  processes: FakeProcesses;
  /** Whom the next connection comes from. */
  peer: PeerCredentials;
  files: Map<string, Buffer>;
  connect(): Promise<Client>;
}

export async function startIpc(bench: Bench, folder: string, procRoot: string): Promise<IpcBench> {
  const processes = new FakeProcesses();
  const files = new Map<string, Buffer>();
  const { store, commands, limiter, ledger } = bench.attribution;
  const path = join(folder, 'agent.sock');
  const made: Partial<IpcBench> = {
    peer: { pid: 100, uid: 1000, gid: 1000, startTicks: 10_000n, pidNamespace: 7n },
  };
  const server = new IpcServer({
    path,
    mode: 'user',
    handlers: createHandlers({
      commands,
      store,
      limiter,
      identities: new Identities(processes, procRoot),
      reader: processes,
      documents: {
        list: async () => [...files.keys()],
        read: async (_run, { file, offset, limit }) => {
          const data = files.get(file)!.subarray(offset, offset + limit);
          return {
            size: files.get(file)!.length,
            data,
            eof: offset + data.length >= files.get(file)!.length,
          };
        },
      },
      deliveries: bench.deliveries,
      version: '0.0.0-test',
      bootId: 'boot-1',
      mode: 'user',
      node: () => ({
        node: 'n',
        mode: 'user',
        version: 'v',
        uptime_seconds: 1,
        runs_live: 0,
        figures: {},
        sources: [],
      }),
      health: () => ({ status: 'ok', checks: [] }),
      inventory: () =>
        collectEnvironment({ version: '0.1.0', nowMs: 0, ask: () => Promise.reject(new Error('not asked')) }),
    }),
    store,
    commands,
    limiter,
    log: silent,
    peerCredentials: () => made.peer!,
    rules: () => ({ pidNamespace: 7n, operators: [4242] }),
    committedMonoNs: () => ledger.committedMonoNs,
  });
  await server.listen();
  return Object.assign(made, {
    server,
    path,
    processes,
    files,
    connect: () => Client.connect(path),
  }) as IpcBench;
}

export interface Message {
  id?: number | string | null;
  method?: string;
  params?: Record<string, unknown>;
  result?: Record<string, unknown>;
  error?: { code: number; message: string; data?: { code: string } };
}

/** A client that keeps every message and lets the test wait for one. */
export class Client {
  readonly messages: Message[] = [];
  closed = false;
  #partial = '';
  #nextId = 1;
  #wake: () => void = () => undefined;

  private constructor(readonly socket: Socket) {
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => {
      const lines = (this.#partial + text).split('\n');
      this.#partial = lines.pop() ?? '';
      for (const line of lines) this.messages.push(JSON.parse(line));
      this.#wake();
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.closed = true;
      this.#wake();
    });
  }

  static connect(path: string): Promise<Client> {
    return new Promise((resolve, reject) => {
      const socket = createConnection(path, () => resolve(new Client(socket)));
      socket.once('error', reject);
    });
  }

  raw(text: string | Buffer): void {
    this.socket.write(text);
  }

  async call(method: string, params: object = {}): Promise<Message> {
    const id = this.#nextId;
    this.#nextId += 1;
    this.raw(`${JSON.stringify({ jsonrpc: '2.0', id, method, params })}\n`);
    return this.until((message) => message.id === id);
  }

  async result(method: string, params: object = {}): Promise<Record<string, unknown>> {
    const { result, error } = await this.call(method, params);
    if (!result) throw new Error(`${method}: ${JSON.stringify(error)}`);
    return result;
  }

  async refusal(method: string, params: object = {}): Promise<string | undefined> {
    return (await this.call(method, params)).error?.data?.code;
  }

  notify(method: string, params: object): void {
    this.raw(`${JSON.stringify({ jsonrpc: '2.0', method, params })}\n`);
  }

  async until(match: (message: Message) => boolean): Promise<Message> {
    for (;;) {
      const found = this.messages.find(match);
      if (found) return found;
      if (this.closed) throw new Error('the connection was closed');
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  async untilClosed(): Promise<void> {
    while (!this.closed) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  close(): void {
    this.socket.destroy();
  }
}
