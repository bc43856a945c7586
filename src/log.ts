// The log: pino, one JSON object a line on standard error. Writes are buffered by the stream; a fatal line and the end of
// the process flush it at once, so that the reason of a death is never lost. Where standard error is the journal, every line
// begins with its priority (sd-daemon(3)), which the journal takes off: `journalctl -p warning` finds what is one.

import { fstatSync } from 'node:fs';
import { type Logger, pino } from 'pino';

export type { Logger } from 'pino';

export interface LogOptions {
  /** Lowest level that is written; `silent` for none. */
  level: string;
  /** Where lines go; tests give their own. Default: standard error. */
  destination?: { write(line: string): void };
  /** Whose JOURNAL_STREAM says which stream is the journal's. Default: none is. */
  env?: NodeJS.ProcessEnv;
}

const STANDARD_ERROR = 2;

export function createLogger(options: LogOptions): Logger {
  // pino flushes a stream of its own making on `fatal` and at exit (flushSync).
  const destination = options.destination ?? standardError(options.env ?? {});
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

function standardError(env: NodeJS.ProcessEnv) {
  const stream = pino.destination({ dest: STANDARD_ERROR, sync: false });
  if (!env.JOURNAL_STREAM) return stream;
  const { dev, ino } = fstatSync(STANDARD_ERROR, { bigint: true });
  return env.JOURNAL_STREAM === `${dev}:${ino}` ? withPriorities(stream) : stream;
}

/** pino leaves the level of the line that it writes in `lastLevel`. */
function withPriorities(stream: ReturnType<typeof pino.destination>) {
  return {
    [Symbol.for('pino.metadata')]: true,
    lastLevel: 0,
    write(line: string): void {
      stream.write(`<${priorityOf(this.lastLevel)}>${line}`);
    },
    flushSync: () => stream.flushSync(),
  };
}

/** syslog(3)'s number of a pino level: debug, info, warning, err, crit. */
function priorityOf(level: number): number {
  const { debug, info, warn, error } = pino.levels.values as Record<string, number>;
  const steps: [number | undefined, number][] = [
    [debug, 7],
    [info, 6],
    [warn, 4],
    [error, 3],
  ];
  return steps.find(([most]) => most !== undefined && level <= most)?.[1] ?? 2;
}
