// Cuts an ended run into the items of an MLflow delivery: figures, documents, tags, how it ended. Reads the run; writes
// nothing. The same run gives the same bytes, and every item is small enough for any server and for the agent's socket.

import type { FinalStatus } from '../../attribution/model.js';
import type { Columns } from '../../attribution/totals.js';
import { nameInFolder } from '../../files/run-files.js';
import { COLUMN_LIST, type ColumnName } from '../../native/frame.js';
import type { DocumentFile, Draft, EndedRun, Item, Target } from '../model.js';
import { factDrafts } from './facts.js';
import { draft, type EndStatus, type Metric, readBody, type Tag } from './items.js';
import { encodeSegment, nodeFolder, type Share, scopeFolder, scopeKey, totalKey } from './keys.js';
import { wantedRun } from './settings.js';

/** Older servers answer 400, always, when more keys than this come again in one request (mlflow/mlflow#20807). */
export const MAX_BATCH_KEYS = 100;
/** An item has to fit into an answer on the agent's socket. */
const MAX_BODY_BYTES = 40 * 1024;
/** Room for what is around the metrics of a batch. */
const WRAPPING_BYTES = 32;
/** What the oldest servers store of a tag; longer values are cut there without a word. */
const MAX_TAG_CHARS = 5000;
const RUN_FINGERPRINT_TAG = 'lezea_monitor.run_fingerprint';
const SUMMARY_NAME = 'summary.json';
export const SUMMARY_PATH = `resources/${SUMMARY_NAME}`;

/** How MLflow calls what became of a run. */
const END_STATUS: Record<FinalStatus, EndStatus> = {
  FINISHED: 'FINISHED',
  FAILED: 'FAILED',
  INTERRUPTED: 'KILLED',
  KILLED: 'KILLED',
  LOST: 'FAILED',
};

export function* planRun(run: EndedRun, target: Target): Generator<Draft> {
  const wanted = wantedRun(target);
  if (wanted.by === 'nobody') return;
  if (wanted.by === 'creation') {
    yield draft('create', { run_name: run.name ?? run.runId, start_time: run.startedAtMs });
  }
  const node = run.spansNodes ? run.node : undefined;
  yield* metricBatches(run, node);
  // What was said of the run, the node of its first rank says to the tracker.
  const isFirst = node === undefined || (run.rank ?? 0) === 0;
  const drafts = isFirst ? [...factDrafts(run)] : [];
  yield* drafts.filter(({ kind }) => kind === 'params');
  for (const { path, bytes, sha256, replaces } of documentsOf(run, node)) {
    const kind = node !== undefined && path === `${nodeFolder(node)}/${SUMMARY_NAME}` ? 'merge' : 'artifact';
    const body = { path, bytes, sha256, ...(replaces && { replaces }) };
    yield kind === 'merge' ? draft(kind, { node: run.node, ...body }) : draft(kind, body);
  }
  // Of a run on several nodes, the merge tells: it knows how the others came out.
  if (node === undefined || !run.files.some(({ path }) => path === SUMMARY_PATH))
    yield draft('tags', { tags: tagsOf(factsOf(run)) });
  else if (run.runFingerprint !== undefined)
    yield draft('tags', {
      tags: [{ key: `${RUN_FINGERPRINT_TAG}.${encodeSegment(node)}`, value: run.runFingerprint }],
    });
  yield* drafts.filter(({ kind }) => kind === 'tags');
  // Nobody else ends a run that we made, or whose processes are dead; a living trainer ends its own.
  if (!run.allDead && wanted.by !== 'creation') return;
  // The trainer's run is that of its first rank: where another's processes are dead, it may well live.
  if (!isFirst) return;
  yield draft('end', { status: END_STATUS[run.outcome.status], end_time: run.endedAtMs });
}

/** Each document under its name at the tracker: what is merged comes last, and finds the attempts that belong to it. */
function* documentsOf(run: EndedRun, node: string | undefined): Generator<DocumentFile> {
  const root = node === undefined ? 'resources' : nodeFolder(node);
  for (const { attempt, files } of run.attempts ?? []) {
    for (const file of files)
      yield { ...file, path: `${root}/attempts/${attempt}/${nameInFolder(file.path)}` };
  }
  if (node === undefined) return yield* run.files;
  const files = run.files.toSorted(
    (a, b) => Number(a.path === SUMMARY_PATH) - Number(b.path === SUMMARY_PATH),
  );
  for (const file of files) yield { ...file, path: `${root}/${nameInFolder(file.path)}` };
}

