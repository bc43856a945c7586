// Which MLflow run a delivery goes to: the trainer's, or one that is made for it, once. Reads the target's settings and asks
// the server; owns what the server said, for a while.

import { commonKey, type Delivery, SendError } from '../model.js';
import type { Bodies } from './items.js';
import type { ExperimentInfo, MlflowServer, RunInfo } from './server.js';
import { CREATED_TAG, wantedRun } from './settings.js';

/** How many runs are remembered. */
const MAX_KNOWN = 256;

interface Known {
  info: RunInfo;
  atMs: number;
}

export class MlflowRuns {
  readonly #nowMs: () => number;
  /** By server, delivery and MLflow run; the one that was asked for longest ago is first. */
  readonly #known = new Map<string, Known>();

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** What the server said of the delivery's run at most `maxAgeMs` ago. Throws SendError `gone` where it is no more. */
  async find(
    server: MlflowServer,
    delivery: Delivery,
    maxAgeMs: number,
    signal: AbortSignal,
  ): Promise<RunInfo> {
    const name = nameOf(server, delivery);
    const known = this.#known.get(name);
    if (known && this.#nowMs() - known.atMs <= maxAgeMs) return known.info;
    const wanted = wantedRun(delivery.target);
    const runId = known?.info.run_id ?? (wanted.by === 'id' ? wanted.runId : undefined);
    const info =
      runId === undefined ? await this.#created(server, delivery, signal) : await server.run(runId, signal);
    if (!info)
      throw new SendError('gone', `${server.address}: there is no MLflow run for run ${delivery.run.runId}`);
    return this.#remember(name, info);
  }

  /** The run that was made for this one, made now if it was not. Made again it is the same: it is looked for first. */
  async create(
    server: MlflowServer,
    delivery: Delivery,
    body: Bodies['create'],
    signal: AbortSignal,
  ): Promise<void> {
    let info = await this.#created(server, delivery, signal);
    if (!info) {
      const experiment = await this.#experiment(server, delivery, signal);
      const tags = [createdTag(delivery)];
      info = await server.createRun({ experiment_id: experiment.experiment_id, ...body, tags }, signal);
    }
    this.#remember(nameOf(server, delivery), info);
  }

  async #created(
    server: MlflowServer,
    delivery: Delivery,
    signal: AbortSignal,
  ): Promise<RunInfo | undefined> {
    const wanted = wantedRun(delivery.target);
    if (wanted.by !== 'creation') return undefined;
    const experiment = await server.experiment(wanted.experiment, signal);
    return experiment && server.findRun(experiment.experiment_id, createdTag(delivery), signal);
  }

  async #experiment(
    server: MlflowServer,
    { target }: Delivery,
    signal: AbortSignal,
  ): Promise<ExperimentInfo> {
    const wanted = wantedRun(target);
    const name = wanted.by === 'creation' ? wanted.experiment : '';
    let found = await server.experiment(name, signal);
    if (!found) {
      await server.createExperiment(name, signal);
      found = await server.experiment(name, signal);
    }
    if (!found) throw new SendError('retry', `${server.address}: experiment ${name} is not there yet`);
    if (found.lifecycle_stage === 'active') return found;
    throw new SendError('gone', `${server.address}: experiment ${name} was deleted`);
  }

  #remember(name: string, info: RunInfo): RunInfo {
    if (info.lifecycle_stage === 'deleted')
      throw new SendError('gone', `MLflow run ${info.run_id} was deleted`);
    this.#known.set(name, { info, atMs: this.#nowMs() });
    for (const oldest of this.#known.keys()) {
      if (this.#known.size <= MAX_KNOWN) break;
      this.#known.delete(oldest);
    }
    return info;
  }
}

/** A running run may be told of another MLflow run than before. */
function nameOf({ address }: MlflowServer, { id, target }: Delivery): string {
  const wanted = wantedRun(target);
  return `${address} ${id} ${wanted.by === 'id' ? wanted.runId : ''}`;
}

function createdTag({ run }: Delivery) {
  return { key: CREATED_TAG, value: commonKey(run) };
}
