// Runs a command in a process of its own, fenced: a fixed PATH and nothing else of the agent's environment,
// killed with everything that it started when its time is up, also where this process has gone by then. What it prints is
// the answer.

import { type ChildProcess, spawn } from 'node:child_process';
import { access, constants } from 'node:fs/promises';

/** Where its commands may come from. */
export const FIXED_PATH = '/usr/sbin:/usr/bin:/sbin:/bin';
/** Of coreutils: waits for the command, and kills its group for us should we have been killed ourselves. */
const WATCHDOG = '/usr/bin/timeout';
/** How much longer than we it waits, seconds. */
const WATCHDOG_GRACE_SECONDS = 1;

export interface Fence {
  timeoutMs: number;
  /** Longest answer, bytes. */
  mostBytes: number;
  /** Ends it sooner. */
  signal?: AbortSignal;
}

/** What it printed. The program is an absolute path. Throws where it failed, took too long or said too much. */
export async function runFenced(
  [program, ...args]: readonly [string, ...string[]],
  { timeoutMs, mostBytes, signal }: Fence,
): Promise<string> {
  // The watchdog would say no more than that it cannot.
  await access(program, constants.X_OK);
  const watchdogSeconds = timeoutMs / 1000 + WATCHDOG_GRACE_SECONDS;
  const child = spawn(WATCHDOG, ['--signal=KILL', String(watchdogSeconds), program, ...args], {
    cwd: '/',
    env: { PATH: FIXED_PATH, LC_ALL: 'C' },
    stdio: ['ignore', 'pipe', 'ignore'],
    // A group of its own, which can be killed as a whole.
    detached: true,
  });
  const end = () => killGroup(child);
  const timer = setTimeout(end, timeoutMs);
  signal?.addEventListener('abort', end);
  try {
    return await answerOf(child, mostBytes, timeoutMs);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', end);
    // Also what it left behind.
    end();
  }
}

function answerOf(child: ChildProcess, mostBytes: number, timeoutMs: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const pieces: Buffer[] = [];
    let bytes = 0;
    child.stdout?.on('data', (piece: Buffer) => {
      bytes += piece.length;
      if (bytes > mostBytes) {
        reject(new Error(`said more than ${mostBytes} bytes`));
        killGroup(child);
      } else {
        pieces.push(piece);
      }
    });
    child.on('error', reject);
    child.on('exit', (code, signal) => {
      if (signal !== null) reject(new Error(`ended by ${signal}, perhaps after ${timeoutMs} ms`));
      else if (code !== 0) reject(new Error(`exit status ${code}`));
    });
    child.on('close', () => resolve(Buffer.concat(pieces).toString()));
  });
}

function killGroup({ pid }: ChildProcess): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // All of it has gone.
  }
}
