// One MLflow server as this program speaks to it: the REST calls and what its refusals mean. Reads answers only as far as
// they are needed; owns the credentials that go with every request, and what the server said its version was.

import { faultOf, wordsOf } from '../classify.js';
import { SendError } from '../model.js';
import { describeRequest, type HttpAnswer, type HttpClient, type HttpRequest } from '../request.js';
import type { EndStatus, Metric, Param, Tag } from './items.js';
import { objectNamed } from './scan.js';

/** As MLflow's own client: a user name with its password wins over a token. */
export interface Credentials {
  username?: string;
  password?: string;
  token?: string;
}

/** What is asked of an MLflow run. */
export interface RunInfo {
  run_id: string;
  /** RUNNING, SCHEDULED, FINISHED, FAILED, KILLED. */
  status: string;
  /** active, deleted. */
  lifecycle_stage: string;
  artifact_uri: string;
}

const API = '/api/2.0/mlflow';
/** What is read of an answer about a run: what it says of the run comes first, then megabytes of figures. */
const RUN_HEAD_BYTES = 64 * 1024;

export class MlflowServer {
  readonly address: string;
  readonly #http: HttpClient;
  readonly #authorization: Record<string, string>;

  constructor(http: HttpClient, address: string, credentials: Credentials) {
    this.address = address;
    this.#http = http;
    this.#authorization = authorizationOf(credentials);
  }

  /** For example 3.17.2; undefined where the server does not tell (Databricks). */
  async version(signal: AbortSignal): Promise<string | undefined> {
    const { status, body } = await this.send({ method: 'GET', path: '/version', repeatable: true }, signal);
    const text = body.toString().trim();
    return status === 200 && /^\d+\.\d+\.\d+\w*$/.test(text) ? text : undefined;
  }

  async run(runId: string, signal: AbortSignal): Promise<RunInfo> {
    const path = `${API}/runs/get?run_id=${encodeURIComponent(runId)}`;
    const info = await this.#info({ method: 'GET', path, repeatable: true }, signal);
    if (!info) throw new SendError('retry', `GET ${this.address}${API}/runs/get: not an answer of MLflow`);
    return info;
  }

  /** The oldest run of an experiment with this tag, deleted ones included. */
  findRun(experimentId: string, tag: Tag, signal: AbortSignal): Promise<RunInfo | undefined> {
    const body = {
      experiment_ids: [experimentId],
      filter: `tags."${tag.key}" = '${tag.value}'`,
      run_view_type: 'ALL',
      order_by: ['attributes.start_time ASC'],
      max_results: 1,
    };
    return this.#info(post(`${API}/runs/search`, body), signal);
  }

  async createRun(body: CreateRun, signal: AbortSignal): Promise<RunInfo> {
    const made = await this.#info({ ...post(`${API}/runs/create`, body), repeatable: false }, signal);
    if (!made)
      throw new SendError('retry', `POST ${this.address}${API}/runs/create: not an answer of MLflow`);
    return made;
  }

  /** Undefined: there is none of that name. */
  async experiment(name: string, signal: AbortSignal): Promise<ExperimentInfo | undefined> {
    const path = `${API}/experiments/get-by-name?experiment_name=${encodeURIComponent(name)}`;
    const answer = await this.send({ method: 'GET', path, repeatable: true }, signal);
    if (answer.status === 404 && errorCode(answer) === 'RESOURCE_DOES_NOT_EXIST') return undefined;
    this.check(answer, 'GET', path);
    return (this.json(answer, 'GET', path) as { experiment: ExperimentInfo }).experiment;
  }

  async createExperiment(name: string, signal: AbortSignal): Promise<void> {
    const request = { ...post(`${API}/experiments/create`, { name }), repeatable: false };
    const answer = await this.send(request, signal);
    // Somebody else was faster.
    if (errorCode(answer) === 'RESOURCE_ALREADY_EXISTS') return;
    this.check(answer, 'POST', request.path);
  }

