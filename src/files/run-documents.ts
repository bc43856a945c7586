// A run's documents as the agent serves them: the files of one that has ended, summary and cost of a running one as they
// are now. Writes the files at the end of a run. Owns the live texts that are being read piece by piece, for seconds.

import { setImmediate as nextTurn } from 'node:timers/promises';
import { z } from 'zod';
import type { Run, RunEvent, RunStore } from '../attribution/model.js';
import type { Environment } from '../inventory/document.js';
import { withRun } from '../inventory/run-environment.js';
import { costOf, isPriced } from './cost.js';
import { costText } from './cost-document.js';
import type { CostSettings } from './cost-rates.js';
import { userName } from './facts.js';
import {
  COST_FILE,
  ENVIRONMENT_FILE,
  EVENTS_FILE,
  eventLines,
  type FileFacts,
  type FilePiece,
  listRunFiles,
  readRunFile,
  runFileFacts,
  SUMMARY_FILE,
  wholeRunFile,
  writeRunFiles,
} from './run-files.js';
import type { SummaryContext } from './summary.js';
import type { SummaryEnvironment, SummaryNode } from './summary-document.js';
import { summaryText } from './summary-text.js';

/** Who begins to read a live summary within this time of another reader gets the same text, milliseconds. */
const SHARE_MS = 500;
/** How long the text is kept after it was last asked for, milliseconds. */
const KEEP_MS = 2000;

export interface RunDocumentsOptions {
  stateDir: string;
  store: Pick<RunStore, 'endedProcesses' | 'events' | 'facts'>;
  node: SummaryNode;
  version: string;
  /** CPU the agent has used, seconds; undefined where it is not known. */
  overheadCpuSeconds(): number | undefined;
  /** What the node is now; undefined where that cannot be said. */
  environment(): Promise<Environment | undefined>;
  /** Prices as they are now. */
  prices(): CostSettings;
}

/** How long a summary is put together before other work has its turn, milliseconds. */
const SLICE_MS = 5;

/** `run`: not in documents of an earlier version. */
const FINGERPRINTED = z.object({
  fingerprint: z.object({ stable: z.string() }),
  run: z.object({ fingerprint: z.object({ sha256: z.string() }) }).optional(),
});

interface Snapshot {
  text: Promise<Buffer>;
  madeAt: number;
  forget: NodeJS.Timeout;
}

export class RunDocuments {
  readonly #o: RunDocumentsOptions;
  readonly #snapshots = new Map<string, Snapshot>();

  constructor(options: RunDocumentsOptions) {
    this.#o = options;
  }

  /** Writes the files of a run whose figures and outcome are final. */
  async write(run: Run): Promise<void> {
    const { store, stateDir } = this.#o;
    const processes = store.endedProcesses(run);
    const node = hasRebooted(store.events(run)) ? undefined : await this.#o.environment();
    const environment = node && withRun(node, run, store.facts(run));
    const prices = this.#o.prices();
    const context = {
      ...this.#context(run, prices),
      ...(environment && { environment: fingerprintsIn(environment) }),
    };
    const cost = await costOf(run, prices);
    await writeRunFiles(stateDir, {
      ...{ run, processes, events: store.events(run), context },
      ...(environment && { environment }),
      ...(cost && { cost: costText(run, cost, prices) }),
    });
  }

