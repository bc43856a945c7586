// Passes on to a command the signals that its runner gets. Reads /proc/self/stat; owns the listeners while it forwards.

import { readFileSync } from 'node:fs';

const FORWARDED = ['SIGTERM', 'SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'] as const;
/** What a terminal sends to its whole foreground group. */
const FROM_TERMINAL = new Set<NodeJS.Signals>(['SIGINT', 'SIGQUIT']);
const INTERRUPTS = new Set<NodeJS.Signals>(['SIGINT', 'SIGTERM']);

export interface Forwarding {
  /** Whether the runner was asked to stop: the command's failure then is an interruption. */
  readonly interrupted: boolean;
  stop(): void;
}

/** Forwards until stopped. A signal that the terminal gave to both is not given twice. */
export function forwardSignals(kill: (signal: NodeJS.Signals) => void): Forwarding {
  let interrupted = false;
  const listeners = FORWARDED.map((signal) => {
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
