// Starts a command that does nothing until it is told to: a shell waits on an extra descriptor and then becomes the command
// (exec), so that every instruction of the command runs after its process was bound. Once it has ended it stays unreaped
// until it is told: what it used last can be read till then. Owns the child process and that descriptor. Standard input,
// output, error and the terminal are the caller's own, in the caller's process group.

import { spawn } from 'node:child_process';
import { accessSync, closeSync, constants, statSync, writeSync } from 'node:fs';
import { constants as osConstants } from 'node:os';
import { delimiter, join } from 'node:path';
import type { Writable } from 'node:stream';
import { loadAddon } from '../native/addon.js';

/** Without a line on descriptor 3 (whoever was to give it has died) the command still runs. */
const HOLD = 'read -r _ <&3; exec 3<&-; exec "$@"';

export interface Ending {
  /** Exit status as a shell gives it: 128 + signal for one that was killed. */
  status: number;
  signal?: string;
}

export interface HeldChild {
  readonly pid: number;
  /** Lets the command begin. */
  release(): void;
  kill(signal: NodeJS.Signals): void;
  readonly ended: Promise<Ending>;
  /** Lets the kernel forget it; once it has ended. */
  reap(): void;
}

/** Starts the shell with these arguments and the environment. Throws where no process can be made. */
type Starter = (shell: string, argv: string[], env: NodeJS.ProcessEnv) => HeldChild | Promise<HeldChild>;

/** What is wrong with a command, with the status a shell would give; undefined when it can be started. */
export function commandFault(
  command: string,
  env: NodeJS.ProcessEnv,
): { status: number; why: string } | undefined {
  const paths = command.includes('/')
    ? [command]
    : (env.PATH ?? '/usr/bin:/bin').split(delimiter).map((folder) => join(folder || '.', command));
  const found = paths.filter(isFile);
  if (found.length === 0) return { status: 127, why: 'not found' };
  return found.some(isExecutable) ? undefined : { status: 126, why: 'not executable' };
}

/** A folder of PATH that is none, or that may not be looked into, is passed over as a shell passes it over. */
function isFile(path: string): boolean {
  try {
    return statSync(path).isFile();
  } catch (error) {
    return refused(error);
  }
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch (error) {
    return refused(error);
  }
}

/** False for any refusal of the kernel; what is no such refusal is our own mistake. */
function refused(error: unknown): false {
  if ((error as NodeJS.ErrnoException).errno === undefined) throw error;
  return false;
}

/**
 * The shell that hands its environment on as it got it. Debian's sh (dash) drops variables whose names are none of its
 * own (`foo.bar`, exported bash functions); bash as sh keeps them, but it is slower to start.
 */
function holdingShell(env: NodeJS.ProcessEnv): string {
  const plain = Object.keys(env).every((name) => /^[A-Za-z_][A-Za-z0-9_]*$/.test(name));
  return !plain && isFile('/bin/bash') ? '/bin/bash' : '/bin/sh';
}

/** Starts the shell that will become the command, which ignores these signals. Throws when no process can be made. */
export async function spawnHeld(
  command: readonly string[],
  env: NodeJS.ProcessEnv,
  ignored: readonly number[] = [],
  starter: Starter = startUnreaped,
): Promise<HeldChild> {
  // Node gives its children every signal as if nothing were ignored; what a shell ignores stays so through exec.
  const hold = ignored.length === 0 ? HOLD : `trap '' ${ignored.join(' ')}; ${HOLD}`;
  // As sh, bash reads no start-up file.
  return starter(holdingShell(env), ['sh', '-c', hold, 'lezea-monitor', ...command], env);
}

function startUnreaped(
  shell: string,
  argv: string[],
  env: NodeJS.ProcessEnv,
): HeldChild | Promise<HeldChild> {
  try {
    return startByAddon(shell, argv, env);
  } catch {
    // The addon is of another machine or C library than this container's: then the end of the command is less exact.
    return startByNode(shell, argv, env);
  }
}

function startByAddon(shell: string, argv: string[], env: NodeJS.ProcessEnv): HeldChild {
  const addon = loadAddon();
  const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  let tell: (ending: Ending) => void = () => undefined;
  const ended = new Promise<Ending>((resolve) => {
    tell = resolve;
  });
  const { pid, hold } = addon.spawnUnreaped(shell, argv, variables, (code, signal) => {
    const [name = 'unknown'] =
      Object.entries(osConstants.signals).find(([, number]) => number === signal) ?? [];
    tell(signal === 0 ? { status: Math.max(code, 0) } : { status: 128 + signal, signal: name });
  });
  return {
    pid,
    release: () => {
      try {
        writeSync(hold, 'go\n');
      } catch {
        // The shell was killed while it waited.
      }
      closeSync(hold);
    },
    kill: (signal) => void process.kill(pid, signal),
    ended,
    reap: () => addon.reapChild(pid),
  };
}

/** Reaped by Node the moment it ends. */
export async function startByNode(
  shell: string,
  [argv0 = 'sh', ...args]: string[],
  env: NodeJS.ProcessEnv,
): Promise<HeldChild> {
  const child = spawn(shell, args, { argv0, stdio: ['inherit', 'inherit', 'inherit', 'pipe'], env });
  const ended = new Promise<Ending>((resolve) => {
    child.once('exit', (code, signal) => resolve(endingOf(code, signal)));
  });
  await new Promise<void>((spawned, failed) => {
    child.once('spawn', spawned);
    child.once('error', failed);
  });
  if (child.pid === undefined) throw new Error('a process that was started has no pid');
  const held = child.stdio[3] as Writable;
  // The shell may be killed while it waits.
  held.on('error', () => held.destroy());
  return {
    pid: child.pid,
    release: () => held.end('go\n'),
    kill: (signal) => void child.kill(signal),
    ended,
    reap: () => undefined,
  };
}

function endingOf(code: number | null, signal: NodeJS.Signals | null): Ending {
  return signal === null ? { status: code ?? 1 } : { status: 128 + osConstants.signals[signal], signal };
}