  async logBatch(
    runId: string,
    batch: { metrics?: Metric[]; params?: Param[]; tags?: Tag[] },
    signal: AbortSignal,
  ): Promise<void> {
    await this.#post(`${API}/runs/log-batch`, { run_id: runId, ...batch }, signal);
  }

  async endRun(
    runId: string,
    end: { status: EndStatus; end_time: number },
    signal: AbortSignal,
  ): Promise<void> {
    await this.#post(`${API}/runs/update`, { run_id: runId, ...end }, signal);
  }

  /** The answer, whatever it is. */
  send({ path, headers, ...request }: ServerRequest, signal: AbortSignal): Promise<HttpAnswer> {
    const all = { ...this.#authorization, ...headers };
    return this.#http.request({ ...request, url: this.address + path, headers: all }, signal);
  }

  /** Throws what an answer that is a refusal stands for. */
  check(answer: HttpAnswer, method: HttpRequest['method'], path: string): void {
    const fault = mlflowFault(answer, describeRequest({ method, url: this.address + path }));
    if (fault) throw fault;
  }

  /** An answer's JSON. Something between us and the server may answer 200 with a page of its own. */
  json(answer: HttpAnswer, method: HttpRequest['method'], path: string): unknown {
    try {
      return JSON.parse(answer.body.toString());
    } catch (error) {
      const what = describeRequest({ method, url: this.address + path });
      throw new SendError('retry', `${what}: not an answer of MLflow${wordsOf(answer)}`, { cause: error });
    }
  }

  async #post(path: string, body: object, signal: AbortSignal): Promise<void> {
    const answer = await this.send(post(path, body), signal);
    this.check(answer, 'POST', path);
    this.json(answer, 'POST', path);
  }

  async #info(request: ServerRequest, signal: AbortSignal): Promise<RunInfo | undefined> {
    const answer = await this.send({ ...request, headBytes: RUN_HEAD_BYTES }, signal);
    this.check(answer, request.method, request.path);
    const info = objectNamed(answer.body.toString(), 'info') as unknown as RunInfo | undefined;
    // A whole answer without one: none was found.
    if (!info) this.json(answer, request.method, request.path);
    return info;
  }
}

export interface CreateRun {
  experiment_id: string;
  run_name: string;
  start_time: number;
  tags: Tag[];
}

export interface ExperimentInfo {
  experiment_id: string;
  lifecycle_stage: string;
}

/** Path and query below the server's address. */
export type ServerRequest = Omit<HttpRequest, 'url'> & { path: string };

function post(path: string, body: object): ServerRequest {
  const headers = { 'content-type': 'application/json' };
  return { method: 'POST', path, headers, body: JSON.stringify(body), repeatable: true };
}

function authorizationOf({ username, password, token }: Credentials): Record<string, string> {
  if (username !== undefined && password !== undefined) {
    const pair = Buffer.from(`${username}:${password}`).toString('base64');
    return { authorization: `Basic ${pair}` };
  }
  return token === undefined ? {} : { authorization: `Bearer ${token}` };
}

/** MLflow has words for its refusals; a 404 without one comes from something that is not MLflow. */
function mlflowFault(answer: HttpAnswer, what: string): SendError | undefined {
  const fault = faultOf(answer, what);
  if (fault?.verdict !== 'poison') return fault;
  const word = errorCode(answer);
  if (word === 'RESOURCE_DOES_NOT_EXIST') return new SendError('gone', fault.message);
  // Its word for trouble with its database, two writers at once for example; what it does not take has another.
  if (word === 'BAD_REQUEST') return new SendError('retry', fault.message);
  const isRoute = answer.status === 404 || answer.status === 405;
  if (!isRoute || word !== undefined) return fault;
  return new SendError('refused', `${fault.message}; there is no MLflow at this address`);
}

function errorCode({ body }: HttpAnswer): string | undefined {
  try {
    const code = (JSON.parse(body.toString()) as { error_code?: unknown } | null)?.error_code;
    return typeof code === 'string' ? code : undefined;
  } catch {
    return undefined; // No JSON: no word of MLflow's.
  }
}
