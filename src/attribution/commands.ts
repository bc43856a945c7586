// What callers may do to runs: the commands behind the socket's methods. Owns no state of its own; it checks whose
// the run is and what the limits say, then drives the lifecycle, the sessions and the sampler.

import type { Logger } from 'pino';
import { LezeaError, messageOf, StoppingError } from '../errors.js';
import type { ProcessId, Sampler } from '../native/addon.js';
import { emptyRow } from '../native/frame.js';
import { type Budgets, LIMIT_EVENTS } from './budgets.js';
import { type Facts, isDeeper, mergeFacts } from './facts.js';
import type { Ledger } from './ledger.js';
import type { Lifecycle } from './lifecycle.js';
import type { Limiter } from './limits.js';
import type {
  Caller,
  Dropped,
  EndRequest,
  EnterRequest,
  OpenRequest,
  Owner,
  Progress,
  RunCommands,
  ScopeDefinition,
  Session,
  StartRequest,
  Usage,
  UsageRequest,
} from './model.js';
import { nameFault } from './names.js';
import { sameOwner } from './owners.js';
import { type PartRecord, type PhaseRecord, processKey } from './records.js';
import type { Registry } from './registry.js';
import { redacted, withoutSecrets } from './secrets.js';
import type { OpenSession, Sessions } from './sessions.js';
import type { Starter } from './starting.js';
import type { TrackedRun } from './tracked-run.js';

/** The agent's own audit entries, by the beginnings of their names and by whole ones. */
const OWN_PREFIXES = /^(run|process|agent|phase)\./;
const OWN_NAMES: ReadonlySet<string> = new Set(Object.values(LIMIT_EVENTS));

export interface CommandsOptions {
  sampler: Sampler;
  ledger: Ledger;
  registry: Registry;
  lifecycle: Lifecycle;
  starter: Starter;
  sessions: Sessions;
  limiter: Limiter;
  budgets: Budgets;
  log: Logger;
  nowMs(): number;
  checkpoint(): Promise<void>;
  /** Has the GPUs read; undefined: there are none. */
  readGpus(): Promise<void> | undefined;
}

export class Commands implements RunCommands {
  readonly #o: CommandsOptions;

  constructor(options: CommandsOptions) {
    this.#o = options;
  }

  start(caller: Caller, request: StartRequest): { run: TrackedRun; created: boolean } {
    return this.#o.starter.start(caller, request);
  }

  finishing(caller: Caller, runId: string): Promise<void> | undefined {
    const run = this.#o.registry.get(caller.owner, runId);
    return run?.isLive ? this.#o.lifecycle.finishingOf(run) : undefined;
  }

