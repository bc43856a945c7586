// What the agent tells the service manager that started it (sd_notify(3)): that it is ready, reloads, stops, what it does, and
// that it is alive. Takes NOTIFY_SOCKET and the watchdog's variables out of the environment, so that no child speaks in
// its place. Owns the timers of the status and the watchdog. Without a manager there is none of this.

import { messageOf } from '../errors.js';
import type { Logger } from '../log.js';

/** How often the status is looked at; it is sent where it is another, milliseconds. */
const STATUS_INTERVAL_MS = 10_000;

export interface ServiceManagerDeps {
  /** NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID are taken out of it. */
  env: NodeJS.ProcessEnv;
  pid: number;
  /** Sends one message; throws where it did not arrive. */
  send(address: string, message: string): void;
  /** CLOCK_MONOTONIC, ns. */
  monotonicNs(): bigint;
  log: Logger;
}

/** What is told of an agent that runs. */
export interface Watched {
  /** One line. */
  status(): string;
  /** Moves while the sampling thread does. */
  heartbeat(): bigint;
}

export class ServiceManager {
  readonly #deps: ServiceManagerDeps;
  readonly #address: string;
  readonly #watchdogMs: number | undefined;
  readonly #timers: NodeJS.Timeout[] = [];
  #watched: Watched | undefined;
  #status = '';
  #beat: bigint | undefined;
  /** Why the configuration in force is not the one on the disk. */
  #complaint = '';
  #isDeaf = false;

  /** Undefined where nothing manages this process. */
  static of(deps: ServiceManagerDeps): ServiceManager | undefined {
    const { NOTIFY_SOCKET: address, WATCHDOG_USEC: period, WATCHDOG_PID: pid } = deps.env;
    for (const name of ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID']) delete deps.env[name];
    if (!address) return undefined;
    const isOurs = pid === undefined || pid === String(deps.pid);
    return new ServiceManager(deps, address, isOurs ? milliseconds(period) : undefined);
  }

  private constructor(deps: ServiceManagerDeps, address: string, watchdogMs: number | undefined) {
    this.#deps = deps;
    this.#address = address;
    this.#watchdogMs = watchdogMs;
  }

  /** The agent takes connections; from now on it is looked after. */
  ready(watched: Watched): void {
    this.#watched = watched;
    this.#status = this.#statusNow();
    this.#send(`READY=1\nSTATUS=${this.#status}`);
    this.#every(STATUS_INTERVAL_MS, () => this.#tellStatus());
    if (this.#watchdogMs === undefined) return;
    this.#beat = watched.heartbeat();
    this.#every(this.#watchdogMs / 2, () => this.#feedWatchdog(watched));
  }

  /** Around a reload of an agent that is ready. `complaint`: why the old configuration stays in force, empty where it does not. */
  reload(reload: () => string): void {
    if (this.#watched) {
      this.#send(`RELOADING=1\nMONOTONIC_USEC=${this.#deps.monotonicNs() / 1000n}`);
    }
    this.#complaint = reload();
    if (!this.#watched) return;
    this.#status = this.#statusNow();
    this.#send(`READY=1\nSTATUS=${this.#status}`);
  }

  /** Nothing is said after it: a watchdog is not awaited any more. */
  stopping(): void {
    for (const timer of this.#timers.splice(0)) clearInterval(timer);
    this.#watched = undefined;
    this.#send('STOPPING=1\nSTATUS=stopping: a last sample, then what is known goes to the disk');
  }

  #every(intervalMs: number, act: () => void): void {
    this.#timers.push(setInterval(act, intervalMs));
  }

  #tellStatus(): void {
    const status = this.#statusNow();
    if (status === this.#status && !this.#isDeaf) return;
    this.#status = status;
    // What did not arrive may have been that the agent is ready.
    this.#send(`${this.#isDeaf ? 'READY=1\n' : ''}STATUS=${status}`);
  }

  /** The event loop moved, or this would not run; the sampling thread must have too. */
  #feedWatchdog(watched: Watched): void {
    const beat = watched.heartbeat();
    if (beat === this.#beat) {
      this.#deps.log.error({ turns: Number(beat) }, 'the sampling thread hangs; the watchdog is not fed');
      return;
    }
    this.#beat = beat;
    this.#send('WATCHDOG=1');
  }

  #statusNow(): string {
    const parts = [this.#watched?.status(), this.#complaint].filter((part) => part);
    return parts.join('; ').replace(/[\r\n]+/g, ' ');
  }

  #send(message: string): void {
    try {
      this.#deps.send(this.#address, message);
      this.#isDeaf = false;
    } catch (error) {
      if (!this.#isDeaf)
        this.#deps.log.warn({ reason: messageOf(error) }, 'the service manager cannot be told');
      this.#isDeaf = true;
    }
  }
}

/** Of microseconds; undefined where they are none. */
function milliseconds(microseconds: string | undefined): number | undefined {
  const value = Number(microseconds);
  return Number.isSafeInteger(value) && value > 0 ? value / 1000 : undefined;
}
