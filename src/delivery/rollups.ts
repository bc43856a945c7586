// Live rollups: now and then, what each running run has used so far goes to its MLflow run. Reads published figures only;
// owns when they are made, and one request at a time to each place, over connections of its own. They are worth less than
// totals: bounded, without retries of their own, and sent only where no totals wait.

import { type Run, type RunStore, Totals } from '../attribution/model.js';
import { messageOf } from '../errors.js';
import type { Logger } from '../log.js';
import type { RunHandle } from '../native/addon.js';
import { sumOf } from './ended-run.js';
import { planRollup } from './mlflow/rollup.js';
import { wantedRun } from './mlflow/settings.js';
import { SendError, type Sink, type Target } from './model.js';
import type { Outbox } from './outbox.js';
import type { NewRollup, Rollup, RollupRows } from './rollup-rows.js';
import { mlflowPlace, type TargetRules } from './targets.js';

export interface RollupsOptions {
  store: Pick<RunStore, 'live' | 'on'>;
  rows: RollupRows;
  outbox: Pick<Outbox, 'waitingSinks' | 'sink'>;
  /** For this alone. */
  sink: Pick<Sink, 'send' | 'close'>;
  rules(): TargetRules;
  node: string;
  log: Logger;
  /** When the newest sample was taken: wall clock in milliseconds since 1970, and CLOCK_MONOTONIC in ns. */
  sampledAt(): { tWallMs: number; tMonoNs: bigint } | undefined;
  /** The attempts of a run before this one. */
  earlier(run: Run): readonly Run[];
  intervalMs: number;
  /** How many of one run may wait. */
  keep: number;
}

/** How many may wait of all runs. */
const MAX_WAITING = 10_000;

/** What is remembered of a run from one rollup to the next. */
interface Known {
  /** Of this one and those before it, which do not change any more. */
  startedAtMs: number;
  earlier: readonly Totals[];
  step: number;
  cpu?: { ns: bigint; tMonoNs: bigint };
}

export class Rollups {
  /** Those that were never sent: too many, or refused for good. */
  dropped = 0;
  readonly #o: RollupsOptions;
  readonly #stopping = new AbortController();
  readonly #off: () => void;
  #known = new Map<RunHandle, Known>();
  #madeMonoNs: bigint | undefined;
  /** Places that something is being brought to. */
  readonly #busy = new Map<string, Promise<void>>();
  /** Whose could not be brought last, by place: the next try is another's turn. */
  readonly #after = new Map<string, RunHandle>();

  constructor(options: RollupsOptions) {
    this.#o = options;
    // What was just committed is what the newest sample said.
    this.#off = options.store.on('committed', () => this.#committed());
  }

  async stop(): Promise<void> {
    this.#off();
    this.#stopping.abort();
    await Promise.all(this.#busy.values());
    this.#o.sink.close();
  }

  #committed(): void {
    const at = this.#o.sampledAt();
    if (!at) return;
    this.#madeMonoNs ??= at.tMonoNs;
    if (Number(at.tMonoNs - this.#madeMonoNs) / 1e6 < this.#o.intervalMs) return;
    this.#madeMonoNs = at.tMonoNs;
    this.#make(at);
    this.#send();
  }

  #make(at: { tWallMs: number; tMonoNs: bigint }): void {
    const { store, rows, keep } = this.#o;
    const before = this.#known;
    this.#known = new Map();
    const made: NewRollup[] = [];
    for (const run of store.live()) {
      const target = run.status === 'RUNNING' ? this.#target(run) : undefined;
      if (!target) continue;
      const known = before.get(run.handle) ?? this.#meet(run);
      this.#known.set(run.handle, known);
      const rollup = this.#rollup(run, target, known, at);
      if (rollup) made.push(rollup);
    }
    if (made.length > 0) this.dropped += rows.add(made, { ofRun: keep, ofAll: MAX_WAITING });
  }

  /** The MLflow run that the program has, where the agent may write to it. */
  #target(run: Run): Target | undefined {
    const place = mlflowPlace(run.tracker, this.#o.rules());
    if (place?.bearer !== 'agent' || wantedRun(place.target).by !== 'id') return undefined;
    return place.target;
  }

  #meet(run: Run): Known {
    const earlier = this.#o.earlier(run);
    const startedAtMs = Math.min(...[run, ...earlier].map((each) => each.startedAtMs));
    // Copies: the totals themselves would keep all of an attempt's scopes in memory.
    return { startedAtMs, earlier: earlier.map(({ totals }) => Totals.fromRow(totals.toRow())), step: -1 };
  }

