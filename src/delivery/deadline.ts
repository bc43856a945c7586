// How long a thing may take that somebody may also stop. Owns a timer and a listener until it is ended.

/** Aborts when the caller does or when the time is over, and says which. */
export class Deadline {
  /** Why it aborted; undefined while it has not. */
  reason: string | undefined;
  readonly #abort = new AbortController();
  readonly #timer: NodeJS.Timeout;
  readonly #caller: AbortSignal;
  readonly #onCaller = () => this.#end('stopped before it was answered');

  constructor(caller: AbortSignal, ms: number) {
    this.#caller = caller;
    this.#timer = setTimeout(() => this.#end(`no answer within ${ms} ms`), ms);
    caller.addEventListener('abort', this.#onCaller);
    if (caller.aborted) this.#onCaller();
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  #end(reason: string): void {
    this.reason ??= reason;
    this.#abort.abort();
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#caller.removeEventListener('abort', this.#onCaller);
  }
}
