// The files of an ended run under the state folder: runs/KEY/ATTEMPT/resources/summary.json and the others of FILES. Writes
// them atomically, one run at a time; owns nothing else there. The key and the attempt are the agent's own, never a client's
// words.

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, readFile, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { ProcessTotals, Run, RunEvent } from '../attribution/model.js';
import { LezeaError } from '../errors.js';
import type { Environment } from '../inventory/document.js';
import { syncFolder, writeAtomically } from './atomic.js';
import { constraintsText } from './constraints-document.js';
import type { EventLine } from './event-shapes.js';
import { hardwareUsageText } from './hardware-usage-document.js';
import { figuresOf, metricsText } from './metrics-document.js';
import { type SummaryContext, summaryHead } from './summary.js';
import { summaryText } from './summary-text.js';

export const EVENTS_SCHEMA = 'lezea.events/v1';

/** Paths inside a run's folder, as clients name them in `run.get`. */
export const SUMMARY_FILE = 'resources/summary.json';
export const ENVIRONMENT_FILE = 'environment/full.json';
export const COST_FILE = 'business/cost_analysis_summary.json';
export const CONSTRAINTS_FILE = 'constraints/constraints.json';
export const METRICS_FILE = 'metrics.json';
export const HARDWARE_USAGE_FILE = 'hardware_usage.json';
export const EVENTS_FILE = 'events.jsonl';
const FILES = [
  SUMMARY_FILE,
  ENVIRONMENT_FILE,
  CONSTRAINTS_FILE,
  COST_FILE,
  METRICS_FILE,
  HARDWARE_USAGE_FILE,
  EVENTS_FILE,
] as const;
/** The same under the names that they also have at a tracker: of one node of several, of one attempt of several. */
const ELSEWHERE = /^resources\/(?:nodes\/[^/]+\/)?(?:attempts\/([1-9]\d{0,8})\/)?(.+)$/;

export interface RunFilesInput {
  /** Ended. */
  run: Run;
  processes: readonly ProcessTotals[];
  events: Iterable<RunEvent>;
  context: SummaryContext;
  /** Absent where it is not known any more what the run ran on. */
  environment?: Environment;
  /** What the run cost, JSON; absent where nothing has a price. */
  cost?: Iterable<string>;
}

/** Whether a run may have a document of that name. */
export function isRunFile(path: string): boolean {
  return meaningOf(path) !== undefined;
}

