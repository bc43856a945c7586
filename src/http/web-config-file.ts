// The web configuration in force: read again when a file that it was made of has changed. One that cannot be used, or that
// would change what was decided at the start, is said in the log, and the old one stays. Owns the WebConfig.

import { type BigIntStats, statSync } from 'node:fs';
import { messageOf } from '../errors.js';
import type { Logger } from '../log.js';
import { isAuthenticated, readWebConfig, type WebConfig } from './web-config.js';

/** How often the files are looked at, at most, milliseconds. */
const LOOK_MS = 1000;

export class WebConfigFile {
  readonly #path: string;
  readonly #log: Logger;
  readonly #nowMs: () => number;
  #config: WebConfig;
  /** Of the files that it was made of. */
  #stamp: string;
  /** What was said of the files last: once is enough while they stay as they are. */
  #complaint = '';
  #lookedMs: number;

  /** Throws LezeaError `invalid_config` where the file cannot be used. */
  constructor(path: string, log: Logger, nowMs: () => number = () => performance.now()) {
    this.#path = path;
    this.#log = log;
    this.#nowMs = nowMs;
    this.#config = readWebConfig(path);
    this.#stamp = stampOf(this.#config.files);
    this.#lookedMs = nowMs();
  }

  /** Of this moment, as far as a second ago. The same object until it changes. */
  get current(): WebConfig {
    const now = this.#nowMs();
    if (now - this.#lookedMs >= LOOK_MS) {
      this.#lookedMs = now;
      this.#refresh();
    }
    return this.#config;
  }

  #refresh(): void {
    if (stampOf(this.#config.files) === this.#stamp) {
      this.#complaint = '';
      return;
    }
    try {
      const found = readWebConfig(this.#path);
      const fixed = whatIsFixed(this.#config, found);
      if (fixed !== undefined) {
        this.#complain(`${fixed} changes with the next start`);
        return;
      }
      this.#config = found;
      this.#stamp = stampOf(found.files);
      this.#complaint = '';
      this.#log.info({ file: this.#path }, 'the web configuration was read again');
    } catch (error) {
      this.#complain(messageOf(error));
    }
  }

  #complain(why: string): void {
    if (why === this.#complaint) return;
    this.#complaint = why;
    const problems = why.split('\n');
    this.#log.error({ problems }, 'the new web configuration cannot be used; the old one stays');
  }
}

/** Names that are shown once only those were let in who may see them stay shown: neither that nor TLS may come or go. */
function whatIsFixed(old: WebConfig, found: WebConfig): string | undefined {
  if ((old.tls === undefined) !== (found.tls === undefined)) return 'tls_server_config';
  if (old.tls?.clientAuth !== found.tls?.clientAuth) return 'tls_server_config.client_auth_type';
  if (isAuthenticated(old) !== isAuthenticated(found)) return 'basic_auth_users';
  return undefined;
}

function stampOf(files: readonly string[]): string {
  return files.map(stampOfFile).join('\n');
}

function stampOfFile(path: string): string {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = statSync(path, { bigint: true }) as BigIntStats;
    return [dev, ino, size, mtimeNs, ctimeNs].join(' ');
  } catch (error) {
    return messageOf(error);
  }
}