  async openSession(caller: Caller, request: OpenRequest): Promise<Session> {
    const run = this.#liveRun(caller, request.runId);
    const { sessions, sampler, registry } = this.#o;
    const outside = processKey(caller.process) !== processKey(request.process);
    const standing = this.#standingPart(run, request, outside);
    sessions.admit(caller.owner, standing);
    const birth = request.birthScope === undefined ? 0 : sessions.scopeAt(run, request.birthScope).slot;
    const handle = registry.take('session');
    const part =
      standing?.run === run.handle
        ? standing
        : this.#newPart(run, caller, request, { handle, leaves: standing });
    sessions.closeOf(part);
    part.session = handle;
    part.outside = outside;
    if (request.primaryTid !== undefined) part.primaryTid = request.primaryTid;
    this.#o.ledger.partChanged(part);
    const session = sessions.open(run, part, { owner: caller.owner, clockOffsetNs: request.clockOffsetNs });
    sampler.bind({
      session: outside ? 0 : handle,
      token: outside ? '' : session.token,
      process: part.process,
      run: run.handle,
      birthSlot: birth,
      primaryTid: part.primaryTid,
      clockOffsetNs: request.clockOffsetNs,
    });
    if (!outside) sessions.nameDevices(session, request.devices);
    await this.#o.checkpoint().catch((error) => {
      if (error instanceof StoppingError) throw error;
      // Bound it is; that it is not stored yet must not keep the program from its work.
      this.#o.log.warn(
        { run: run.key, reason: messageOf(error) },
        'a session was opened and is not stored yet',
      );
    });
    return session;
  }

  /** The part that the process already has, in this run or one that it may leave; its own in another stands in the way. */
  #standingPart(run: TrackedRun, request: OpenRequest, outside: boolean): PartRecord | undefined {
    const part = this.#o.lifecycle.livePart(request.process);
    if (!part) return undefined;
    const own = !part.outside;
    if (own && (outside || part.run !== run.handle)) {
      const holder = this.#o.registry.byHandle(part.run);
      throw new LezeaError(
        'already_bound',
        `the process has a session of its own in run ${holder?.runId ?? '?'}`,
      );
    }
    return part;
  }

  /** Nothing is refused any more once the part that is left has ended. */
  #newPart(
    run: TrackedRun,
    caller: Caller,
    request: OpenRequest,
    given: { handle: number; leaves: PartRecord | undefined },
  ): PartRecord {
    const { handle, leaves } = given;
    const { limiter, registry } = this.#o;
    limiter.admit('partsPerRun', run.parts.length);
    limiter.admitOwner(
      'liveParts',
      run.owner,
      registry.holdings((live) => live.parts.length),
    );
    if (leaves) this.#o.lifecycle.endPart(leaves, { status: 'MOVED', reason: `moved to run ${run.runId}` });
    const ancestors = new Set(request.ancestors.map(processKey));
    const part: PartRecord = {
      id: handle,
      session: handle,
      run: run.handle,
      process: request.process,
      opener: caller.process,
      outside: processKey(caller.process) !== processKey(request.process),
      worker: run.parts.some((other) => ancestors.has(processKey(other.process))),
      primaryTid: request.primaryTid ?? request.process.pid,
      openedAtMs: this.#o.nowMs(),
    };
    this.#o.lifecycle.addPart(run, part);
    return part;
  }

  disconnectSession(session: Session): void {
    this.#o.sessions.close(session as OpenSession);
  }

  session(caller: Caller, token: string): OpenSession {
    const session = this.#o.sessions.get(token);
    if (!session || !sameOwner(session.owner, caller.owner) || !isHolder(session, caller)) {
      throw new LezeaError('invalid_params', 'no such session: open one again');
    }
    return session;
  }

  isBoundUnder(caller: Caller, process: ProcessId): boolean {
    const run = this.#o.lifecycle.boundTo(process);
    if (!run || !sameOwner(run.owner, caller.owner)) return false;
    const key = processKey(caller.process);
    return processKey(run.record.creator) === key || run.parts.some((p) => isBy(p, key));
  }

  defineScopes(session: Session, scopes: ScopeDefinition[]): Dropped[] {
    return this.#o.sessions.define(session as OpenSession, scopes);
  }

  enterScope(session: Session, request: EnterRequest): void {
    this.#o.sessions.enter(session as OpenSession, request);
  }

  exitScope(session: Session, request: EnterRequest): void {
    this.#o.sessions.exit(session as OpenSession, request);
  }

  progress(caller: Caller, request: { runId: string; scope?: string } & Partial<Progress>): void {
    const run = this.#liveRun(caller, request.runId);
    const scope = request.scope === undefined ? undefined : this.#scopeOf(run, request.scope);
    const progress = scope ? scope.record.progress : run.record.progress;
    progress.steps += request.steps ?? 0;
    progress.episodes += request.episodes ?? 0;
    if (scope) this.#o.ledger.scopeChanged(scope);
    else this.#o.ledger.runChanged(run);
  }

  update(
    caller: Caller,
    runId: string,
    { facts, limits, ...settings }: Pick<StartRequest, 'tags' | 'tracker' | 'limits'> & { facts?: Facts },
  ): TrackedRun {
    const { starter, budgets } = this.#o;
    const run = this.#liveRun(caller, runId);
    // Nothing is taken of a request that is refused.
    const merged = starter.merged(run.record, settings);
    const factsChange = facts && this.#mergedFacts(run, facts);
    if (limits) budgets.set(run, limits);
    if (factsChange) this.#setFacts(run, factsChange);
    starter.settle(run, merged);
    return run;
  }

  #mergedFacts(run: TrackedRun, facts: Facts): FactsChange {
    const { registry, limiter } = this.#o;
    const known = {
      size: run.record.facts ?? { count: 0, bytes: 0 },
      text: (key: string) => registry.factText(run, key),
    };
    return mergeFacts(known, facts, limiter);
  }

  #setFacts(run: TrackedRun, { texts, size }: FactsChange): void {
    for (const [key, text] of texts) this.#o.ledger.factChanged({ run: run.handle, key, text });
    run.record.facts = size;
  }

  stored(): Promise<void> {
    return this.#o.checkpoint();
  }

  event(caller: Caller, runId: string, event: string, given: Record<string, unknown>): void {
    const run = this.#liveRun(caller, runId);
    const { limiter } = this.#o;
    limiter.admitSize('nameBytes', Buffer.byteLength(event));
    const fault =
      OWN_PREFIXES.test(event) || OWN_NAMES.has(event)
        ? "the name is one of the agent's own"
        : nameFault(event);
    if (fault) throw new LezeaError('invalid_params', fault);
    if (isDeeper(given, limiter.limits.eventLevels))
      limiter.admitSize('eventLevels', Number.POSITIVE_INFINITY);
    const data = redacted(given);
    const bytes = Buffer.byteLength(JSON.stringify(data));
    limiter.admitSize('eventBytes', bytes);
    const { events } = run;
    limiter.admit('eventsPerRun', events.count);
    limiter.admitSize('eventBytesPerRun', events.bytes + bytes);
    run.record.events = { count: events.count + 1, bytes: events.bytes + bytes };
    this.#o.ledger.runChanged(run);
    this.#o.lifecycle.audit(run, event, data);
  }

  async phase(caller: Caller, runId: string, name: string): Promise<void> {
    const run = this.#liveRun(caller, runId);
    const { limiter } = this.#o;
    limiter.admitSize('nameBytes', Buffer.byteLength(name));
    const fault = nameFault(name);
    if (fault) throw new LezeaError('invalid_params', fault);
    await this.#o.checkpoint();
    if (!run.isLive || run.status === 'FINISHING') throw runEnded(run);
    // Every process of a run may say it, and one that had no answer says it again: the phase goes on.
    if (run.phaseRecords.at(-1)?.name !== name) {
      limiter.admit('phasesPerRun', run.phaseRecords.length);
      this.#turnPhase(run, name);
    }
    // Whoever is answered may rely on it: it outlives the agent.
    await this.#o.checkpoint();
  }

  /** Begins the next phase at the totals of the sample just taken. */
  #turnPhase(run: TrackedRun, name: string): void {
    if (run.phaseRecords.length === 0) {
      const startRow = emptyRow(run.handle);
      this.#addPhase(run, { name: null, startedAtMs: run.startedAtMs, startRow });
    }
    this.#addPhase(run, { name, startedAtMs: this.#o.nowMs(), startRow: run.totals.toRow() });
    this.#o.lifecycle.audit(run, 'phase.began', { name });
  }

  #addPhase(run: TrackedRun, phase: Pick<PhaseRecord, 'name' | 'startedAtMs' | 'startRow'>): void {
    const record = { run: run.handle, seq: run.phaseRecords.length, ...phase };
    run.phaseRecords.push(record);
    this.#o.ledger.phaseAdded(record);
  }

  async usage(caller: Caller, request: UsageRequest): Promise<Usage> {
    const run = this.visible(caller, request.runId);
    if (request.fresh && run.isLive) await this.#o.checkpoint();
    const tMonoNs = this.#o.ledger.committedMonoNs;
    if (request.scope === undefined) {
      return { run, self: run.unattributed.toColumns(), inclusive: run.totals.toColumns(), tMonoNs };
    }
    const scope = this.#scopeOf(run, request.scope);
    return { run, scope, self: scope.self.toColumns(), inclusive: scope.inclusive().toColumns(), tMonoNs };
  }

  nameDevices(session: Session, devices: readonly string[]): void {
    this.#o.sessions.nameDevices(session as OpenSession, devices);
  }

  async end(caller: Caller, request: EndRequest): Promise<{ final: boolean; run: TrackedRun }> {
    const run = this.visible(caller, request.runId);
    const reading = run.isLive ? this.#o.readGpus() : undefined;
    if (reading) await reading;
    if (!run.isLive) return { final: true, run };
    const finishing = this.#o.lifecycle.finishingOf(run) ?? this.#endParts(caller, run, request);
    if (finishing) {
      await finishing;
      return { final: true, run };
    }
    await this.#o.checkpoint();
    await this.#o.lifecycle.finishingOf(run);
    return { final: !run.isLive, run };
  }

  /** Ends what of the run is the caller's; the promise of the run's end if that is all of it. */
  #endParts(caller: Caller, run: TrackedRun, request: EndRequest): Promise<void> | undefined {
    const { lifecycle, sampler } = this.#o;
    const key = processKey(caller.process);
    const creator = processKey(run.record.creator) === key || caller.privileged;
    const outcome = {
      status: request.status,
      // An exception's message may have an address in it, with its password.
      ...(request.reason === undefined ? {} : { reason: withoutSecrets(request.reason) }),
    };
    if (request.all && !creator)
      throw new LezeaError('not_authorized', 'only the process that began the run ends all');
    const mine = run.parts.filter((part) => isBy(part, key));
    for (const part of mine) lifecycle.explainEnd(part, outcome);
    if (creator && (request.all || run.parts.length === 0)) {
      for (const part of run.liveParts()) lifecycle.endPart(part, outcome);
      return lifecycle.finish(run, run.parts.length === 0 ? outcome : undefined);
    }
    if (mine.length === 0 && !creator)
      throw new LezeaError('not_authorized', 'the caller has no part of this run');
    for (const part of mine) {
      if (part.end && !lifecycle.isLeftOver(part)) continue;
      const others = run.liveParts().filter((other) => other !== part && !other.outside);
      sampler.endPart(
        part.process,
        others.map(({ process }) => process),
      );
      lifecycle.endPart(part, outcome);
    }
    return undefined;
  }

  visible(caller: Caller, runId: string): TrackedRun {
    const own = this.#o.registry.get(caller.owner, runId);
    if (own) return own;
    const others = caller.privileged ? this.#o.registry.find(runId) : [];
    const run = others.find((other) => other.isLive) ?? others[0];
    if (!run) throw new LezeaError('unknown_run', `no run ${JSON.stringify(runId)}`);
    return run;
  }

  mayWatch(caller: Caller, run: { owner: Owner }): boolean {
    return caller.privileged || sameOwner(caller.owner, run.owner);
  }

  /** A run that still takes commands. Only its owner's processes may be part of it or add to it. */
  #liveRun(caller: Caller, runId: string): TrackedRun {
    const run = this.#o.registry.get(caller.owner, runId);
    if (!run) throw new LezeaError('unknown_run', `no run ${JSON.stringify(runId)}`);
    if (!run.isLive || run.status === 'FINISHING') throw runEnded(run);
    return run;
  }

  #scopeOf(run: TrackedRun, path: string) {
    const scope = run.tree.get(path);
    if (!scope) throw new LezeaError('invalid_params', `the run has no scope ${JSON.stringify(path)}`);
    return scope;
  }
}

type FactsChange = ReturnType<typeof mergeFacts>;

/** A token is worth something to the process it was given to; what a process bound, it knows the token of too. */
function isHolder({ process, outside }: OpenSession, caller: Caller): boolean {
  return outside || processKey(process) === processKey(caller.process);
}

function isBy(part: PartRecord, caller: string): boolean {
  return processKey(part.process) === caller || processKey(part.opener) === caller;
}

function runEnded(run: TrackedRun): LezeaError {
  return new LezeaError('run_ended', `run ${run.runId} has ended (${run.status})`);
}