  #rollup(
    run: Run,
    target: Target,
    known: Known,
    { tWallMs, tMonoNs }: { tWallMs: number; tMonoNs: bigint },
  ): NewRollup | undefined {
    const { handle, key, runId, attempt, totals } = run;
    // Seconds since the run began; the wall clock may have been set back.
    known.step = Math.max(known.step + 1, Math.floor((tWallMs - known.startedAtMs) / 1000));
    const ns = totals.native('cpu_seconds');
    const { memoryBytes } = totals;
    const draft = planRollup({
      node: this.#o.node,
      atMs: tWallMs,
      step: known.step,
      totals: sumOf([totals, ...known.earlier]),
      ...(memoryBytes !== undefined && { memoryBytes }),
      ...(known.cpu &&
        ns !== undefined && { cpuCores: Number(ns - known.cpu.ns) / Number(tMonoNs - known.cpu.tMonoNs) }),
    });
    if (ns !== undefined) known.cpu = { ns, tMonoNs };
    return draft && { handle, run: { key, runId, attempt }, target, draft };
  }

  #send(): void {
    for (const sink of this.#o.rows.sinks()) {
      if (this.#busy.has(sink) || this.#stopping.signal.aborted) continue;
      this.#busy.set(
        sink,
        this.#bringAll(sink).finally(() => this.#busy.delete(sink)),
      );
    }
  }

  /** Run by run, oldest first, until one cannot be brought: then it is tried again when the next ones are made. */
  async #bringAll(sink: string): Promise<void> {
    const { rows, log } = this.#o;
    try {
      while (!this.#stopping.signal.aborted && this.#isFree(sink)) {
        const rollup = rows.next(sink, this.#after.get(sink) ?? 0);
        if (!rollup) return;
        if (await this.#bring(rollup, sink)) continue;
        this.#after.set(sink, rollup.delivery.id);
        return;
      }
    } catch (error) {
      log.error({ sink, reason: messageOf(error) }, 'the rollups cannot be read');
    }
  }

  /** No totals wait, or only such as are seldom tried: who ends a run there that the agent may not write to stops nobody's. */
  #isFree(sink: string): boolean {
    const { outbox } = this.#o;
    return !outbox.waitingSinks().includes(sink) || outbox.sink(sink).refused !== undefined;
  }

  /** Whether it is dealt with. */
  async #bring({ id, delivery, item }: Rollup, sink: string): Promise<boolean> {
    const { rows, log } = this.#o;
    try {
      await this.#o.sink.send(delivery, [item], this.#stopping.signal);
      rows.remove(id);
      return true;
    } catch (error) {
      const verdict = error instanceof SendError ? error.verdict : 'retry';
      const what = { sink, run: delivery.run.runId, reason: messageOf(error) };
      if (verdict === 'retry' || verdict === 'refused') {
        log.debug(what, 'the sink does not take rollups');
        return false;
      }
      const gone = verdict === 'gone' ? rows.removeRun(delivery.id, sink) : 1;
      rows.remove(id);
      this.dropped += gone;
      log.warn({ ...what, dropped: gone }, 'a rollup will never be taken; it was dropped');
      return true;
    }
  }
}
