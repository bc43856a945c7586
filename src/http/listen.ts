// Listening that never gives up and never ends the agent: an address that is taken is a warning and a retry, later and
// later. Owns the server's sockets and the retry timer.

import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Logger } from '../log.js';

export interface ListenAddress {
  host: string;
  port: number;
}

/** Calls back once after so many milliseconds; returns what cancels it. */
export type Later = (callback: () => void, delayMs: number) => () => void;

export const realLater: Later = (callback, delayMs) => {
  const timer = setTimeout(callback, delayMs);
  timer.unref();
  return () => clearTimeout(timer);
};

const FIRST_RETRY_MS = 1000;
const LAST_RETRY_MS = 60_000;
/** How long answers under way may take when the server closes. */
const CLOSE_GRACE_MS = 1000;

/** `HOST:PORT` taken apart; the configuration has checked its form. */
export function parseListen(text: string): ListenAddress {
  const colon = text.lastIndexOf(':');
  return { host: text.slice(0, colon).replace(/^\[(.*)\]$/, '$1'), port: Number(text.slice(colon + 1)) };
}

export class PersistentListener {
  readonly #server: Server;
  readonly #address: ListenAddress;
  readonly #log: Logger;
  readonly #later: Later;
  readonly #listening: (address: string) => void;
  #cancel: (() => void) | null = null;
  #failures = 0;
  #closed = false;

  /** `listening`: called with `HOST:PORT` once the address is ours. */
  constructor(
    server: Server,
    options: { address: ListenAddress; log: Logger; later: Later; listening: (address: string) => void },
  ) {
    this.#server = server;
    this.#address = options.address;
    this.#log = options.log;
    this.#later = options.later;
    this.#listening = options.listening;
  }

  /** `HOST:PORT` that is listened on; null while there is none. */
  get address(): string | null {
    const bound = this.#server.listening ? (this.#server.address() as AddressInfo) : null;
    if (bound === null) return null;
    return bound.family === 'IPv6' ? `[${bound.address}]:${bound.port}` : `${bound.address}:${bound.port}`;
  }

  /** One try. Resolves when it has succeeded or failed; a failure plans the next one. */
  attempt(): Promise<void> {
    return new Promise((resolve) => {
      const failed = (error: Error): void => {
        this.#server.off('listening', succeeded);
        this.#retryLater(error);
        resolve();
      };
      const succeeded = (): void => {
        this.#server.off('error', failed);
        this.#server.on('error', (error) => this.#log.error({ err: error }, 'http server'));
        const address = this.address ?? '';
        this.#log.info({ address, after_failures: this.#failures }, 'http listening');
        this.#listening(address);
        resolve();
      };
      this.#server.once('error', failed);
      this.#server.once('listening', succeeded);
      this.#server.listen(this.#address);
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#cancel?.();
    if (!this.#server.listening) return;
    await new Promise<void>((resolve) => {
      const cancel = this.#later(() => this.#server.closeAllConnections(), CLOSE_GRACE_MS);
      this.#server.close(() => {
        cancel();
        resolve();
      });
      this.#server.closeIdleConnections();
    });
  }

  #retryLater(error: Error): void {
    if (this.#closed) return;
    const delayMs = Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(this.#failures, 16));
    // Said once, not at every try: the state has not changed.
    if (this.#failures === 0) {
      const address = `${this.#address.host}:${this.#address.port}`;
      this.#log.warn(
        { address, reason: error.message, retry_ms: delayMs },
        'http cannot listen; trying again',
      );
    }
    this.#failures++;
    this.#cancel = this.#later(() => void this.attempt(), delayMs);
  }
}