/** The name of a document below a folder of a node, or of an attempt: without the `resources/` that is before the folder. */
export function nameInFolder(path: string): string {
  return path.replace(/^resources\//, '');
}

/** The folder of one attempt of a run. */
export function runFolder(stateDir: string, run: Pick<Run, 'key' | 'attempt'>): string {
  return join(stateDir, 'runs', run.key, String(run.attempt));
}

/** Writes what there is to say; the summary last, so that where it is, everything is. */
export async function writeRunFiles(stateDir: string, input: RunFilesInput): Promise<void> {
  const { run, environment, cost } = input;
  const folder = runFolder(stateDir, run);
  await writeRunFile(folder, EVENTS_FILE, eventLines(run, input.events));
  if (environment)
    await writeRunFile(folder, ENVIRONMENT_FILE, [`${JSON.stringify(environment, null, 2)}\n`]);
  const constraints = constraintsText(run);
  if (constraints !== undefined) await writeRunFile(folder, CONSTRAINTS_FILE, [constraints]);
  if (cost) await writeRunFile(folder, COST_FILE, cost);
  if (run.totals.knownMask !== 0) await writeRunFile(folder, METRICS_FILE, metricsText(figuresOf(run)));
  const hardwareUsage = hardwareUsageText(summaryHead(run, input.context));
  if (hardwareUsage !== undefined) await writeRunFile(folder, HARDWARE_USAGE_FILE, [hardwareUsage]);
  await writeRunFile(folder, SUMMARY_FILE, summaryText(run, input.processes, input.context));
  // The folders themselves are new: their names must be on the disk too.
  for (let path = folder; path.length >= stateDir.length; path = dirname(path)) await syncFolder(path);
}

async function writeRunFile(folder: string, name: string, text: Iterable<string>): Promise<void> {
  const path = join(folder, name);
  await mkdir(dirname(path), { recursive: true, mode: 0o750 });
  await writeAtomically(path, text);
}

/** The audit trail, one JSON object a line: `ts` is wall time, `mono` CLOCK_MONOTONIC in ns. */
export function* eventLines(run: Run, events: Iterable<RunEvent>): Generator<string> {
  for (const event of events) {
    const line: EventLine = {
      schema: EVENTS_SCHEMA,
      seq: event.seq,
      ts: new Date(event.wallMs).toISOString(),
      mono: Number(event.monoNs),
      run_id: run.runId,
      attempt: run.attempt,
      event: event.event,
      data: event.data,
    };
    yield `${JSON.stringify(line)}\n`;
  }
}

/** Names of the files of a run that are written, as `run.get` lists them. */
export async function listRunFiles(stateDir: string, run: Pick<Run, 'key' | 'attempt'>): Promise<string[]> {
  const found: string[] = [];
  for (const name of FILES) {
    const size = await fileSize(join(runFolder(stateDir, run), name));
    if (size !== undefined) found.push(name);
  }
  return found;
}

async function fileSize(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** A written file as it can be told from any other. */
export interface FileFacts {
  path: string;
  bytes: number;
  /** Lower-case hexadecimal. */
  sha256: string;
}

export async function runFileFacts(
  stateDir: string,
  run: Pick<Run, 'key' | 'attempt'>,
): Promise<FileFacts[]> {
  const facts: FileFacts[] = [];
  for (const path of await listRunFiles(stateDir, run)) {
    const hash = createHash('sha256');
    let bytes = 0;
    for await (const piece of createReadStream(join(runFolder(stateDir, run), path))) {
      hash.update(piece);
      bytes += (piece as Buffer).length;
    }
    facts.push({ path, bytes, sha256: hash.digest('hex') });
  }
  return facts;
}

export interface FilePiece {
  /** Of the whole file, bytes. */
  size: number;
  data: Buffer;
  eof: boolean;
}

/** A piece of one of a run's files, at most `limit` bytes. Throws `invalid_params` for a name that is none of them. */
export async function readRunFile(
  stateDir: string,
  run: Pick<Run, 'key' | 'attempt'>,
  piece: { file: string; offset: number; limit: number },
): Promise<FilePiece> {
  const path = runFilePath(stateDir, run, piece.file);
  if (!path)
    throw new LezeaError('invalid_params', `file ${piece.file}: expected one of ${FILES.join(', ')}`);
  const size = await fileSize(path);
  if (size === undefined) {
    throw new LezeaError(
      'invalid_params',
      `file ${piece.file}: not there: expected an ended run that has one`,
    );
  }
  const file = await open(path, 'r');
  try {
    const buffer = Buffer.alloc(Math.max(0, Math.min(piece.limit, size - piece.offset)));
    const { bytesRead } = await file.read(buffer, 0, buffer.length, piece.offset);
    const end = piece.offset + bytesRead;
    return { size, data: buffer.subarray(0, bytesRead), eof: end >= size };
  } finally {
    await file.close();
  }
}

/** One of a run's files, whole. */
export function wholeRunFile(
  stateDir: string,
  run: Pick<Run, 'key' | 'attempt'>,
  path: string,
): Promise<Buffer> {
  const file = runFilePath(stateDir, run, path);
  if (!file) return Promise.reject(new LezeaError('invalid_params', `file ${path}: not a document of a run`));
  return readFile(file);
}

/** Where a document lies; undefined for what is none. An attempt may ask for an earlier one's. */
export function runFilePath(
  stateDir: string,
  { key, attempt }: Pick<Run, 'key' | 'attempt'>,
  name: string,
): string | undefined {
  const meant = meaningOf(name);
  if (!meant || (meant.attempt ?? attempt) > attempt) return undefined;
  return join(runFolder(stateDir, { key, attempt: meant.attempt ?? attempt }), meant.file);
}

/** `attempt`: where the name says of which. */
function meaningOf(name: string): { file: string; attempt?: number } | undefined {
  const own = FILES.find((known) => known === name);
  if (own) return { file: own };
  const [, attempt, named] = ELSEWHERE.exec(name) ?? [];
  const file = FILES.find((known) => nameInFolder(known) === named);
  if (file === undefined) return undefined;
  return attempt === undefined ? { file } : { file, attempt: Number(attempt) };
}
