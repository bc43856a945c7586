// One connection to an agent: JSON-RPC 2.0, a JSON object a line, over a Unix stream socket (docs/protocol.md). Shared by the
// client and the command line. Owns the socket and the requests that wait for their answer; every wait has an end.

import { createConnection, type Socket } from 'node:net';
import { LezeaError, messageOf } from '../errors.js';
import { VERSION } from '../version.js';
import { folderFault, type SocketCandidate, socketCandidates } from './find-agent.js';
import { peerFault } from './peer.js';

/** Longest line that is taken from an agent, characters. */
const MAX_LINE = 16 * 1024 * 1024;
/** Notifications are dropped while more than this waits to be written, bytes. */
const MAX_QUEUED = 1024 * 1024;
const DEFAULT_TIMEOUT_MS = 5000;

export interface ConnectOptions {
  /** The only socket to try; default: where agents are (find-agent.ts). */
  socket?: string;
  /** Longest wait for the connection and for each answer, milliseconds. @default 5000 */
  timeoutMs?: number;
  /** An idle connection does not keep the process alive. @default false */
  background?: boolean;
  /** Says who connects. @default 'cli' */
  client?: string;
}

export interface Hello {
  server: string;
  version: string;
  protocol: number;
  node: string;
  boot_id: string;
  mode: 'user' | 'system';
  features: string[];
}

interface Waiting {
  resolve: (result: unknown) => void;
  reject: (error: Error) => void;
  timer: NodeJS.Timeout;
}

interface Message {
  id?: number;
  method?: string;
  params?: Record<string, unknown>;
  result?: unknown;
  error?: { message?: string; data?: { code?: string } };
}

/** Connects to the first agent that answers. Throws LezeaError `no_agent`, or `untrusted` for one that may not be used. */
export async function connectToAgent(options: ConnectOptions = {}): Promise<AgentConnection> {
  const uid = process.getuid?.() ?? -1;
  const tried: string[] = [];
  for (const candidate of socketCandidates(process.env, uid, options.socket)) {
    const fault = candidate.ownFolder ? folderFault(candidate.path, uid) : undefined;
    if (fault) {
      tried.push(fault);
      continue;
    }
    try {
      return await AgentConnection.open(candidate, options);
    } catch (error) {
      if (error instanceof LezeaError && error.code !== 'no_agent') throw error;
      tried.push(messageOf(error));
    }
  }
  throw new LezeaError('no_agent', `no agent answers (${tried.join('; ')})`);
}

export class AgentConnection {
  /** Called for every notification of the agent. */
  onNotification: (method: string, params: Record<string, unknown>) => void = () => undefined;
  /** Called once when the connection is gone. */
  onClose: () => void = () => undefined;
  /** Called when what had to wait has been written. */
  onDrain: () => void = () => undefined;

  readonly path: string;
  hello!: Hello;
  readonly #socket: Socket;
  readonly #timeoutMs: number;
  readonly #background: boolean;
  readonly #waiting = new Map<number, Waiting>();
  #nextId = 1;
  #partial = '';
  #closed = false;

  private constructor(path: string, socket: Socket, options: ConnectOptions) {
    this.path = path;
    this.#socket = socket;
    this.#timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    this.#background = options.background ?? false;
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => this.#read(text));
    socket.on('drain', () => this.onDrain());
    // Without a listener an error would end the process; `close` follows and says the same.
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#end());
  }

  /** Connects to this socket, checks who listens there and says hello. */
  static async open(candidate: SocketCandidate, options: ConnectOptions = {}): Promise<AgentConnection> {
    const { path, ownFolder } = candidate;
    const socket = await connectSocket(path, options.timeoutMs ?? DEFAULT_TIMEOUT_MS);
    const connection = new AgentConnection(path, socket, options);
    try {
      const fault = peerFault(socket, path, { uid: process.getuid?.() ?? -1, ownFolder });
      if (fault) throw new LezeaError('untrusted', `${path}: ${fault}`);
      const client = `${options.client ?? 'cli'}/${VERSION}`;
      connection.hello = await connection.request<Hello>('hello', {
        client,
        version: VERSION,
        protocols: [1],
      });
    } catch (error) {
      connection.close();
      if (error instanceof LezeaError && error.code !== 'closed' && error.code !== 'timeout') throw error;
      throw new LezeaError('no_agent', `${path}: ${messageOf(error)}`, { cause: error });
    }
    return connection;
  }

