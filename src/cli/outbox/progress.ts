// How far a long command is, on a terminal's standard error: one line, overwritten. Writes nothing elsewhere, and nothing for a
// command that is soon done.

import type { Io } from '../io.js';

const FIRST_MS = 1000;
const EVERY_MS = 200;

export class Progress {
  readonly #io: Io;
  readonly #isShown: boolean;
  #nextMs = performance.now() + FIRST_MS;
  #wasSaid = false;

  constructor(io: Io, isTerminal = process.stderr.isTTY === true) {
    this.#io = io;
    this.#isShown = isTerminal;
  }

  say(text: () => string): void {
    if (!this.#isShown || performance.now() < this.#nextMs) return;
    this.#nextMs = performance.now() + EVERY_MS;
    this.#wasSaid = true;
    this.#io.err(`\r\u001b[K${text()}`);
  }

  /** Takes the line away. */
  end(): void {
    if (this.#wasSaid) this.#io.err('\r\u001b[K');
    this.#wasSaid = false;
  }
}
