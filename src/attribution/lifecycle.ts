// The life of runs: REGISTERED, RUNNING with its first part, FINISHING when no part and no process is left, then the
// final status. Owns the knowledge of which living process is bound where and which runs are being finished; every
// change of status happens here. A run's figures are final, and on the disk, before its status is.

import type { Logger } from 'pino';
import { messageOf, StoppingError } from '../errors.js';
import type { ExitedProcess, ProcessId, Sampler, Snapshot } from '../native/addon.js';
import type { Ledger } from './ledger.js';
import type { FinalStatus, Outcome, Run } from './model.js';
import { endedByLimit, outcomeOfExit, worstOutcome } from './parts.js';
import { type PartRecord, processKey, processOfKey } from './records.js';
import type { Registry } from './registry.js';
import type { TrackedRun } from './tracked-run.js';

/** Checkpoints after which a part whose process the sampler does not know is looked for. */
const GHOST_ROUNDS = 3;
/** How long whoever bound a process has to say how it ended, where nobody else knows: time to find back to an agent. */
const WORD_NS = 5_000_000_000n;
/** How often the documents of an ended run are tried, a checkpoint interval apart. */
const WRITE_TRIES = 5;

export interface LifecycleOptions {
  sampler: Sampler;
  ledger: Ledger;
  registry: Registry;
  log: Logger;
  nowMs(): number;
  monotonicNs(): bigint;
  isAlive(process: ProcessId): boolean;
  checkpoint(how?: { durable?: boolean }): Promise<void>;
  /** Resolves at the next time a failed commit is worth another try; rejects when the agent stops. */
  retryDelay(): Promise<void>;
  /** Has the GPUs read, so that a run gets what it used last; undefined: there are none. Never rejects. */
  readGpus(): Promise<void> | undefined;
  /** Writes the documents of a run whose figures and status are final. */
  writeFiles(run: Run): Promise<void>;
  /** Keeps what is to be delivered of it, in the database; `allDead`: no process of it lives. */
  prepareDelivery(run: Run, allDead: boolean): Promise<void>;
  /** How long a run may have no process at all, milliseconds; read anew at each use. */
  unboundTimeoutMs(): number;
}

export class Lifecycle {
  readonly #o: LifecycleOptions;
  /** Living processes by the run they are bound to, as the sampler said. */
  readonly #bound = new Map<string, number>();
  /** Living processes by the run they were bound to when the agent was started; what the sampler says since then wins. */
  readonly #restored = new Map<string, { run: number; process: ProcessId }>();
  readonly #liveParts = new Map<string, PartRecord>();
  readonly #ghostRounds = new Map<PartRecord, number>();
  /** Parts of live runs that ended as LOST: since when, and through how many rounds somebody might have explained it. */
  readonly #unexplained = new Map<PartRecord, { sinceNs: bigint; rounds: number }>();
  readonly #finishing = new Map<TrackedRun, Promise<void>>();
  /** Called when a part ends, so that its session goes too. */
  partEnded: (part: PartRecord) => void = () => undefined;

  constructor(options: LifecycleOptions) {
    this.#o = options;
  }

  livePart(process: ProcessId): PartRecord | undefined {
    return this.#liveParts.get(processKey(process));
  }

  boundTo(process: ProcessId): TrackedRun | undefined {
    const handle = this.#bound.get(processKey(process));
    return handle === undefined ? undefined : this.#o.registry.byHandle(handle);
  }

  /** It ended, and its process is counted still: its end was stored by an agent whose sampler had not heard of it. */
  isLeftOver(part: PartRecord): boolean {
    const key = processKey(part.process);
    const counted = this.#bound.get(key) ?? this.#restored.get(key)?.run;
    return part.end?.status !== 'MOVED' && counted === part.run && !this.#liveParts.has(key);
  }