  /** The fingerprints of what an ended run ran on, and of the run; undefined where that is not known. */
  async fingerprints(run: Run): Promise<SummaryEnvironment | undefined> {
    const written = await listRunFiles(this.#o.stateDir, run);
    if (!written.includes(ENVIRONMENT_FILE)) return undefined;
    const text = (await this.whole(run, ENVIRONMENT_FILE)).toString();
    return fingerprintsIn(FINGERPRINTED.parse(JSON.parse(text)));
  }

  /** The summary as it is now, JSON. */
  summary(run: Run): Promise<Buffer> {
    return this.#snapshot(run, { file: SUMMARY_FILE, offset: 0 }).text;
  }

  async list(run: Run): Promise<string[]> {
    if (isLive(run)) {
      return [SUMMARY_FILE, ...(isPriced(run, this.#o.prices()) ? [COST_FILE] : []), EVENTS_FILE];
    }
    const written = await listRunFiles(this.#o.stateDir, run);
    return written.includes(SUMMARY_FILE) ? written : [SUMMARY_FILE, ...written];
  }

  async read(run: Run, piece: { file: string; offset: number; limit: number }): Promise<FilePiece> {
    if (await this.#isFile(run, piece.file)) return readRunFile(this.#o.stateDir, run, piece);
    const text = await (piece.file === EVENTS_FILE ? this.#events(run) : this.#snapshot(run, piece).text);
    const data = text.subarray(piece.offset, piece.offset + piece.limit);
    return { size: text.length, data, eof: piece.offset + data.length >= text.length };
  }

  /** The documents of an ended run that are written. */
  facts(run: Run): Promise<FileFacts[]> {
    return runFileFacts(this.#o.stateDir, run);
  }

  /** One of them, whole. */
  whole(run: Pick<Run, 'key' | 'attempt'>, path: string): Promise<Buffer> {
    return wholeRunFile(this.#o.stateDir, run, path);
  }

  /** False: a document of a live run, or the summary of one whose file could not be written; it is made of what the store has. */
  async #isFile(run: Run, file: string): Promise<boolean> {
    if (file === EVENTS_FILE) return !isLive(run);
    if (file === COST_FILE) return !(isLive(run) && isPriced(run, this.#o.prices()));
    if (file !== SUMMARY_FILE) return true;
    return !isLive(run) && (await listRunFiles(this.#o.stateDir, run)).includes(file);
  }

  /** Of a live run: what was there stays as it is, so pieces of several readings fit together. */
  async #events(run: Run): Promise<Buffer> {
    return Buffer.from([...eventLines(run, this.#o.store.events(run))].join(''));
  }

  /** The text that all pieces of one reading come from. */
  #snapshot(run: Run, { file, offset }: { file: string; offset: number }): Snapshot {
    const known = this.#snapshots.get(nameOf(run, file));
    const fits = known && (offset > 0 || performance.now() - known.madeAt < SHARE_MS);
    const snapshot = fits ? known : this.#newSnapshot(run, file, known);
    snapshot.forget.refresh();
    return snapshot;
  }

  #newSnapshot(run: Run, file: string, old: Snapshot | undefined): Snapshot {
    clearTimeout(old?.forget);
    const forget = setTimeout(() => this.#snapshots.delete(nameOf(run, file)), KEEP_MS);
    forget.unref();
    const text = file === COST_FILE ? this.#cost(run) : this.#text(run);
    const snapshot = { text, madeAt: performance.now(), forget };
    this.#snapshots.set(nameOf(run, file), snapshot);
    return snapshot;
  }

  /** What it cost so far; empty where its prices have just gone. */
  async #cost(run: Run): Promise<Buffer> {
    const still = run.frozen();
    const prices = this.#o.prices();
    const cost = await costOf(still, prices);
    return Buffer.from(cost === undefined ? '' : [...costText(still, cost, prices)].join(''));
  }

  /** In slices, so that a big run stops nothing; all of it of one moment, so that it adds up. */
  async #text(run: Run): Promise<Buffer> {
    const still = run.frozen();
    const slices: Buffer[] = [];
    let slice: string[] = [];
    let begun = performance.now();
    for (const piece of summaryText(still, this.#o.store.endedProcesses(run), this.#context(run))) {
      slice.push(piece);
      if (performance.now() - begun < SLICE_MS) continue;
      // Encoded now: all of it at the end would take longer than a slice.
      slices.push(Buffer.from(slice.join('')));
      slice = [];
      await nextTurn();
      begun = performance.now();
    }
    return Buffer.concat([...slices, Buffer.from(slice.join(''))]);
  }

  #context(run: Run, prices = this.#o.prices()): SummaryContext {
    const overhead = this.#o.overheadCpuSeconds();
    const { version, node } = this.#o;
    return {
      node,
      agent: overhead === undefined ? { version } : { version, overhead_cpu_seconds: overhead },
      user: userName(run.owner.uid),
      prices,
    };
  }
}

function fingerprintsIn({ fingerprint, run }: z.output<typeof FINGERPRINTED>): SummaryEnvironment {
  return { fingerprint: fingerprint.stable, ...(run && { run_fingerprint: run.fingerprint.sha256 }) };
}

/** A document of one attempt. */
function nameOf({ key, attempt }: Run, file: string): string {
  return `${key}/${attempt}/${file}`;
}

/** Whether the node that the run was on may be another by now. */
function hasRebooted(events: Iterable<RunEvent>): boolean {
  for (const { event, data } of events) {
    if (event === 'agent.restarted' && data.same_boot === false) return true;
  }
  return false;
}

function isLive({ status }: Run): boolean {
  return status === 'REGISTERED' || status === 'RUNNING' || status === 'FINISHING';
}
