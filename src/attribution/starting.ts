// The beginning of runs: a new one, a further attempt of one that ended, or one more process that attaches to a live
// one. Owns nothing; the registry keeps what is made here.

import { randomBytes } from 'node:crypto';
import { LezeaError } from '../errors.js';
import type { Sampler } from '../native/addon.js';
import type { Ledger } from './ledger.js';
import type { Lifecycle } from './lifecycle.js';
import type { Limiter } from './limits.js';
import type { Caller, StartRequest } from './model.js';
import { isRunId, makeRunId, nameFault } from './names.js';
import { sameOwner } from './owners.js';
import type { RunRecord } from './records.js';
import type { Registry } from './registry.js';
import { TrackedRun } from './tracked-run.js';

export interface StarterOptions {
  sampler: Sampler;
  ledger: Ledger;
  registry: Registry;
  lifecycle: Lifecycle;
  limiter: Limiter;
  nowMs(): number;
  monotonicNs(): bigint;
  /** A run became live. */
  wake(): void;
}

export class Starter {
  readonly #o: StarterOptions;

  constructor(options: StarterOptions) {
    this.#o = options;
  }

  start(caller: Caller, request: StartRequest): { run: TrackedRun; created: boolean } {
    const runId = request.runId ?? makeRunId(this.#o.nowMs(), randomBytes(3));
    if (!isRunId(runId)) throw new LezeaError('invalid_params', `not a run id: ${JSON.stringify(runId)}`);
    const fault = request.name === undefined ? undefined : nameFault(request.name);
    if (fault) throw new LezeaError('invalid_params', fault);
    const known = this.#o.registry.get(caller.owner, runId);
    if (known?.isLive) {
      this.#attach(known, request);
      return { run: known, created: false };
    }
    return { run: this.#create(caller, runId, request, known), created: true };
  }

  /** The same id again: what the first start left open is filled in, tags are merged. */
  #attach(run: TrackedRun, request: StartRequest): void {
    const { record } = run;
    record.experiment ??= request.experiment;
    record.name ??= request.name;
    this.merge(run, request);
  }

  #create(caller: Caller, runId: string, request: StartRequest, earlier?: TrackedRun): TrackedRun {
    const { registry, limiter, ledger, sampler, lifecycle } = this.#o;
    if (earlier && request.attempt !== undefined && request.attempt <= earlier.attempt) {
      throw new LezeaError('run_ended', `attempt ${request.attempt} of ${runId} has ended`);
    }
    const live = [...registry.live()].filter((run) => sameOwner(run.owner, caller.owner)).length;
    limiter.admit('liveRuns', live);
    const record: RunRecord = {
      handle: registry.take('run'),
      key: earlier?.key ?? randomBytes(8).toString('hex'),
      runId,
      owner: caller.owner,
      attempt: Math.max((earlier?.attempt ?? 0) + 1, request.attempt ?? 1),
      tags: {},
      tracker: {},
      status: 'REGISTERED',
      creator: caller.process,
      startedAtMs: this.#o.nowMs(),
      startedMonoNs: this.#o.monotonicNs(),
      unattributedSlot: registry.take('slot'),
      progress: { steps: 0, episodes: 0 },
    };
    for (const key of ['experiment', 'name', 'rank', 'worldSize'] as const) {
      if (request[key] !== undefined) Object.assign(record, { [key]: request[key] });
    }
    const run = new TrackedRun(record);
    registry.add(run);
    sampler.openRun(run.handle, run.unattributedSlot);
    ledger.runChanged(run);
    this.merge(run, request);
    lifecycle.audit(run, 'run.started', { run_id: runId, attempt: record.attempt, pid: caller.process.pid });
    registry.emit('status', run);
    this.#o.wake();
    return run;
  }

  /** Adds tags and the tracker's settings; a later value replaces an earlier one. */
  merge(run: TrackedRun, changes: Pick<StartRequest, 'tags' | 'tracker'>): void {
    const tags = { ...run.record.tags, ...changes.tags };
    this.#o.limiter.admit('tagsPerRun', Object.keys(tags).length - 1);
    run.record.tags = tags;
    const tracker = { ...run.record.tracker };
    for (const [key, value] of Object.entries(changes.tracker ?? {})) tracker[key] = withoutPassword(value);
    this.#o.limiter.admit('tagsPerRun', Object.keys(tracker).length - 1);
    run.record.tracker = tracker;
    this.#o.ledger.runChanged(run);
  }
}

/** A tracker's address without user and password: no secret is ever stored. */
function withoutPassword(text: string): string {
  return text.replace(/^([a-z][a-z0-9+.-]*:\/\/)[^/?#]*@/i, '$1');
}
