// What a restarted agent does with the runs it left open. On the same boot they go on: the sampler gets back its
// counters, totals and processes and reads on from there. After a reboot nothing of them is alive: they are ended as
// LOST with what was committed.

import type { Logger } from 'pino';
import type { Sampler } from '../native/addon.js';
import type { Ledger } from './ledger.js';
import type { Lifecycle } from './lifecycle.js';
import type { Persistence, SavedRun } from './records.js';
import { type Registry, rebuildRun } from './registry.js';
import type { TrackedRun } from './tracked-run.js';

export interface RestoreOptions {
  sampler: Sampler;
  ledger: Ledger;
  registry: Registry;
  lifecycle: Lifecycle;
  persistence: Persistence;
  log: Logger;
  bootId: string;
  /** Wall clock, milliseconds since 1970: runs that ended since then are still shown. */
  endedSinceMs: number;
}

/** Most ended runs that a start reads back. */
const MAX_ENDED = 1000;

/** Before the sampler is started. Returns the runs to be finished once it is. */
export function restoreRuns(options: RestoreOptions): TrackedRun[] {
  const { persistence, registry, lifecycle, log, bootId } = options;
  const sameBoot = persistence.bootId === bootId;
  const over: TrackedRun[] = [];
  for (const saved of persistence.endedSince(options.endedSinceMs, MAX_ENDED)) {
    registry.addEnded(rebuildRun(saved));
  }
  for (const saved of persistence.openRuns()) {
    const run = rebuildRun(saved);
    if (run.figures) run.figures.liveProcesses = sameBoot ? saved.processes.length : 0;
    registry.add(run);
    lifecycle.adopt(run, sameBoot ? saved.processes.map(({ process }) => process) : []);
    options.ledger.processesStored(saved.processes);
    if (sameBoot) giveBack(options.sampler, saved);
    else loseToReboot(options, run, saved);
    const event = { same_boot: sameBoot, processes: saved.processes.length };
    lifecycle.audit(run, 'agent.restarted', event);
    log.info({ run: run.key, status: run.status, ...event }, 'a run was taken up again');
    if (!sameBoot || run.status === 'FINISHING') over.push(run);
  }
  if (!sameBoot) options.ledger.bootChanged(bootId);
  return over;
}

/** Parents before children, as the sampler asks; opaque states last, since they speak of slots. */
function giveBack(sampler: Sampler, saved: SavedRun): void {
  const { handle, unattributedSlot } = saved.record;
  sampler.openRun(handle, unattributedSlot);
  for (const scope of saved.scopes) sampler.defineSlot(scope.slot, handle, scope.parent);
  for (const [gpu, uuid] of Object.entries(saved.record.gpus ?? {})) sampler.nameGpu(Number(gpu), uuid);
  for (const row of saved.rows.values()) sampler.restoreSlot(row);
  if (saved.figures) sampler.restoreRun(saved.figures.row, saved.figures.state);
  for (const living of saved.processes) sampler.restoreProcess(handle, living.state);
}

function loseToReboot(options: RestoreOptions, run: TrackedRun, saved: SavedRun): void {
  const lost = { status: 'LOST', reason: 'the machine was rebooted' } as const;
  for (const part of run.liveParts()) options.lifecycle.endPart(part, lost);
  options.ledger.dropProcesses(saved.processes);
  // The clock has begun anew: what was seen of it is what is known.
  run.record.runtimeSeconds ??= Number(saved.figures?.elapsedNs ?? 0n) / 1e9;
  if (run.parts.length > 0 || run.record.outcome) return;
  run.record.outcome = lost;
}
