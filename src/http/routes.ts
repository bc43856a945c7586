// The routes: /metrics, health, and the read-only JSON API over the same figures as the socket. Reads the RunStore and
// what the agent says of itself; writes answers.

import { type Request, Router } from 'express';
import type { Run, RunStore, RunSummary } from '../attribution/model.js';
import { CONTENT_TYPES, type ExpositionFormat } from '../metrics/encoder.js';
import { HttpError, JSON_TYPE, sendBody, sendJson } from './answer.js';
import { expositionFormat } from './negotiate.js';
import { sharedPages } from './shared-page.js';

export interface RouteDeps {
  store: RunStore;
  /** Whether runs are shown: in system mode to those whom the web configuration lets in, or with http.expose_run_names. */
  showRuns: boolean;
  render(format: ExpositionFormat): Promise<Buffer>;
  /** What `node.status` says. */
  node(): unknown;
  /** What `agent.health` says. */
  health(): { status: 'ok' | 'degraded' };
  /** Why the agent is not ready yet; undefined when it is. */
  notReady(): string | undefined;
  /** The run's summary document, JSON. */
  summary(run: Run): Promise<Buffer>;
}

const DEFAULT_LIST = 100;
const MAX_LIST = 1000;

export function routes(deps: RouteDeps): Router {
  const router = Router();
  const page = sharedPages(deps.render);
  router.get('/metrics', async (request, response) => {
    const format = expositionFormat(request.headers.accept);
    response.vary('Accept');
    await sendBody(request, response, { type: CONTENT_TYPES[format], bytes: await page(format) });
  });
  router.get('/healthz', (request, response) => sendJson(request, response, deps.health()));
  router.get('/readyz', async (request, response) => {
    const reason = deps.notReady();
    if (reason !== undefined) throw new HttpError(503, 'not_ready', reason);
    await sendJson(request, response, { ready: true });
  });
  router.get('/api/v1/node', (request, response) => sendJson(request, response, deps.node()));
  router.use('/api/v1/runs', runRoutes(deps));
  return router;
}

function runRoutes(deps: RouteDeps): Router {
  const router = Router();
  router.use((_request, _response, next) => {
    if (deps.showRuns) next();
    else
      throw new HttpError(
        403,
        'names_hidden',
        'runs are not shown over TCP to whoever asks; http.web_config_file or http.expose_run_names shows them',
      );
  });
  router.get('/', (request, response) => {
    const limit = wholeNumber(request, 'limit', { fallback: DEFAULT_LIST, min: 1, max: MAX_LIST });
    return sendJson(request, response, { runs: deps.store.list(limit).map(listLine) });
  });
  router.get('/:id', async (request, response) => {
    const bytes = await deps.summary(findRun(request, deps.store));
    await sendBody(request, response, { type: JSON_TYPE, bytes });
  });
  router.get('/:id/usage', (request, response) =>
    sendJson(request, response, usage(findRun(request, deps.store), text(request, 'scope'))),
  );
  return router;
}

/** The run that the path names, of the owner `?uid=` where several have one of that id, at `?attempt=`. */
function findRun(request: Request<{ id: string }>, store: RunStore): Run {
  const { id } = request.params;
  const uid = wholeNumber(request, 'uid', { fallback: -1, min: 0, max: 4_294_967_294 });
  const attempt = wholeNumber(request, 'attempt', { fallback: -1, min: 0, max: Number.MAX_SAFE_INTEGER });
  const found = store.find(id).filter((run) => uid < 0 || run.owner.uid === uid);
  if (found.length > 1) {
    const owners = found.map((run) => run.owner.uid).join(', ');
    throw new HttpError(
      409,
      'ambiguous',
      `${id}: several owners have a run of that id: add ?uid= of ${owners}`,
    );
  }
  const [newest] = found;
  const run = newest && attempt >= 0 ? store.byKey(newest.key, attempt) : newest;
  if (run === undefined) throw new HttpError(404, 'unknown_run', `${id}: no such run`);
  return run;
}

function usage(run: Run, path: string | undefined): unknown {
  const unattributed = run.unattributed.toColumns();
  if (path === undefined || path === '') {
    return { ...head(run, null), self: unattributed, inclusive: run.totals.toColumns(), unattributed };
  }
  const scope = run.scope(path);
  if (scope === undefined)
    throw new HttpError(404, 'unknown_scope', `${path}: no such scope in run ${run.runId}`);
  return { ...head(run, path), self: scope.self.toColumns(), inclusive: scope.inclusive().toColumns() };
}

function head(run: Run, scope: string | null) {
  return { run_id: run.runId, attempt: run.attempt, scope, status: run.status };
}

function listLine(run: RunSummary) {
  return {
    run_id: run.runId,
    attempt: run.attempt,
    experiment: run.experiment,
    name: run.name,
    status: run.status,
    started_at: new Date(run.startedAtMs).toISOString(),
    ended_at: run.endedAtMs === undefined ? undefined : new Date(run.endedAtMs).toISOString(),
    owner_uid: run.owner.uid,
    processes: run.processes,
    cpu_seconds: run.cpuSeconds,
  };
}

function text(request: Request<object>, name: string): string | undefined {
  const value = request.query[name];
  if (value === undefined || typeof value === 'string') return value;
  throw new HttpError(400, 'invalid_params', `${name}: expected at most once`);
}

function wholeNumber(
  request: Request<object>,
  name: string,
  range: { fallback: number; min: number; max: number },
): number {
  const given = text(request, name);
  if (given === undefined) return range.fallback;
  const value = /^\d{1,16}$/.test(given) ? Number(given) : Number.NaN;
  if (value >= range.min && value <= range.max) return value;
  const expected = `a whole number from ${range.min} to ${range.max}`;
  throw new HttpError(400, 'invalid_params', `${name}: ${JSON.stringify(given)}: expected ${expected}`);
}
