// Passes on to a command the signals that its runner gets, but for those that were ignored when it was started: nobody
// meant to send them. Reads /proc/self/stat and what bin/lezea-monitor noted; owns the listeners while it forwards.

import { readFileSync } from 'node:fs';
import { constants } from 'node:os';

const FORWARDED = ['SIGTERM', 'SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'] as const;
/** What a terminal sends to its whole foreground group. */
const FROM_TERMINAL = new Set<NodeJS.Signals>(['SIGINT', 'SIGQUIT']);
const INTERRUPTS = new Set<NodeJS.Signals>(['SIGINT', 'SIGTERM']);

export interface Forwarding {
  /** Whether the runner was asked to stop: the command's failure then is an interruption. */
  readonly interrupted: boolean;
  stop(): void;
}

/** Those that no program may ignore, and those of the C library. */
const NEVER_IGNORED = new Set([constants.signals.SIGKILL, constants.signals.SIGSTOP, 32, 33]);

/**
 * Numbers of the signals that were ignored when the program was started. Taken out of the environment: what the command
 * starts later may be told otherwise.
 */
export function ignoredAtStart(env: NodeJS.ProcessEnv): number[] {
  const { LEZEA_IGNORED_SIGNALS: mask } = env;
  delete env.LEZEA_IGNORED_SIGNALS;
  if (mask === undefined || !/^[0-9a-f]{16}$/.test(mask)) return [];
  const bits = BigInt(`0x${mask}`);
  return Array.from({ length: 64 }, (_, bit) => bit + 1).filter(
    (signal) => ((bits >> BigInt(signal - 1)) & 1n) === 1n && !NEVER_IGNORED.has(signal),
  );
}

/** Ignores them again, those that a runner would die of. */
export function ignoreAgain(ignored: readonly number[]): void {
  for (const signal of FORWARDED) {
    if (ignored.includes(constants.signals[signal])) process.on(signal, () => undefined);
  }
}

/** Forwards until stopped. A signal that the terminal gave to both is not given twice. */
export function forwardSignals(
  kill: (signal: NodeJS.Signals) => void,
  ignored: readonly number[],
): Forwarding {
  let interrupted = false;
  const heard = FORWARDED.filter((signal) => !ignored.includes(constants.signals[signal]));
  const listeners = heard.map((signal) => {
    const listener = () => {
      interrupted ||= INTERRUPTS.has(signal);
      if (FROM_TERMINAL.has(signal) && isForeground(readFileSync('/proc/self/stat', 'latin1'))) return;
      kill(signal);
    };
    process.on(signal, listener);
    return { signal, listener };
  });
  return {
    get interrupted() {
      return interrupted;
    },
    stop: () => {
      for (const { signal, listener } of listeners) process.off(signal, listener);
    },
  };
}

/**
 * Whether this process group is the one that its terminal sends to: fields 5 (pgrp) and 8 (tpgid) of
 * `4711 (node) S 4710 4711 4600 34816 4711 …`; tpgid is -1 without a terminal.
 */
export function isForeground(stat: string): boolean {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields[2] !== undefined && fields[2] === fields[5];
}
