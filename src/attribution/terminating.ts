// Ends runs that are past a limit, where their owner asked for it: SIGTERM to the run's processes, SIGKILL to what is left of
// them after the grace. Nobody else is ever signalled. Reads how limits stand; the run's record remembers what was done.

import { constants } from 'node:os';
import type { Logger } from 'pino';
import type { ProcessId, Signalled } from '../native/addon.js';
import { LIMIT_EVENTS } from './budgets.js';
import type { Ledger } from './ledger.js';
import type { Lifecycle } from './lifecycle.js';
import { processKey } from './records.js';
import type { Registry } from './registry.js';
import { exceededText, type RunLimits } from './run-limits.js';
import type { TrackedRun } from './tracked-run.js';

const { SIGTERM, SIGKILL } = constants.signals;
const NAMES = { [SIGTERM]: 'SIGTERM', [SIGKILL]: 'SIGKILL' } as const;

export interface TerminatorOptions {
  registry: Registry;
  ledger: Ledger;
  lifecycle: Pick<Lifecycle, 'audit' | 'processesOf'>;
  log: Logger;
  monotonicNs(): bigint;
  /** Sends a signal to exactly that process, if it is that user's. */
  signal(process: ProcessId, uid: number, signal: number): Signalled;
}

export class Terminator {
  readonly #o: TerminatorOptions;
  /** Who had a signal already, or cannot have it: nobody gets one twice, and nothing is said twice. */
  readonly #done = new WeakMap<TrackedRun, Set<string>>();

  constructor(options: TerminatorOptions) {
    this.#o = options;
  }

  /** After every checkpoint: what is to be known of a run is stored by then. */
  act(): void {
    for (const run of this.#o.registry.live()) {
      const { limits } = run.record;
      if (limits?.onExceeded === 'terminate' && run.status !== 'FINISHING') this.#actOn(run, limits);
      else if (limits?.ending && run.status !== 'FINISHING') this.#spare(run, limits);
    }
  }

  #actOn(run: TrackedRun, limits: RunLimits): void {
    const over = run.limits.find(({ state }) => state === 'exceeded');
    if (!over) {
      if (limits.ending) this.#spare(run, limits);
      return;
    }
    const text = limits.ending?.text ?? exceededText(over);
    const now = this.#o.monotonicNs();
    if (!limits.ending) {
      if (this.#send(run, SIGTERM, text)) limits.ending = { text, sinceNs: String(now) };
    } else if (now - BigInt(limits.ending.sinceNs) >= BigInt(Math.round(limits.graceSeconds * 1e9))) {
      if (!this.#send(run, SIGKILL, text)) return;
      limits.ending.killed = true;
    } else {
      // Who was born or bound meanwhile is asked too, before it is killed.
      this.#send(run, SIGTERM, text);
      return;
    }
    this.#o.ledger.runChanged(run);
  }

  /** The limit was raised, or the owner thinks otherwise now: who has not ended by SIGTERM lives on. */
  #spare(run: TrackedRun, limits: RunLimits): void {
    delete limits.ending;
    this.#done.delete(run);
    this.#o.ledger.runChanged(run);
  }

  /** Whether anybody got it. */
  #send(run: TrackedRun, signal: typeof SIGTERM | typeof SIGKILL, limit: string): boolean {
    const done = this.#doneWith(run);
    const pids: number[] = [];
    const refused: { pid: number; reason: string }[] = [];
    for (const target of this.#o.lifecycle.processesOf(run)) {
      const key = `${signal}/${processKey(target)}`;
      if (done.has(key) || target.pid <= 1 || target.pid === process.pid) continue;
      done.add(key);
      const result = this.#o.signal(target, run.owner.uid, signal);
      if (result === 'ok') pids.push(target.pid);
      else if (result !== 'gone') refused.push({ pid: target.pid, reason: REASONS[result] });
    }
    if (pids.length + refused.length > 0) {
      const data = { signal: NAMES[signal], reason: limit, pids, ...(refused.length > 0 && { refused }) };
      this.#o.lifecycle.audit(run, LIMIT_EVENTS.signalled, data);
      this.#o.log.info({ run: run.key, ...data }, 'processes of a run past its limit were signalled');
    }
    return pids.length > 0;
  }

  /** Of a run that the agent before this one began to end, whoever is there had its SIGTERM. */
  #doneWith(run: TrackedRun): Set<string> {
    const known = this.#done.get(run);
    if (known) return known;
    const had = run.record.limits?.ending ? this.#o.lifecycle.processesOf(run) : [];
    const done = new Set(had.map((process) => `${SIGTERM}/${processKey(process)}`));
    this.#done.set(run, done);
    return done;
  }
}

const REASONS: Record<Exclude<Signalled, 'ok' | 'gone'>, string> = {
  denied: 'the agent may not signal it, or it is another user’s',
  unsupported: 'the kernel has no pidfd_send_signal',
  malformed: '/proc says nothing of it that can be read',
};
