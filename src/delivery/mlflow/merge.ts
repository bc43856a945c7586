// Makes one summary of a run that several nodes have delivered, each its own, to one MLflow run: no node speaks to another.
// Reads the nodes' summaries there; emits resources/summary.json, and says which figures and tags go with it. Right whoever
// is last: a node's own summary is there before it looks for the others', and it looks again once it has written. Who
// wrote less than there is by then sees it and writes again; who dies in between is sent again.

import { LezeaError } from '../../errors.js';
import { inOrder, lastAttempts, mergedText, mergeSummaries } from '../../files/merged-summary.js';
import { mergedFrom, type NodeSummary, readNodeSummary } from '../../files/node-summary.js';
import type { MergedSummary } from '../../files/summary-document.js';
import { commonKey, type Delivery, SendError } from '../model.js';
import { MAX_REPLACED_BYTES, type RunArtifacts, sha256 } from './artifacts.js';
import type { MergeBody } from './items.js';
import { nodeFolder } from './keys.js';
import { type KnownDocument, NodeDocuments } from './node-documents.js';
import { type Figures, SUMMARY_PATH, type TaggedFacts } from './plan.js';

/** How often others may come in between. */
const MAX_ROUNDS = 5;

export interface MergeOptions {
  artifacts: RunArtifacts;
  /** The id that all nodes know the run by, and this agent's own. */
  run: Omit<Delivery['run'], 'attempt'>;
  body: MergeBody;
  data: Buffer;
  /** Somebody may write a document of that name, and would not look: ours lies elsewhere as well. */
  isContested: boolean;
  /** Tells the tracker of the merge, by figures and tags; `place`: where it lies. */
  publish(merged: MergedSummary, sha256: string, place: string): Promise<void>;
}

export class NodeMerge {
  readonly #o: MergeOptions;
  readonly #signal: AbortSignal;
  readonly #documents: NodeDocuments;

  constructor(options: MergeOptions, signal: AbortSignal) {
    this.#o = options;
    this.#signal = signal;
    this.#documents = new NodeDocuments(options.artifacts, options.run.runId);
  }

