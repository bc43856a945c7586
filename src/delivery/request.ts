// One HTTP or HTTPS request to a place that takes totals. Reads the CA file; owns the connections, which are kept for the
// next request. Follows no redirect, reads a bounded answer, and waits a bounded time. Knows nothing of what is sent.

import { readFile } from 'node:fs/promises';
import http, { type ClientRequest, type IncomingHttpHeaders } from 'node:http';
import https from 'node:https';
import { messageOf } from '../errors.js';
import { Deadline } from './deadline.js';
import { SendError } from './model.js';

export interface HttpClientOptions {
  /** PEM file of the authorities to trust instead of the system's. */
  caFile?: string;
  /** Takes any certificate. */
  insecureTls?: boolean;
  /** For a whole request, milliseconds. */
  timeoutMs: number;
  /** For name, connection and TLS, milliseconds. @default 10 000, at most timeoutMs */
  connectTimeoutMs?: number;
  userAgent: string;
}

export interface HttpRequest {
  method: 'GET' | 'POST' | 'PUT' | 'PATCH';
  /** With the path prefix of the place; without user and password. */
  url: string;
  headers?: Readonly<Record<string, string>>;
  body?: string | Buffer;
  /** Longest answer that is read, bytes. @default 1 MiB */
  maxBytes?: number;
  /** Reads the answer's beginning only, to about here, and no error if there is more. */
  headBytes?: number;
  /** Sent twice it does no harm; then a kept connection that turns out to be closed costs nothing. */
  repeatable: boolean;
}

export interface HttpAnswer {
  status: number;
  headers: IncomingHttpHeaders;
  body: Buffer;
}

const CONNECT_MS = 10_000;
const MAX_BYTES = 1024 * 1024;
const MAX_CONNECTIONS = 4;

export class HttpClient {
  readonly #o: HttpClientOptions;
  readonly #plain = new http.Agent({ keepAlive: true, maxSockets: MAX_CONNECTIONS });
  #secure: Promise<https.Agent> | undefined;

  constructor(options: HttpClientOptions) {
    this.#o = options;
  }

  /** Closes the connections; those in use end with an error. */
  close(): void {
    this.#plain.destroy();
    void this.#secure?.then(
      (agent) => agent.destroy(),
      () => undefined, // There is none: its CA file could not be read.
    );
    this.#secure = undefined;
  }

  /** Resolves to whatever the place answered, also to a refusal. Throws SendError `retry` where nothing came back. */
  async request(request: HttpRequest, signal: AbortSignal): Promise<HttpAnswer> {
    const agent = await this.#agentFor(request.url);
    const deadline = new Deadline(signal, this.#o.timeoutMs);
    try {
      for (let first = true; ; first = false) {
        const exchange = new Exchange(request, agent, this.#o);
        try {
          return await exchange.run(deadline.signal);
        } catch (error) {
          if (first && request.repeatable && exchange.wasStale && !deadline.signal.aborted) continue;
          throw new SendError('retry', `${describeRequest(request)}: ${deadline.reason ?? causeOf(error)}`, {
            cause: error,
          });
        }
      }
    } finally {
      deadline.end();
    }
  }

  #agentFor(url: string): http.Agent | Promise<https.Agent> {
    if (!url.startsWith('https:')) return this.#plain;
    this.#secure ??= this.#makeSecure();
    return this.#secure;
  }

  async #makeSecure(): Promise<https.Agent> {
    const { caFile, insecureTls } = this.#o;
    try {
      const ca = caFile === undefined ? undefined : await readFile(caFile);
      const more = { ...(ca && { ca }), rejectUnauthorized: !insecureTls };
      return new https.Agent({ keepAlive: true, maxSockets: MAX_CONNECTIONS, ...more });
    } catch (error) {
      // Asked for again the next time: the file may be there by then.
      this.#secure = undefined;
      throw new SendError('retry', `CA file: ${messageOf(error)}`, { cause: error });
    }
  }
}

/** One request on the wire and what comes back. */
class Exchange {
  /** The connection was kept from before, and had been closed by the other side when this was sent. */
  wasStale = false;
  readonly #request: HttpRequest;
  readonly #agent: http.Agent;
  readonly #o: HttpClientOptions;
  #answered = false;

  constructor(request: HttpRequest, agent: http.Agent, options: HttpClientOptions) {
    this.#request = request;
    this.#agent = agent;
    this.#o = options;
  }

  run(signal: AbortSignal): Promise<HttpAnswer> {
    return new Promise((resolve, reject) => {
      const sent = this.#send(signal);
      sent.on('error', (error) => {
        this.wasStale = sent.reusedSocket && !this.#answered && isReset(error);
        reject(error);
      });
      sent.on('response', (response) => {
        this.#answered = true;
        this.#read(response).then(
          (body) => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }),
          (error: unknown) => {
            sent.destroy();
            reject(error);
          },
        );
      });
      this.#limitConnecting(sent);
      sent.end(this.#request.body);
    });
  }

  #send(signal: AbortSignal): ClientRequest {
    const { method, url, headers, body } = this.#request;
    const send = url.startsWith('https:') ? https.request : http.request;
    return send(url, {
      method,
      signal,
      agent: this.#agent,
      headers: {
        'user-agent': this.#o.userAgent,
        'accept-encoding': 'identity',
        ...(body !== undefined && { 'content-length': Buffer.byteLength(body) }),
        ...headers,
      },
    });
  }

  /** A machine that is off answers nothing at all: that is known sooner than a slow answer. */
  #limitConnecting(sent: ClientRequest): void {
    const ms = Math.min(this.#o.connectTimeoutMs ?? CONNECT_MS, this.#o.timeoutMs);
    sent.on('socket', (socket) => {
      if (!socket.connecting) return;
      const timer = setTimeout(() => sent.destroy(new Error(`no connection within ${ms} ms`)), ms);
      socket.once('encrypted' in socket ? 'secureConnect' : 'connect', () => clearTimeout(timer));
      sent.once('close', () => clearTimeout(timer));
    });
  }

  async #read(response: http.IncomingMessage): Promise<Buffer> {
    const { maxBytes = MAX_BYTES, headBytes = Number.POSITIVE_INFINITY } = this.#request;
    const pieces: Buffer[] = [];
    let bytes = 0;
    for await (const piece of response as AsyncIterable<Buffer>) {
      pieces.push(piece);
      bytes += piece.length;
      // Leaving the loop closes the connection: what would follow is not read.
      if (bytes >= headBytes) break;
      if (bytes > maxBytes) throw new Error(`the answer is longer than ${maxBytes} bytes`);
    }
    return Buffer.concat(pieces);
  }
}

function isReset(error: Error): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'ECONNRESET' || code === 'EPIPE';
}

/** Method and address without the query, for messages. */
export function describeRequest({ method, url }: Pick<HttpRequest, 'method' | 'url'>): string {
  const { origin, pathname } = new URL(url);
  return `${method} ${origin}${pathname}`;
}

/** What Node.js says of a certificate that nobody vouches for. */
const UNTRUSTED = new Set([
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
]);

/** Several addresses of one name fail together, without a message of their own. */
function causeOf(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(messageOf).join('; ');
  const isUntrusted = UNTRUSTED.has(String((error as NodeJS.ErrnoException | undefined)?.code));
  return `${messageOf(error)}${isUntrusted ? '; expected a certificate signed by an authority of the CA file (ca_file)' : ''}`;
}
