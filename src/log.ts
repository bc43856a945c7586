// The log: pino, one JSON object a line on standard error. Writes are buffered by the stream; a fatal line and the end of
// the process flush it at once, so that the reason of a death is never lost.

import { type Logger, pino } from 'pino';

export type { Logger } from 'pino';

export interface LogOptions {
  /** Lowest level that is written; `silent` for none. */
  level: string;
  /** Where lines go; tests give their own. Default: standard error. */
  destination?: { write(line: string): void };
}

export function createLogger(options: LogOptions): Logger {
  // pino flushes a stream of its own making on `fatal` and at exit (flushSync).
  const destination = options.destination ?? pino.destination({ dest: 2, sync: false });
  return pino(
    {
      level: options.level,
      base: { pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    destination,
  );
}