  /** What is known to live of a run. One of them may have ended since; one that left it since the last sample is none. */
  processesOf(run: TrackedRun): ProcessId[] {
    const found = new Map(run.liveParts().map(({ process }) => [processKey(process), process]));
    for (const [key, { run: handle, process }] of this.#restored)
      if (handle === run.handle) found.set(key, process);
    for (const [key, handle] of this.#bound) {
      if (handle === run.handle) found.set(key, processOfKey(key));
      else found.delete(key);
    }
    const left = new Set(run.parts.filter(({ end }) => end).map(({ process }) => processKey(process)));
    for (const key of found.keys()) {
      const part = this.#liveParts.get(key);
      if (part ? part.run !== run.handle : left.has(key)) found.delete(key);
    }
    return [...found.values()];
  }

  addPart(run: TrackedRun, part: PartRecord): void {
    run.parts.push(part);
    this.#liveParts.set(processKey(part.process), part);
    this.#o.ledger.partChanged(part);
    const { pid } = part.process;
    this.audit(run, 'process.bound', { pid, outside: part.outside, worker: part.worker });
    if (run.status !== 'REGISTERED') return;
    run.record.status = 'RUNNING';
    this.#o.ledger.runChanged(run);
    this.#o.registry.emit('status', run);
  }

  /** Takes up the parts of a run that was restored, and its processes. */
  adopt(run: TrackedRun, processes: readonly ProcessId[]): void {
    for (const process of processes) this.#restored.set(processKey(process), { run: run.handle, process });
    for (const part of run.liveParts()) this.#liveParts.set(processKey(part.process), part);
    for (const part of run.parts) this.#noteIfLost(part);
  }

  #noteIfLost(part: PartRecord): void {
    if (part.end?.status !== 'LOST') return;
    this.#unexplained.set(part, { sinceNs: this.#o.monotonicNs(), rounds: 0 });
  }

