// A run's documents, and what tells of them, at MLflow: each where it belongs, and where several nodes deliver one run, the
// merge of theirs. Reads the run's documents and what is at the server; owns nothing.

import { messageOf } from '../../errors.js';
import { type NodeSummary, readNodeSummary } from '../../files/node-summary.js';
import type { MergedSummary } from '../../files/summary-document.js';
import { commonKey, type Delivery, type Draft, SendError } from '../model.js';
import { RunArtifacts, sha256 } from './artifacts.js';
import type { ArtifactBody, MergeBody, Tag } from './items.js';
import { nodeFolder } from './keys.js';
import { hasOtherNodes, mergedFacts, NodeMerge } from './merge.js';
import { NodeDocuments } from './node-documents.js';
import { metricBatches, SUMMARY_PATH, tagsOf } from './plan.js';
import type { MlflowRuns } from './runs.js';
import type { MlflowServer, RunInfo } from './server.js';
import { wantedRun } from './settings.js';

/** How long what a server said of a run is good enough where it matters whether it is still running, milliseconds. */
const STATUS_MAX_AGE_MS = 2000;

/** What a delivery's items are sent with. */
export interface Sending {
  server: MlflowServer;
  delivery: Delivery;
  signal: AbortSignal;
}

export interface DocumentsOptions {
  runs: MlflowRuns;
  readFile(run: Delivery['run'], path: string): Promise<Buffer>;
  logTags(sending: Sending, tags: Tag[]): Promise<void>;
  logMetrics(sending: Sending, items: Iterable<Draft>): Promise<void>;
}

export class Documents {
  readonly #o: DocumentsOptions;

  constructor(options: DocumentsOptions) {
    this.#o = options;
  }

  async send(sending: Sending, body: ArtifactBody): Promise<void> {
    const { server, delivery, signal } = sending;
    const run = await this.#run(sending);
    const artifacts = new RunArtifacts(server, run.artifact_uri);
    const data = await this.#document(delivery, body);
    const own = body.path === SUMMARY_PATH ? readNodeSummary(data, delivery.run.runId) : undefined;
    if (own && (await hasOtherNodes(artifacts, own, body.replaces ?? [], signal)))
      return this.#merge(sending, run, mergeBodyOf(own, body), data);
    const aside = `lezea-monitor/${body.path}`;
    const others = [aside, `lezea-monitor/${commonKey(delivery.run)}/${body.path}`] as const;
    let place = await artifacts.put(body, data, others, signal);
    // A trainer may still write its own there, and would not look: ours lies where it stays as well.
    if (place === body.path && isContested(run, delivery)) {
      place = await artifacts.put({ ...body, path: aside }, data, [others[1]], signal);
    }
    if (place !== body.path) await this.#o.logTags(sending, [placeTag(body.path, place)]);
  }

  /** Puts this node's summary to the others', and makes the one of all of them. */
  async merge(sending: Sending, body: MergeBody): Promise<void> {
    const run = await this.#run(sending);
    return this.#merge(sending, run, body, await this.#document(sending.delivery, body));
  }

  /** The tags of a run that said nothing of nodes; where it shares its place with others, those of them all. */
  async tags(sending: Sending, tags: Tag[]): Promise<void> {
    const promised = tags.find(({ key }) => key === 'lezea_monitor.summary_sha256')?.value;
    const shared = promised === undefined ? undefined : await this.#shared(sending, promised);
    if (!shared) return this.#o.logTags(sending, tags);
    return this.#merge(sending, await this.#run(sending), shared.body, shared.data);
  }

  async #shared(sending: Sending, promised: string): Promise<{ body: MergeBody; data: Buffer } | undefined> {
    const { server, delivery, signal } = sending;
    try {
      const artifacts = new RunArtifacts(server, (await this.#run(sending)).artifact_uri);
      if (!(await new NodeDocuments(artifacts, delivery.run.runId).isThere(signal))) return undefined;
      const data = await this.#document(delivery, { path: SUMMARY_PATH, sha256: promised });
      const own = readNodeSummary(data, delivery.run.runId);
      const body = { path: SUMMARY_PATH, bytes: data.length, sha256: promised };
      return own && { body: mergeBodyOf(own, body), data };
    } catch (error) {
      // There are no artifacts to look at: nobody merges anything there.
      if (error instanceof SendError && ['elsewhere', 'poison'].includes(error.verdict)) return undefined;
      throw error;
    }
  }

  #merge(sending: Sending, run: RunInfo, body: MergeBody, data: Buffer): Promise<void> {
    const { server, delivery, signal } = sending;
    const artifacts = new RunArtifacts(server, run.artifact_uri);
    const publish = (merged: MergedSummary, hash: string, place: string) =>
      this.#publish(sending, merged, hash, place);
    const contested = isContested(run, delivery);
    const options = { artifacts, run: delivery.run, body, data, isContested: contested, publish };
    return new NodeMerge(options, signal).run();
  }

  /**
   * The figures of the merge stand at the step of its last attempt and at the time of its last end. MLflow shows the figure
   * with the greatest step, time and value: a merge of more documents is less in none of them, so whoever logs last, and
   * however often, what is shown is the merge of most.
   */
  async #publish(sending: Sending, merged: MergedSummary, hash: string, place: string): Promise<void> {
    const { figures, facts } = mergedFacts(merged, hash);
    await this.#o.logMetrics(sending, metricBatches(figures));
    const where = place === SUMMARY_PATH ? [] : [placeTag(SUMMARY_PATH, place)];
    await this.#o.logTags(sending, [...tagsOf(facts), ...where]);
  }

  #run({ server, delivery, signal }: Sending): Promise<RunInfo> {
    return this.#o.runs.find(server, delivery, STATUS_MAX_AGE_MS, signal);
  }

  /** What the item promised, and nothing else. */
  async #document(
    { run }: Delivery,
    { path, sha256: promised }: Pick<ArtifactBody, 'path' | 'sha256'>,
  ): Promise<Buffer> {
    let data: Buffer;
    try {
      data = await this.#o.readFile(run, path);
    } catch (error) {
      const isMissing = (error as NodeJS.ErrnoException).code === 'ENOENT';
      throw new SendError(
        isMissing ? 'poison' : 'retry',
        `${path} of run ${run.runId}: ${messageOf(error)}`,
        { cause: error },
      );
    }
    if (sha256(data) === promised) return data;
    throw new SendError('poison', `${path} of run ${run.runId} is not what it was when the run ended`);
  }
}

function mergeBodyOf(own: NodeSummary, body: ArtifactBody): MergeBody {
  return { ...body, node: own.node.name, path: `${nodeFolder(own.node.name)}/summary.json` };
}

function placeTag(path: string, place: string): Tag {
  return { key: `lezea_monitor.artifact.${path}`, value: place };
}

/** The trainer's own run, and it may still be at work. */
function isContested({ status }: RunInfo, { target }: Delivery): boolean {
  return (status === 'RUNNING' || status === 'SCHEDULED') && wantedRun(target).by !== 'creation';
}