  get isOpen(): boolean {
    return !this.#closed;
  }

  /** Whether so much waits to be written that notifications are dropped. */
  get isCongested(): boolean {
    return this.#socket.writableLength > MAX_QUEUED;
  }

  /** Asks; rejects with the agent's refusal (its `data.code`), `timeout` or `closed`. */
  request<T>(method: string, params: object = {}, timeoutMs = this.#timeoutMs): Promise<T> {
    if (this.#closed) return Promise.reject(closedError(this.path));
    const id = this.#nextId++;
    return new Promise<T>((resolve, reject) => {
      const timer = setTimeout(() => {
        const waited = `${method}: no answer within ${timeoutMs} ms`;
        this.#settle(id, (waiting) => waiting.reject(new LezeaError('timeout', waited)));
      }, timeoutMs);
      this.#waiting.set(id, { resolve: resolve as (result: unknown) => void, reject, timer });
      this.#socket.ref();
      this.#socket.write(`${JSON.stringify({ jsonrpc: '2.0', id, method, params })}\n`);
    });
  }

  /** Tells; false when it was not sent. Small ones reach the kernel before this returns. */
  notify(method: string, params: object): boolean {
    if (this.#closed || this.isCongested) return false;
    this.#socket.write(`${JSON.stringify({ jsonrpc: '2.0', method, params })}\n`);
    return true;
  }

  /** Sends a request whose answer nobody can wait for: the process is about to end. */
  lastWord(method: string, params: object): void {
    if (this.#closed) return;
    this.#socket.write(`${JSON.stringify({ jsonrpc: '2.0', id: this.#nextId++, method, params })}\n`);
  }

  close(): void {
    this.#socket.destroy();
    this.#end();
  }

  #read(text: string): void {
    const lines = (this.#partial + text).split('\n');
    this.#partial = lines.pop() ?? '';
    const messages = this.#partial.length > MAX_LINE ? undefined : parseLines(lines);
    // What sends no JSON, or no end of it, is no agent.
    if (!messages) this.close();
    for (const message of messages ?? []) this.#take(message);
  }

  #take(message: Message): void {
    const { id, method, params, result, error } = message;
    if (typeof method === 'string') {
      this.onNotification(method, params ?? {});
    } else if (typeof id === 'number') {
      this.#settle(id, (waiting) => {
        if (error) waiting.reject(new LezeaError(error.data?.code ?? 'refused', error.message ?? 'refused'));
        else waiting.resolve(result);
      });
    }
  }

  #settle(id: number, how: (waiting: Waiting) => void): void {
    const waiting = this.#waiting.get(id);
    if (!waiting) return;
    this.#waiting.delete(id);
    clearTimeout(waiting.timer);
    if (this.#background && this.#waiting.size === 0) this.#socket.unref();
    how(waiting);
  }

  #end(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const id of [...this.#waiting.keys()]) {
      this.#settle(id, (waiting) => waiting.reject(closedError(this.path)));
    }
    this.onClose();
  }
}

function parseLines(lines: string[]): Message[] | undefined {
  try {
    const messages = lines.filter((line) => line !== '').map((line) => JSON.parse(line) as unknown);
    const areObjects = messages.every((message) => typeof message === 'object' && message !== null);
    return areObjects ? (messages as Message[]) : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function closedError(path: string): LezeaError {
  return new LezeaError('closed', `${path}: the agent closed the connection`);
}

function connectSocket(path: string, timeoutMs: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = createConnection({ path });
    const timer = setTimeout(() => socket.destroy(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
    const fail = (error: Error) => {
      clearTimeout(timer);
      const why = (error as NodeJS.ErrnoException).code ?? error.message;
      reject(new LezeaError('no_agent', `${path}: ${why}`, { cause: error }));
    };
    socket.once('error', fail);
    socket.once('connect', () => {
      clearTimeout(timer);
      socket.removeListener('error', fail);
      resolve(socket);
    });
  });
}
