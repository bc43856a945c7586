// The beginning of runs: a new one, a further attempt of one that ended, or one more process that attaches to a live
// one. Owns nothing; the registry keeps what is made here.

import { randomBytes } from 'node:crypto';
import { LezeaError } from '../errors.js';
import type { Sampler } from '../native/addon.js';
import type { Budgets } from './budgets.js';
import { CAPTURED } from './facts.js';
import type { Ledger } from './ledger.js';
import type { Lifecycle } from './lifecycle.js';
import type { Limiter } from './limits.js';
import type { Caller, Owner, StartRequest } from './model.js';
import { isRunId, makeRunId, nameFault } from './names.js';
import type { RunRecord } from './records.js';
import type { Registry } from './registry.js';
import { redacted } from './secrets.js';
import { TrackedRun } from './tracked-run.js';

export interface StarterOptions {
  sampler: Sampler;
  ledger: Ledger;
  registry: Registry;
  lifecycle: Lifecycle;
  limiter: Limiter;
  budgets: Budgets;
  nowMs(): number;
  monotonicNs(): bigint;
  /** Whether what is stored of the owner's runs, and may not be removed, is its whole share. */
  isFull(owner: Owner): boolean;
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
    if (request.name !== undefined) this.#checkName(request.name);
    const known = this.#o.registry.get(caller.owner, runId);
    if (known?.isLive) {
      this.#attach(known, request);
      return { run: known, created: false };
    }
    return { run: this.#create(caller, runId, request, known), created: true };
  }

  /** What was said of the run holds for its next attempt, but for what clients found out about their own processes. */
  #carryFacts(earlier: TrackedRun, run: TrackedRun): void {
    const size = { count: 0, bytes: 0 };
    for (const [key, text] of this.#o.registry.factTexts(earlier)) {
      if (key === CAPTURED) continue;
      size.count += 1;
      size.bytes += Buffer.byteLength(key) + Buffer.byteLength(text);
      this.#o.ledger.factChanged({ run: run.handle, key, text });
    }
    if (size.count > 0) run.record.facts = size;
  }

  #checkName(name: string): void {
    this.#o.limiter.admitSize('nameBytes', Buffer.byteLength(name));
    const fault = nameFault(name);
    if (fault) throw new LezeaError('invalid_params', fault);
  }

  /** The same id again: what the first start left open is filled in, tags are merged, the lowest rank is the run's. */
  #attach(run: TrackedRun, request: StartRequest): void {
    const { record } = run;
    const merged = this.merged(record, request);
    for (const key of ['experiment', 'name', 'worldSize', 'localWorldSize'] as const) {
      if (record[key] === undefined && request[key] !== undefined)
        Object.assign(record, { [key]: request[key] });
    }
    if (request.rank !== undefined) record.rank = Math.min(request.rank, record.rank ?? request.rank);
    if (request.limits) this.#o.budgets.set(run, request.limits);
    this.settle(run, merged);
  }

  #create(caller: Caller, runId: string, request: StartRequest, earlier?: TrackedRun): TrackedRun {
    const { registry, limiter, ledger, sampler, lifecycle, budgets } = this.#o;
    if (earlier && request.attempt !== undefined && request.attempt <= earlier.attempt) {
      throw new LezeaError('run_ended', `attempt ${request.attempt} of ${runId} has ended`);
    }
    // Before anything of it exists: what is refused leaves no run behind.
    const merged = this.merged({ tags: {}, tracker: {} }, request);
    limiter.admitOwner(
      'liveRuns',
      caller.owner,
      registry.holdings(() => 1),
    );
    limiter.admit('stateShares', this.#o.isFull(caller.owner) ? 1 : 0);
    const limits = request.limits ?? { values: new Map(), experiment: new Map() };
    const { experiment } = request;
    budgets.admit(
      { owner: caller.owner, ...(experiment === undefined ? {} : { experiment }) },
      limits,
      earlier,
    );
    const record: RunRecord = {
      handle: registry.take('run'),
      key: earlier?.key ?? randomBytes(8).toString('hex'),
      runId,
      owner: caller.owner,
      attempt: Math.max((earlier?.attempt ?? 0) + 1, request.attempt ?? 1),
      ...merged,
      status: 'REGISTERED',
      creator: caller.process,
      startedAtMs: this.#o.nowMs(),
      startedMonoNs: this.#o.monotonicNs(),
      unattributedSlot: registry.take('slot'),
      progress: { steps: 0, episodes: 0 },
    };
    for (const key of ['experiment', 'name', 'rank', 'worldSize', 'localWorldSize'] as const) {
      if (request[key] !== undefined) Object.assign(record, { [key]: request[key] });
    }
    const run = new TrackedRun(record);
    registry.add(run);
    budgets.begin(run, limits, earlier);
    if (earlier) this.#carryFacts(earlier, run);
    sampler.openRun(run.handle, run.unattributedSlot);
    ledger.runChanged(run);
    lifecycle.audit(run, 'run.started', { run_id: runId, attempt: record.attempt, pid: caller.process.pid });
    registry.emit('status', run);
    this.#o.wake();
    return run;
  }

  settle(run: TrackedRun, merged: Required<Settings>): void {
    Object.assign(run.record, merged);
    this.#o.ledger.runChanged(run);
  }

  /** Tags and the tracker's settings after a change: a later value replaces an earlier one. Throws where that is too much. */
  merged(known: Required<Settings>, changes: Settings): Required<Settings> {
    const tags = { ...known.tags, ...redacted(changes.tags ?? {}) };
    const tracker = { ...known.tracker };
    for (const [key, value] of Object.entries(changes.tracker ?? {})) tracker[key] = withoutPassword(value);
    for (const settings of [tags, tracker]) {
      this.#o.limiter.admit('tagsPerRun', Object.keys(settings).length - 1);
      this.#o.limiter.admitSize('tagBytesPerRun', bytesOf(settings));
    }
    return { tags, tracker };
  }
}

type Settings = Pick<StartRequest, 'tags' | 'tracker'>;

function bytesOf(settings: Record<string, string>): number {
  return Object.entries(settings).reduce(
    (sum, [key, value]) => sum + Buffer.byteLength(key) + Buffer.byteLength(value),
    0,
  );
}

/** A tracker's address without user and password: no secret is ever stored. */
function withoutPassword(text: string): string {
  return text.replace(/^([a-z][a-z0-9+.-]*:\/\/)[^/?#]*@/i, '$1');
}