  async run(): Promise<void> {
    const { artifacts, body, data, run } = this.#o;
    // Another machine of that name may be there already; what comes last is nobody else's.
    await artifacts.put(
      body,
      data,
      [`${nodeFolder(`${body.node}-${commonKey(run)}`)}/summary.json`],
      this.#signal,
    );
    for (let round = 0; round < MAX_ROUNDS; round++) {
      if ((await this.#merge()) && !(await this.#documents.haveChanged(this.#signal))) return;
    }
    throw new SendError('retry', `${SUMMARY_PATH}: other nodes deliver theirs; merged again later`);
  }

  /** False: it has to be looked again, because what one node put in the place of the merge was moved to where it belongs. */
  async #merge(): Promise<boolean> {
    const documents = await this.#documents.read(this.#signal);
    const summaries = inOrder(documents.flatMap(({ summary }) => summary ?? []));
    if (!summaries.some((summary) => summary.sha256 === this.#o.body.sha256)) {
      throw new SendError('retry', `${this.#o.body.path}: written, but it is not listed`);
    }
    const merged = mergeSummaries(summaries);
    const text = textOf(merged, summaries, documents);
    const place = await this.#place(text, documents);
    if (place === undefined) return false;
    await this.#o.publish(merged, sha256(text), place);
    return true;
  }

  /** Writes it where it may; undefined: something was moved out of its way. */
  async #place(text: Buffer, documents: readonly KnownDocument[]): Promise<string | undefined> {
    const first = await this.#settle(SUMMARY_PATH, text, documents);
    if (first === 'moved') return undefined;
    if (first === 'there' && !this.#o.isContested) return SUMMARY_PATH;
    const aside = `lezea-monitor/${SUMMARY_PATH}`;
    if ((await this.#settle(aside, text, documents)) === 'there') return aside;
    const last = `lezea-monitor/${this.#o.run.runId}/${SUMMARY_PATH}`;
    if ((await this.#settle(last, text, documents, true)) === 'there') return last;
    throw new SendError('poison', `${last} is a folder of the run's artifacts`);
  }

  /** `taken`: something else lies there. */
  async #settle(
    path: string,
    text: Buffer,
    documents: readonly KnownDocument[],
    isOurs = false,
  ): Promise<'there' | 'taken' | 'moved'> {
    const { artifacts } = this.#o;
    const found = await artifacts.look(path, this.#signal);
    if (found === 'folder') return 'taken';
    if (found !== 'nothing') {
      if ((found.bytes ?? 0) > MAX_REPLACED_BYTES) return isOurs ? this.#write(path, text) : 'taken';
      const there = await artifacts.download(path, MAX_REPLACED_BYTES, this.#signal);
      if (there.equals(text)) return 'there';
      if (path === SUMMARY_PATH && (await this.#moved(there, documents))) return 'moved';
      if (!isOurs && !this.#isOlder(there, text, documents)) return 'taken';
    }
    return this.#write(path, text);
  }

  async #write(path: string, text: Buffer): Promise<'there'> {
    await this.#o.artifacts.upload(path, text, this.#signal);
    return 'there';
  }

  /** A merge of fewer documents, one of the documents, an earlier attempt's, or the beginning of one of ours. */
  #isOlder(there: Buffer, text: Buffer, documents: readonly KnownDocument[]): boolean {
    const known = new Set([
      ...documents.flatMap(({ summary }) => summary?.sha256 ?? []),
      ...(this.#o.body.replaces ?? []),
    ]);
    if (known.has(sha256(there))) return true;
    const from = mergedFrom(there);
    if (from) return from.length > 0 && from.every((hash) => known.has(hash));
    const begun = [text, ...documents.map(({ data }) => data)];
    return begun.some((whole) => there.equals(whole.subarray(0, there.length)));
  }

  /** A node that knew of no other put its summary where the merge goes: it goes where the nodes' are, byte for byte. */
  async #moved(there: Buffer, documents: readonly KnownDocument[]): Promise<boolean> {
    const { artifacts, run, body } = this.#o;
    const summary = readNodeSummary(there, run.runId);
    if (!summary || body.replaces?.includes(summary.sha256)) return false;
    if (documents.some((document) => document.summary?.sha256 === summary.sha256)) return false;
    const path = `${nodeFolder(summary.node.name)}/summary.json`;
    if ((await artifacts.look(path, this.#signal)) !== 'nothing') return false;
    await artifacts.upload(path, there, this.#signal);
    return true;
  }
}

/** What a tracker shows of a merge. */
export function mergedFacts(
  { run, totals, scopes, merged_from: from, environments }: MergedSummary,
  summarySha256: string,
): { figures: Figures; facts: TaggedFacts } {
  const { status, reason, attempt, id: runId } = run;
  const columns = Object.fromEntries(Object.entries(totals).map(([name, { value }]) => [name, value]));
  const endedAtMs = Date.parse(run.ended_at ?? run.started_at);
  const node = [...new Set(from.map((part) => part.node))].join(',');
  return {
    figures: { attempt, endedAtMs, totals: columns, scopes: () => scopes },
    facts: {
      ...{ status, runId, attempt, node, summarySha256 },
      ...(reason !== undefined && { reason }),
      ...(environments && {
        environmentFingerprint: [...new Set(Object.values(environments))].sort().join(','),
      }),
    },
  };
}

/** Whether a run that said nothing of nodes shares its place with another node's part of it. */
export async function hasOtherNodes(
  artifacts: RunArtifacts,
  own: NodeSummary,
  replaces: readonly string[],
  signal: AbortSignal,
): Promise<boolean> {
  if (await new NodeDocuments(artifacts, own.run.id).isThere(signal)) return true;
  const found = await artifacts.look(SUMMARY_PATH, signal);
  if (typeof found === 'string' || (found.bytes ?? 0) > MAX_REPLACED_BYTES) return false;
  const there = await artifacts.download(SUMMARY_PATH, MAX_REPLACED_BYTES, signal);
  const other = readNodeSummary(there, own.run.id);
  if (!other || other.sha256 === own.sha256 || replaces.includes(other.sha256)) return false;
  return other.node.name !== own.node.name || other.node.boot_id !== own.node.boot_id;
}

/** Of one node alone it is that node's own, as for a run on one node. */
function textOf(
  merged: MergedSummary,
  summaries: readonly NodeSummary[],
  documents: readonly KnownDocument[],
): Buffer {
  const [last, ...others] = lastAttempts(summaries);
  if (!last) throw new LezeaError('internal', 'a merge of nothing');
  const isOneNode = others.length === 0 && summaries.every(({ node }) => node.name === last.node.name);
  const own = documents.find(({ summary }) => summary?.sha256 === last.sha256);
  return isOneNode && own ? own.data : Buffer.from(mergedText(merged));
}
