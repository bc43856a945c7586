// This node's environment document: as the agent serves it, read anew each time but for what systeminformation says, which is
// asked once, and what is said of GPUs; and as it is kept with runs. Owns that answer, and for a moment what was read for a run.

import { collectEnvironment } from './collect.js';
import type { Described, Environment } from './document.js';
import { askSysteminformation } from './systeminformation.js';

/** Runs that end within this time of one another share what was read, milliseconds. */
const SHARE_MS = 1000;

export class NodeInventory {
  readonly #version: string;
  readonly #nowMs: () => number;
  readonly #askGpus: () => Promise<Described['gpus']>;
  #described: Promise<Described> | undefined;
  #forRuns: { environment: Promise<Environment>; readAt: number } | undefined;

  /** `version`: of this program; `nowMs`: wall clock, milliseconds since 1970; `askGpus`: what is said of GPUs. */
  constructor(version: string, nowMs: () => number, askGpus: () => Promise<Described['gpus']>) {
    this.#version = version;
    this.#nowMs = nowMs;
    this.#askGpus = askGpus;
  }

  now(): Promise<Environment> {
    return collectEnvironment({
      version: this.#version,
      nowMs: this.#nowMs(),
      ask: () => {
        this.#described ??= askSysteminformation();
        return this.#described;
      },
      askGpus: this.#askGpus,
    });
  }

  /** In the kernel's own words: no process is started because a run ends. */
  ofRun(): Promise<Environment> {
    if (!this.#forRuns || performance.now() - this.#forRuns.readAt > SHARE_MS) {
      const environment = collectEnvironment({ version: this.#version, nowMs: this.#nowMs(), ask: null });
      this.#forRuns = { environment, readAt: performance.now() };
    }
    return this.#forRuns.environment;
  }
}
