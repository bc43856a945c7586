// What the end of a process means for its part of a run, and what the parts mean for the run. Pure.

import { constants } from 'node:os';
import type { ExitedProcess } from '../native/addon.js';
import type { FinalStatus, Outcome } from './model.js';
import type { PartRecord } from './records.js';

/** From best to worst. LOST is worst: nobody knows what became of it. */
export const BADNESS: readonly FinalStatus[] = ['FINISHED', 'INTERRUPTED', 'FAILED', 'KILLED', 'LOST'];
/** Ways of asking a program to stop. */
const INTERRUPTS = new Set([constants.signals.SIGINT, constants.signals.SIGTERM]);

const signalNames = new Map(
  Object.entries(constants.signals).map(([name, number]) => [number as number, name]),
);

/** How a part came out whose process died without ending it. */
export function outcomeOfExit(
  exited: Pick<ExitedProcess, 'exitCode' | 'exitSignal' | 'oomKilled'>,
  part: Pick<PartRecord, 'outside' | 'worker'>,
): Outcome {
  if (exited.oomKilled) return { status: 'KILLED', reason: 'killed by the kernel: out of memory' };
  if (exited.exitSignal !== undefined && exited.exitSignal > 0) {
    const name = signalNames.get(exited.exitSignal) ?? 'unknown';
    const status = INTERRUPTS.has(exited.exitSignal) ? 'INTERRUPTED' : 'KILLED';
    return { status, reason: `ended by signal ${exited.exitSignal} (${name})` };
  }
  if (exited.exitCode === undefined) return { status: 'LOST', reason: 'ended, and how is not known' };
  if (exited.exitCode !== 0) return { status: 'FAILED', reason: `exit code ${exited.exitCode}` };
  // Exit code 0 is all that a program bound from outside, or a worker that its parent reaps, can say.
  if (part.outside || part.worker) return { status: 'FINISHED' };
  return { status: 'LOST', reason: 'exited with code 0 without saying that it was done' };
}

/** The worst of the parts, with its reason; undefined when there is none that counts. */
export function worstOutcome(parts: readonly PartRecord[]): Outcome | undefined {
  let worst: Outcome | undefined;
  for (const { end } of parts) {
    if (!end || end.status === 'MOVED') continue;
    if (worst && BADNESS.indexOf(end.status) <= BADNESS.indexOf(worst.status)) continue;
    worst = end.reason === undefined ? { status: end.status } : { status: end.status, reason: end.reason };
  }
  return worst;
}

/** The outcome of a run whose processes were ended because of a limit: it names the limit, and is no finish. */
export function endedByLimit(outcome: Outcome, limit: string | undefined): Outcome {
  if (limit === undefined) return outcome;
  const status = outcome.status === 'FINISHED' ? 'INTERRUPTED' : outcome.status;
  return { status, reason: outcome.reason === undefined ? limit : `${limit}: ${outcome.reason}` };
}
