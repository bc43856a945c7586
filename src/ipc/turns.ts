// Whose turn it is: every connection that has something to say is heard one request at a time, one after the other, and
// the event loop gets back to its timers, samples and other sockets every few milliseconds, whatever anyone sends. Owns
// the queue of those that wait.

/** How long requests are handled before other work has its turn, milliseconds. */
const TURN_MS = 5;

export interface Served {
  /** Handles one request, if there is one that may be handled now; whether there is another. */
  takeTurn(): boolean;
}

export class Turns {
  readonly #ready = new Set<Served>();
  #spentMs = 0;
  #running = false;
  #next: NodeJS.Immediate | undefined;

  /** Hears it now, or when those before it were heard. */
  serve(one: Served): void {
    this.#ready.add(one);
    if (!this.#running && this.#spentMs < TURN_MS) this.#run();
  }

  #run(): void {
    this.#running = true;
    const begun = performance.now();
    let spentMs = 0;
    for (const one of this.#ready) {
      this.#ready.delete(one);
      if (one.takeTurn()) this.#ready.add(one);
      spentMs = performance.now() - begun;
      if (this.#spentMs + spentMs >= TURN_MS) break;
    }
    this.#spentMs += spentMs;
    this.#running = false;
    this.#next ??= setImmediate(() => this.#begin());
  }

  #begin(): void {
    this.#next = undefined;
    this.#spentMs = 0;
    if (this.#ready.size > 0) this.#run();
  }
}
