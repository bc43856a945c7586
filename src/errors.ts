// The one error type that carries a stable word for programs and one line for people.
// Startup errors end the program with that line; request errors travel to the client as `data.code`.

export class LezeaError extends Error {
  /** A stable word, e.g. `unknown_run`. */
  readonly code: string;

  constructor(code: string, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'LezeaError';
    this.code = code;
  }
}

/** What was asked of an agent that stops: the next one is to be asked. */
export class StoppingError extends LezeaError {
  constructor() {
    super('stopping', 'the agent is stopping');
  }
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