  endPart(part: PartRecord, how: { status: FinalStatus | 'MOVED'; reason?: string }): void {
    if (part.end) return;
    part.end = { ...how, atMs: this.#o.nowMs() };
    this.#noteIfLost(part);
    const key = processKey(part.process);
    if (this.#liveParts.get(key) === part) this.#liveParts.delete(key);
    this.#ghostRounds.delete(part);
    this.#o.ledger.partChanged(part);
    const run = this.#o.registry.byHandle(part.run);
    if (run) this.audit(run, 'process.ended', { pid: part.process.pid, ...how });
    this.partEnded(part);
  }

  /** The word of one who knows how a part ended, where it was LOST because nobody did. */
  explainEnd(part: PartRecord, how: Outcome): void {
    if (!part.end || !this.#unexplained.delete(part)) return;
    part.end = { ...how, atMs: part.end.atMs };
    this.#o.ledger.partChanged(part);
    const run = this.#o.registry.byHandle(part.run);
    if (run) this.audit(run, 'process.explained', { pid: part.process.pid, ...how });
  }

  /** One line for the run's audit trail. */
  audit(run: TrackedRun, event: string, data: Record<string, unknown>): void {
    run.eventSeq += 1;
    const times = { wallMs: this.#o.nowMs(), monoNs: this.#o.monotonicNs() };
    this.#o.ledger.eventAdded({ run: run.handle, seq: run.eventSeq, ...times, event, data });
  }

  /** What a sample says of processes; before its commit, so that both are stored together. */
  observe(snapshot: Snapshot): void {
    for (const exited of snapshot.exited) {
      const key = processKey(exited.process);
      if (this.#bound.get(key) === exited.run) this.#bound.delete(key);
      this.#restored.delete(key);
      this.#endOf(exited);
    }
    const gone = new Set(snapshot.exited.map((e) => `${e.run}/${processKey(e.process)}`));
    for (const living of snapshot.processes) {
      const key = processKey(living.process);
      if (!gone.has(`${living.run}/${key}`)) this.#bound.set(key, living.run);
    }
  }

  #endOf(exited: ExitedProcess): void {
    const part = this.livePart(exited.process);
    if (!part || part.run !== exited.run) return;
    if (exited.released) this.endPart(part, { status: 'MOVED', reason: 'left the run alive' });
    else this.endPart(part, outcomeOfExit(exited, part));
  }

  /** After a commit: finds the runs that are over. */
  settle(): void {
    for (const run of [...this.#o.registry.live()]) {
      if (this.#finishing.has(run)) continue;
      this.#findGhosts(run);
      if (run.parts.length === 0) this.#expire(run);
      else if (run.processes === 0 && run.liveParts().length === 0 && !this.#awaitsWord(run)) {
        this.finish(run);
      }
    }
    this.#o.registry.sweep(this.#o.nowMs());
  }

  /**
   * Whether somebody may still say how a LOST part ended: the one that bound it, while it lives and not for ever; or the
   * process itself, whose last word was sent before it ended and is read by the next round.
   */
  #awaitsWord(run: TrackedRun): boolean {
    let awaits = false;
    for (const [part, waiting] of this.#unexplained) {
      if (part.run !== run.handle) continue;
      waiting.rounds += 1;
      const own = processKey(part.opener) === processKey(part.process);
      const late = this.#o.monotonicNs() - waiting.sinceNs > WORD_NS;
      awaits ||= waiting.rounds === 1 || !(own || late || !this.#o.isAlive(part.opener));
    }
    return awaits;
  }

  #expire(run: TrackedRun): void {
    const ageMs = Number(this.#o.monotonicNs() - run.record.startedMonoNs) / 1e6;
    if (ageMs <= this.#o.unboundTimeoutMs()) return;
    this.finish(run, { status: 'LOST', reason: 'no process was ever bound to it' });
  }

  /** A part whose process ended before the sampler could take it up, or while no agent was there. */
  #findGhosts(run: TrackedRun): void {
    for (const part of run.liveParts()) {
      if (this.#bound.get(processKey(part.process)) === run.handle) continue;
      const rounds = (this.#ghostRounds.get(part) ?? 0) + 1;
      this.#ghostRounds.set(part, rounds);
      if (rounds < GHOST_ROUNDS || this.#o.isAlive(part.process)) continue;
      this.endPart(part, { status: 'LOST', reason: 'ended, and how is not known' });
    }
  }

  /** Ends a run; the outcome is its parts' worst unless one is given. Resolves when its status is final. */
  finish(run: TrackedRun, outcome?: Outcome): Promise<void> {
    const known = this.#finishing.get(run);
    if (known) return known;
    const work = this.#finish(run, outcome).finally(() => this.#finishing.delete(run));
    this.#finishing.set(run, work);
    // Whoever asked for the end hears of a failure; for the others it is in the log, and a restart finishes the run.
    work.catch((error) =>
      this.#o.log.warn({ run: run.key, reason: messageOf(error) }, 'a run is left unfinished'),
    );
    return work;
  }

  finishingOf(run: TrackedRun): Promise<void> | undefined {
    return this.#finishing.get(run);
  }

  async #finish(run: TrackedRun, given?: Outcome): Promise<void> {
    const { record } = run;
    const found = record.outcome ?? given ?? worstOutcome(run.parts) ?? { status: 'FINISHED' };
    const outcome = record.outcome ? found : endedByLimit(found, record.limits?.ending?.text);
    for (const part of run.liveParts()) this.endPart(part, outcome);
    for (const part of run.parts) this.#unexplained.delete(part);
    if (record.status !== 'FINISHING') {
      record.status = 'FINISHING';
      record.outcome = outcome;
      record.endedAtMs = this.#o.nowMs();
      record.runtimeSeconds ??= Number(this.#o.monotonicNs() - record.startedMonoNs) / 1e9;
      this.audit(run, 'run.ended', { ...outcome });
    }
    this.#o.ledger.runChanged(run);
    this.#o.registry.emit('status', run);
    const reading = this.#o.readGpus();
    if (reading) await reading;
    this.#o.sampler.closeRun(run.handle);
    await this.#committed({ durable: true });
    if (run.limits.length > 0) record.limitStates = [...run.limits];
    // The documents say what the run will be once they are there.
    const ended: Run = Object.create(run, { status: { value: outcome.status, enumerable: true } });
    if (await this.#writeFiles(ended)) delete record.undocumented;
    else record.undocumented = true;
    const allDead = run.parts.every((part) => !this.#o.isAlive(part.process));
    await this.#insist(() => this.#o.prepareDelivery(ended, allDead));
    record.status = outcome.status;
    this.#o.ledger.runChanged(run);
    // Durable before anybody is told, and what is to be delivered with it.
    await this.#committed({ durable: true });
    this.#o.registry.retire(run);
  }

  /** A disk that is full for a moment holds nobody up; where it stays so, the run ends, and they are written later. */
  async #writeFiles(ended: Run): Promise<boolean> {
    for (let tries = 1; ; tries += 1) {
      try {
        await this.#o.writeFiles(ended);
        return true;
      } catch (error) {
        const line = { run: ended.key, tries, reason: messageOf(error) };
        if (tries === 1) this.#o.log.error(line, "a run's documents could not be written");
        if (tries >= WRITE_TRIES) return false;
      }
      await this.#o.retryDelay();
    }
  }

  #committed(how?: { durable?: boolean }): Promise<void> {
    return this.#insist(() => this.#o.checkpoint(how));
  }

  /** Tries until it is done or the agent stops: an ended run's totals are never given up. */
  async #insist(work: () => Promise<void>): Promise<void> {
    for (let tries = 1; ; tries += 1) {
      try {
        await work();
        return;
      } catch (error) {
        if (error instanceof StoppingError) throw error;
        const line = { tries, reason: messageOf(error) };
        if (tries === 1) this.#o.log.warn(line, 'the end of a run waits: it could not be stored');
        await this.#o.retryDelay();
      }
    }
  }
}
