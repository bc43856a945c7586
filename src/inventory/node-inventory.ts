// This node's environment document as the agent serves it: read anew each time, but for what systeminformation says, which is
// asked once. Owns that answer.

import { collectEnvironment } from './collect.js';
import type { Described, Environment } from './document.js';
import { askSysteminformation } from './systeminformation.js';

export class NodeInventory {
  readonly #version: string;
  readonly #nowMs: () => number;
  #described: Promise<Described> | undefined;

  /** `version`: of this program; `nowMs`: wall clock, milliseconds since 1970. */
  constructor(version: string, nowMs: () => number) {
    this.#version = version;
    this.#nowMs = nowMs;
  }

  now(): Promise<Environment> {
    return collectEnvironment({
      version: this.#version,
      nowMs: this.#nowMs(),
      ask: () => {
        this.#described ??= askSysteminformation();
        return this.#described;
      },
    });
  }
}