/** What the figures are taken from; of one node only, under that node's name. */
export type Figures = Pick<EndedRun, 'attempt' | 'endedAtMs' | 'totals' | 'scopes'>;

/** The figures in items that every server takes. */
export function metricBatches(run: Figures, node?: string): Generator<Draft> {
  return batches(metricsOf(run, node));
}

/** The whole run first: it is what most look for. */
function* metricsOf(run: Figures, node?: string): Generator<Metric> {
  const at = { timestamp: run.endedAtMs, step: run.attempt };
  for (const [column, value] of figures(run.totals)) yield { key: totalKey(column, node), value, ...at };
  for (const scope of run.scopes()) {
    const folder = scopeFolder(scope.path, node);
    for (const share of ['self', 'inclusive'] satisfies Share[]) {
      for (const [column, value] of figures(scope[share])) {
        yield { key: scopeKey(folder, share, column), value, ...at };
      }
    }
  }
}

/** What is known and not zero, in the columns' order. MLflow has no number for what is not finite. */
export function* figures(columns: Columns): Generator<[ColumnName, number]> {
  for (const { name } of COLUMN_LIST) {
    const value = columns[name];
    if (value !== undefined && value !== 0 && Number.isFinite(value)) yield [name, value];
  }
}

function* batches(metrics: Iterable<Metric>): Generator<Draft> {
  let batch: Metric[] = [];
  let bytes = WRAPPING_BYTES;
  for (const metric of metrics) {
    // Keys are ASCII: a character is a byte.
    const more = JSON.stringify(metric).length + 1;
    if (batch.length === MAX_BATCH_KEYS || bytes + more > MAX_BODY_BYTES) {
      yield draft('metrics', { metrics: batch });
      batch = [];
      bytes = WRAPPING_BYTES;
    }
    batch.push(metric);
    bytes += more;
  }
  if (batch.length > 0) yield draft('metrics', { metrics: batch });
}

/** What the tags say of a run. */
export interface TaggedFacts {
  status: string;
  reason?: string;
  runId: string;
  node: string;
  attempt: number;
  summarySha256?: string;
  environmentFingerprint?: string;
  runFingerprint?: string;
}

function factsOf(run: EndedRun): TaggedFacts {
  const { status, reason } = run.outcome;
  const summary = run.files.find(({ path }) => path === SUMMARY_PATH);
  return {
    status,
    ...(reason === undefined ? {} : { reason }),
    runId: run.runId,
    node: run.node,
    attempt: run.attempt,
    ...(summary && { summarySha256: summary.sha256 }),
    ...(run.environmentFingerprint !== undefined && { environmentFingerprint: run.environmentFingerprint }),
    ...(run.runFingerprint !== undefined && { runFingerprint: run.runFingerprint }),
  };
}

export function tagsOf(facts: TaggedFacts): Tag[] {
  const values: Record<string, string> = {
    status: facts.status,
    // Always sent: an earlier attempt's reason must not stay.
    reason: cut(facts.reason ?? ''),
    run_id: facts.runId,
    node: cut(facts.node),
    attempt: String(facts.attempt),
  };
  if (facts.summarySha256 !== undefined) values.summary_sha256 = facts.summarySha256;
  if (facts.environmentFingerprint !== undefined) {
    values.environment_fingerprint = cut(facts.environmentFingerprint);
  }
  if (facts.runFingerprint !== undefined) values.run_fingerprint = facts.runFingerprint;
  return Object.entries(values).map(([name, value]) => ({ key: `lezea_monitor.${name}`, value }));
}

/** The beginning of a text, in whole characters, without what a tracker's database may choke on. */
function cut(text: string): string {
  // Half a character becomes a whole one this way.
  const clean = Buffer.from(text.replaceAll('\0', '')).toString();
  if (clean.length <= MAX_TAG_CHARS) return clean;
  return `${clean.slice(0, MAX_TAG_CHARS - 1).replace(/[\uD800-\uDBFF]$/, '')}…`;
}

/** A batch in two halves; [] for what cannot be smaller. */
export function splitItem(item: Item): Draft[] {
  if (item.kind === 'metrics') {
    const { metrics = [] } = readBody(item, 'metrics') ?? {};
    return halves(metrics).map((half) => draft('metrics', { metrics: half }));
  }
  if (item.kind === 'tags') {
    const { tags = [] } = readBody(item, 'tags') ?? {};
    return halves(tags).map((half) => draft('tags', { tags: half }));
  }
  return [];
}

function halves<T>(list: readonly T[]): T[][] {
  if (list.length < 2) return [];
  const middle = Math.ceil(list.length / 2);
  return [list.slice(0, middle), list.slice(middle)];
}
