// What a command writes and how it ends: standard output, one-line errors, exit codes (docs/cli.md).

import { writeSync } from 'node:fs';
import { LezeaError, messageOf } from '../errors.js';

export const EXIT = {
  ok: 0,
  /** The thing asked about is not fine. */
  notFine: 1,
  /** Bad usage or configuration. */
  usage: 2,
  noAgent: 3,
} as const;

export interface Io {
  out(text: string): void;
  err(text: string): void;
}

/**
 * Standard error is written by descriptor: process.stderr would set a pipe to non-blocking, and a command that was
 * given the same pipe would suddenly get EAGAIN.
 */
export const standardIo: Io = {
  out: (text) => {
    process.stdout.write(text);
  },
  err: (text) => writeAll(2, text),
};

function writeAll(descriptor: number, text: string): void {
  let data = Buffer.from(text);
  for (let tries = 0; data.length > 0 && tries < 1000; tries++) {
    try {
      data = data.subarray(writeSync(descriptor, data));
    } catch (error) {
      // A full pipe that someone else set to non-blocking empties again; a closed one (EPIPE, EBADF) has no reader.
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') return;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
    }
  }
}

/** Bad usage: one line, exit code 2. */
export function usageError(message: string): LezeaError {
  return new LezeaError('usage', message);
}

/** Agents that are not there, not to be trusted, or do not answer. */
const NO_AGENT = new Set(['no_agent', 'untrusted', 'closed', 'timeout']);
const USAGE = new Set(['usage', 'invalid_config']);

/** Writes what went wrong, one line each, and says with which code to end. */
export function reportError(error: unknown, io: Io): number {
  for (const line of messageOf(error).split('\n')) io.err(`lezea-monitor: ${line}\n`);
  if (!(error instanceof LezeaError)) return EXIT.notFine;
  if (NO_AGENT.has(error.code)) return EXIT.noAgent;
  return USAGE.has(error.code) ? EXIT.usage : EXIT.notFine;
}
