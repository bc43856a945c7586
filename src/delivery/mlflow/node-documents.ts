// The summaries that the nodes of one run have put to an MLflow run's artifacts. Reads lists and files there; owns what was
// read, for as long as one merge goes on.

import { posix } from 'node:path';
import { type NodeSummary, readNodeSummary } from '../../files/node-summary.js';
import { type ListedFile, MAX_REPLACED_BYTES, type RunArtifacts } from './artifacts.js';

const ROOT = 'resources';
const NODES = `${ROOT}/nodes`;
const ATTEMPTS = 'attempts';
const SUMMARY = 'summary.json';

/** A summary as it was listed. */
interface Found {
  path: string;
  bytes?: number;
}

export interface KnownDocument {
  data: Buffer;
  /** Undefined: another run's, another program's, or not whole yet. */
  summary?: NodeSummary;
}

export class NodeDocuments {
  readonly #artifacts: RunArtifacts;
  readonly #runId: string;
  readonly #read = new Map<string, KnownDocument & { bytes?: number }>();
  #listed: Found[] = [];

  constructor(artifacts: RunArtifacts, runId: string) {
    this.#artifacts = artifacts;
    this.#runId = runId;
  }

  /** Whether there is a folder of nodes. */
  async isThere(signal: AbortSignal): Promise<boolean> {
    const resources = await this.#folders('', signal);
    return resources.includes(ROOT) && (await this.#folders(ROOT, signal)).includes(NODES);
  }

  /** Reads what is there now; a file that was read before, and is of the same size, is not read again. */
  async read(signal: AbortSignal): Promise<KnownDocument[]> {
    this.#listed = await this.#list(signal);
    const documents: KnownDocument[] = [];
    for (const { path, bytes } of this.#listed) documents.push(await this.#document(path, bytes, signal));
    return documents;
  }

  /**
   * Whether something has come since they were read. Paths and sizes tell: a node's document becomes another only with a
   * further attempt, whose own document is there before, at a path of its own.
   */
  async haveChanged(signal: AbortSignal): Promise<boolean> {
    return JSON.stringify(await this.#list(signal)) !== JSON.stringify(this.#listed);
  }

  async #document(path: string, bytes: number | undefined, signal: AbortSignal): Promise<KnownDocument> {
    const known = this.#read.get(path);
    if (known && bytes !== undefined && known.bytes === bytes) return known;
    const isTooLong = (bytes ?? 0) > MAX_REPLACED_BYTES;
    const data = isTooLong
      ? Buffer.alloc(0)
      : await this.#artifacts.download(path, MAX_REPLACED_BYTES, signal);
    const summary = readNodeSummary(data, this.#runId);
    const read = { data, ...(bytes === undefined ? {} : { bytes }), ...(summary && { summary }) };
    this.#read.set(path, read);
    return read;
  }

  /** Of each node its own, and those of its attempts; of a run that said nothing of nodes, its attempts. */
  async #list(signal: AbortSignal): Promise<Found[]> {
    const found = await this.#attempts(ROOT, await this.#artifacts.list(ROOT, signal), signal);
    for (const node of await this.#folders(NODES, signal)) {
      const entries = await this.#artifacts.list(node, signal);
      found.push(...summaries(node, entries), ...(await this.#attempts(node, entries, signal)));
    }
    return found.sort((a, b) => (a.path < b.path ? -1 : 1));
  }

  async #attempts(folder: string, entries: readonly ListedFile[], signal: AbortSignal): Promise<Found[]> {
    const isThere = entries.some((entry) => entry.is_dir && posix.basename(entry.path) === ATTEMPTS);
    if (!isThere) return [];
    const found: Found[] = [];
    for (const attempt of await this.#folders(posix.join(folder, ATTEMPTS), signal)) {
      found.push(...summaries(attempt, await this.#artifacts.list(attempt, signal)));
    }
    return found;
  }

  async #folders(folder: string, signal: AbortSignal): Promise<string[]> {
    const entries = await this.#artifacts.list(folder, signal);
    return entries
      .filter((entry) => entry.is_dir)
      .map(({ path }) => posix.join(folder, posix.basename(path)));
  }
}

function summaries(folder: string, entries: readonly ListedFile[]): Found[] {
  const file = entries.find((entry) => !entry.is_dir && posix.basename(entry.path) === SUMMARY);
  if (!file) return [];
  const path = posix.join(folder, SUMMARY);
  return [file.file_size === undefined ? { path } : { path, bytes: file.file_size }];
}
