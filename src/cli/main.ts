// Entry of the command line: arguments in, exit status out. Every command is its own module, loaded when it is asked for,
// so that `run` starts quickly.

import { CommanderError } from 'commander';
import { type Io, reportError, standardIo } from './io.js';
import { buildProgram } from './program.js';

/** Runs one command line (without node and the script) and resolves to its exit status. */
export async function main(args: readonly string[], io: Io = standardIo): Promise<number> {
  if (io === standardIo) endQuietlyOnBrokenPipe(args);
  let status = 0;
  const program = buildProgram(io, (code) => {
    status = code;
  });
  try {
    await program.parseAsync([...args], { from: 'user' });
    return status;
  } catch (error) {
    // Commander has said what was wrong; its only good "errors" are --help and --version.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    return reportError(error, io);
  }
}

/** `lezea-monitor runs | head -1` is no failure. */
function endQuietlyOnBrokenPipe(args: readonly string[]): void {
  // `run` leaves standard output to its command: even opening the stream would change the descriptor.
  if (args[0] === 'run') return;
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
}
