// What a run is allowed, and how that stands: the client's half. Owns what the agent said of its limits last, and calls the
// program back, once for each word. Reading it waits for nothing.

/** How one limit stands. */
export interface Limit {
  limit: string;
  /** Of what it is, where it is not of the run itself. */
  scope?: string;
  level?: string;
  experiment?: string;
  value: number;
  /** Absent: not known; then so are the two that follow from it. */
  used?: number;
  remaining?: number;
  ratio?: number;
  state: 'ok' | 'warned' | 'exceeded' | 'unknown';
}

/** A limit that has come to 80 % (`limit_warning`) or to 100 % (`limit_exceeded`). */
export interface LimitEvent extends Limit {
  event: 'limit_warning' | 'limit_exceeded';
}

/** Numbers by name (docs/limits.md); null takes one away. */
export type LimitValues = Record<string, number | null>;

export interface Limits {
  scopes?: Record<string, LimitValues>;
  levels?: Record<string, LimitValues>;
  experiment?: LimitValues;
  on_exceeded?: 'tell' | 'refuse' | 'terminate';
  grace_seconds?: number;
  [name: string]: unknown;
}

/** Limits after a change, as they are said to an agent once more. */
export function mergedLimits(known: Limits = {}, change: Limits): Limits {
  const merged: Record<string, unknown> = { ...known };
  for (const [name, value] of Object.entries(change)) {
    const before = merged[name];
    merged[name] = isObject(before) && isObject(value) ? mergedLimits(before, value) : value;
  }
  return merged;
}

function isObject(value: unknown): value is Limits {
  return typeof value === 'object' && value !== null;
}

/** How often a reader has the agent asked, milliseconds. */
const REFRESH_MS = 1000;
const WORDS = ['warned', 'exceeded'] as const;
const EVENTS = { warned: 'limit_warning', exceeded: 'limit_exceeded' } as const;

export interface LimitBookOptions {
  /** Has the agent say how they stand; undefined where it cannot be asked. */
  ask(): Promise<unknown>;
  onLimit: ((limit: LimitEvent) => void) | undefined;
  /** Called with what the program's callback threw. */
  onFault(error: unknown): void;
}

export class LimitBook {
  readonly #o: LimitBookOptions;
  #states: readonly Limit[] = [];
  /** By limit: how many of WORDS the program was told. */
  #told = new Map<string, number>();
  #asked = performance.now();
  #asking = false;

  constructor(options: LimitBookOptions) {
    this.#o = options;
  }

  get states(): readonly Limit[] {
    return this.#states;
  }

  /** Whether one has come to 100 %. Has the agent asked where the last answer is a second old. */
  get shouldStop(): boolean {
    if (performance.now() - this.#asked >= REFRESH_MS) void this.refresh();
    return this.#states.some(({ state }) => state === 'exceeded');
  }

  async refresh(): Promise<void> {
    if (this.#asking) return;
    this.#asking = true;
    this.#asked = performance.now();
    try {
      await this.#o.ask();
    } finally {
      this.#asking = false;
    }
  }

  /** All of them, as an answer of the agent has them. What one of this value has come to stays: an answer may be older. */
  hear(answer: unknown): void {
    const found = Array.isArray(answer) ? (answer as Limit[]) : [];
    const before = new Map(this.#states.map((state) => [keyOf(state), state]));
    this.#states = found.map((state) => {
      const known = before.get(keyOf(state));
      const goesOn = known?.value === state.value && rankOf(known.state) > rankOf(state.state);
      return goesOn ? { ...state, state: known.state } : state;
    });
    this.#told = new Map(this.#states.map((state) => [keyOf(state), this.#told.get(keyOf(state)) ?? 0]));
    for (const state of this.#states) this.#tell(state);
  }

  /** One of them was reached. */
  notice({ run_id: _run, attempt: _attempt, event: _event, ...state }: Record<string, unknown>): void {
    const limit = state as unknown as Limit;
    const key = keyOf(limit);
    if ((this.#told.get(key) ?? 0) >= rankOf(limit.state)) return;
    this.#states = [...this.#states.filter((known) => keyOf(known) !== key), limit];
    this.#tell(limit);
  }

  #tell(state: Limit): void {
    const key = keyOf(state);
    const told = this.#told.get(key) ?? 0;
    this.#told.set(key, rankOf(state.state));
    for (const word of WORDS.slice(told, rankOf(state.state))) {
      // In a turn of its own: whoever is being answered is answered first.
      setImmediate(() => this.#call({ ...state, state: word, event: EVENTS[word] })).unref();
    }
  }

  #call(event: LimitEvent): void {
    // It may be async, too.
    const call = async () => this.#o.onLimit?.(event);
    call().catch((error) => this.#o.onFault(error));
  }
}

function rankOf(state: string): number {
  return (WORDS as readonly string[]).indexOf(state) + 1;
}

function keyOf({ limit, scope, level, experiment }: Limit): string {
  return JSON.stringify([limit, scope, level, experiment]);
}
