// What holds against every real MLflow server: a run's totals arrive value by value, once, however often they are sent, and
// nobody else's run, documents and status are touched.

import { createServer, request as forward, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bodyOf } from '../../../src/delivery/mlflow/items.js';
import { MlflowSink, type MlflowSinkOptions } from '../../../src/delivery/mlflow/sink.js';
import { type EndedRun, SendError } from '../../../src/delivery/model.js';
import { type EndedRunWithFiles, endedRun, manyScopes } from '../../unit/support/ended-run.js';
import { deliver, deliveryOf, itemsOf, never, targetOf } from './courier.js';
import { installedMlflow, RealServer } from './real-server.js';

/** Milliseconds for a server to start, and for one test: others may need the machine. */
const START_MS = 120_000;
const TEST_MS = 120_000;
const SUMMARY = 'resources/summary.json';

interface StoredRun {
  info: {
    run_id: string;
    status: string;
    end_time?: number;
    artifact_uri: string;
    run_name: string;
    start_time: number;
  };
  data: { metrics?: { key: string; value: number; timestamp: number; step: number }[]; tags?: Tags };
}
type Tags = { key: string; value: string }[];

export interface Expected {
  major: 2 | 3;
  /** Figures in one request once the version is known. */
  together: number;
  /** For 1000 scopes with every column, on an idle machine. */
  budgetSeconds: number;
}

export function mlflowSuite({ major, together, budgetSeconds }: Expected): void {
  const { mlflow, missing } = installedMlflow(major);

  describe.skipIf(!mlflow)(`MLflow ${major}${missing}`, { timeout: TEST_MS }, () => {
    let server: RealServer;
    const sinks: MlflowSink[] = [];
    beforeAll(async () => {
      server = await RealServer.start(mlflow!);
    }, START_MS);
    afterAll(async () => {
      for (const sink of sinks) sink.close();
      await server?.stop();
    });

    const sinkFor = (run: EndedRunWithFiles, options: Partial<MlflowSinkOptions> = {}) => {
      const { readFile } = run;
      const sink = new MlflowSink({ version: '0', credentials: {}, timeoutMs: 60_000, readFile, ...options });
      sinks.push(sink);
      return sink;
    };
    const startRun = async (name = 'trainer') => {
      const body = { experiment_id: '0', run_name: name, start_time: 1 };
      const made = await server.call<{ run: StoredRun }>('POST', 'mlflow/runs/create', body);
      return made.run.info.run_id;
    };
    const end = (runId: string, status: string) =>
      server.call('POST', 'mlflow/runs/update', { run_id: runId, status, end_time: 77 });
    const stored = async (runId: string) =>
      (await server.call<{ run: StoredRun }>('GET', `mlflow/runs/get?run_id=${runId}`)).run;
    const tagsOf = (run: StoredRun) =>
      Object.fromEntries((run.data.tags ?? []).map((tag) => [tag.key, tag.value]));
    const put = async (runId: string, path: string, body: string) => {
      const url = `${server.address}/api/2.0/mlflow-artifacts/artifacts/0/${runId}/artifacts/${path}`;
      expect((await fetch(url, { method: 'PUT', body })).status).toBe(200);
    };
    const plannedMetrics = (run: EndedRun, runId: string) =>
      itemsOf(sinkFor(run as EndedRunWithFiles), run, targetOf(server.address, runId))
        .filter(({ kind }) => kind === 'metrics')
        .flatMap((item) => bodyOf(item, 'metrics').metrics)
        .sort((a, b) => (a.key < b.key ? -1 : 1));
    const refusal = async (done: Promise<unknown>) => {
      const error = await done.then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      expect(error).toBeInstanceOf(SendError);
      return error as SendError;
    };

    it('has every figure, document and tag of a run, once, also when all is sent again twice', async () => {
      const runId = await startRun();
      await end(runId, 'FINISHED');
      const outcome = { status: 'FAILED', reason: 'ValueError: “no”\n' } as const;
      const odd = { path: 'builder:a#1 é/layer:..', self: { cpu_seconds: 0.1 + 0.2 }, inclusive: {} };
      const run = endedRun({ scopes: [...manyScopes(12), odd], outcome });
      const expected = plannedMetrics(run, runId);
      for (let n = 0; n < 3; n++) {
        await deliver(sinkFor(run), run, targetOf(server.address, runId));
        expect(server.metricRows(runId)).toEqual(expected);
        const { info, data } = await stored(runId);
        expect([...(data.metrics ?? [])].sort((a, b) => (a.key < b.key ? -1 : 1))).toMatchObject(expected);
        expect(tagsOf({ info, data })).toEqual({
          'mlflow.runName': 'trainer',
          'lezea_monitor.status': 'FAILED',
          'lezea_monitor.reason': outcome.reason,
          'lezea_monitor.run_id': 'demo',
          'lezea_monitor.node': 'node-a',
          'lezea_monitor.attempt': '1',
          'lezea_monitor.summary_sha256': run.files[0]!.sha256,
        });
        for (const { path } of run.files) {
          expect(server.artifact(runId, path)).toEqual(await run.readFile(run, path));
        }
        expect(server.artifact(runId, `lezea-monitor/${SUMMARY}`)).toBeUndefined();
        // Whoever ended it knew how it came out.
        expect(info).toMatchObject({ status: 'FINISHED', end_time: 77 });
      }
    });

    it('closes a run that is still running, once', async () => {
      const runId = await startRun();
      const run = endedRun({ outcome: { status: 'INTERRUPTED' } });
      await deliver(sinkFor(run), run, targetOf(server.address, runId));
      expect((await stored(runId)).info).toMatchObject({ status: 'KILLED', end_time: run.endedAtMs });
      const later = { ...run, endedAtMs: run.endedAtMs + 5, outcome: { status: 'FAILED' } as const };
      await deliver(sinkFor(run), later, targetOf(server.address, runId));
      expect((await stored(runId)).info).toMatchObject({ status: 'KILLED', end_time: run.endedAtMs });
    });

    it('leaves a run whose processes live as it is', async () => {
      const runId = await startRun();
      const run = endedRun({ allDead: false });
      await deliver(sinkFor(run), run, targetOf(server.address, runId));
      expect((await stored(runId)).info.status).toBe('RUNNING');
    });

    it('writes over nobody’s document, and says where ours is', async () => {
      const runId = await startRun();
      await put(runId, SUMMARY, 'of the trainer');
      // A file where we need a folder.
      await put(runId, 'events.jsonl', 'x'.repeat(20));
      await end(runId, 'FINISHED');
      const run = endedRun();
      const summary = await run.readFile(run, SUMMARY);
      for (let n = 0; n < 2; n++) {
        await deliver(sinkFor(run), run, targetOf(server.address, runId));
        expect(server.artifact(runId, SUMMARY)?.toString()).toBe('of the trainer');
        expect(server.artifact(runId, `lezea-monitor/${SUMMARY}`)).toEqual(summary);
        expect(server.artifact(runId, 'events.jsonl')?.toString()).toBe('x'.repeat(20));
        expect(tagsOf(await stored(runId))).toMatchObject({
          [`lezea_monitor.artifact.${SUMMARY}`]: `lezea-monitor/${SUMMARY}`,
          'lezea_monitor.artifact.events.jsonl': 'lezea-monitor/events.jsonl',
        });
      }
      // Another run's, in the same MLflow run.
      const other = endedRun({ key: 'k2', documents: { [SUMMARY]: 'of another run' } });
      await deliver(sinkFor(other), other, targetOf(server.address, runId));
      expect(server.artifact(runId, `lezea-monitor/${SUMMARY}`)).toEqual(summary);
      expect(server.artifact(runId, `lezea-monitor/k2/${SUMMARY}`)?.toString()).toBe('of another run');
    });

    it('has our documents also when a running trainer writes over them later', async () => {
      const runId = await startRun();
      const run = endedRun({ allDead: false });
      const summary = await run.readFile(run, SUMMARY);
      await deliver(sinkFor(run), run, targetOf(server.address, runId));
      expect(server.artifact(runId, SUMMARY)).toEqual(summary);
      await put(runId, SUMMARY, 'of the trainer');
      await deliver(sinkFor(run), run, targetOf(server.address, runId));
      expect(server.artifact(runId, SUMMARY)?.toString()).toBe('of the trainer');
      expect(server.artifact(runId, `lezea-monitor/${SUMMARY}`)).toEqual(summary);
      expect(tagsOf(await stored(runId))[`lezea_monitor.artifact.${SUMMARY}`]).toBe(
        `lezea-monitor/${SUMMARY}`,
      );
    });

    it('goes around a file where a folder has to be, an upload that was cut short, and an earlier attempt', async () => {
      const runId = await startRun();
      await end(runId, 'FINISHED');
      const run = endedRun({ documents: { [SUMMARY]: 'second', 'events.jsonl': 'all of it' } });
      await put(runId, 'resources', 'a file');
      await put(runId, 'events.jsonl', 'all of');
      await deliver(sinkFor(run), run, targetOf(server.address, runId));
      expect(server.artifact(runId, 'resources')?.toString()).toBe('a file');
      expect(server.artifact(runId, `lezea-monitor/${SUMMARY}`)?.toString()).toBe('second');
      expect(server.artifact(runId, 'events.jsonl')?.toString()).toBe('all of it');
      const third = endedRun({ documents: { 'events.jsonl': 'new' } });
      const replaces = [run.files[1]!.sha256];
      const files = third.files.map((file) => ({ ...file, replaces }));
      await deliver(sinkFor(third), { ...third, files }, targetOf(server.address, runId));
      expect(server.artifact(runId, 'events.jsonl')?.toString()).toBe('new');
    });

    it('says that a run was deleted, or never was', async () => {
      const runId = await startRun();
      const run = endedRun();
      const target = targetOf(server.address, runId);
      const delivery = deliveryOf(run, target);
      const sink = sinkFor(run);
      const items = itemsOf(sink, run, target);
      await sink.send(delivery, items.slice(0, 1), never);
      await server.call('POST', 'mlflow/runs/delete', { run_id: runId });
      // What was known of it a moment ago does not help.
      const error = await refusal(sink.send(delivery, items.slice(0, 1), never));
      expect(error).toMatchObject({ verdict: 'gone', message: expect.stringContaining('deleted') });
      for (const kind of ['artifact', 'tags', 'end']) {
        const item = items.find((one) => one.kind === kind)!;
        expect((await refusal(sinkFor(run).send(delivery, [item], never))).verdict).toBe('gone');
      }
      const nowhere = targetOf(server.address, 'f'.repeat(32));
      expect((await refusal(deliver(sinkFor(run), run, nowhere))).verdict).toBe('gone');
    });

    it('says of a refused figure that it will never take it', async () => {
      const runId = await startRun();
      const run = endedRun();
      const body = JSON.stringify({ metrics: [{ key: 'a//b', value: 1, timestamp: 1, step: 1 }] });
      const item = { id: 1, stage: 1, kind: 'metrics', body };
      const target = targetOf(server.address, runId);
      const error = await refusal(sinkFor(run).send(deliveryOf(run, target), [item], never));
      expect(error).toMatchObject({ verdict: 'poison', message: expect.stringContaining('a//b') });
    });

    it('says of artifacts that are elsewhere that the client has to bring them', async () => {
      const experiment = { name: `elsewhere ${Math.random()}`, artifact_location: 's3://user:pw@bucket/x' };
      const { experiment_id } = await server.call<{ experiment_id: string }>(
        'POST',
        'mlflow/experiments/create',
        experiment,
      );
      const body = { experiment_id, start_time: 1 };
      const made = await server.call<{ run: StoredRun }>('POST', 'mlflow/runs/create', body);
      const run = endedRun();
      const error = await refusal(deliver(sinkFor(run), run, targetOf(server.address, made.run.info.run_id)));
      expect(error.verdict).toBe('elsewhere');
      expect(error.message).toContain('s3:');
      expect(error.message).not.toContain('pw');
      // The figures are there all the same.
      expect(server.metricRows(made.run.info.run_id).length).toBeGreaterThan(0);
    });

    it('is given one run, also when the sink that made it is another now', async () => {
      const run = endedRun({ key: `key-${major}`, name: 'made here', outcome: { status: 'FINISHED' } });
      const experiment = `made ${Math.random()}`;
      const settings = { mlflow_create: 'true', mlflow_experiment: experiment };
      const target = { kind: 'mlflow', address: server.address, settings } as const;
      for (let n = 0; n < 3; n++) await deliver(sinkFor(run), run, target);
      const { experiment: made } = await server.call<{ experiment: { experiment_id: string } }>(
        'GET',
        `mlflow/experiments/get-by-name?experiment_name=${encodeURIComponent(experiment)}`,
      );
      const search = { experiment_ids: [made.experiment_id], run_view_type: 'ALL' };
      const { runs } = await server.call<{ runs: StoredRun[] }>('POST', 'mlflow/runs/search', search);
      expect(runs).toHaveLength(1);
      expect(runs[0]!.info).toMatchObject({
        run_name: 'made here',
        status: 'FINISHED',
        start_time: run.startedAtMs,
        end_time: run.endedAtMs,
      });
      expect(server.metricRows(runs[0]!.info.run_id)).toEqual(plannedMetrics(run, 'x'));
      await server.call('POST', 'mlflow/runs/delete', { run_id: runs[0]!.info.run_id });
      expect((await refusal(deliver(sinkFor(run), run, target))).verdict).toBe('gone');
    });

    it('has each of a run’s attempts at its step', async () => {
      const runId = await startRun();
      for (const attempt of [1, 2]) {
        const run = endedRun({ attempt, endedAtMs: 1_700_000_000_000 + attempt, scopes: [] });
        await deliver(sinkFor(run), run, targetOf(server.address, runId));
      }
      const rows = server.metricRows(runId).filter(({ key }) => key === 'resources/total/cpu_seconds');
      expect(rows.map(({ step }) => step)).toEqual([1, 2]);
      expect(tagsOf(await stored(runId))['lezea_monitor.attempt']).toBe('2');
    });

    it('has the same when something between commits what it is sent and drops the connection', async () => {
      const runId = await startRun();
      await end(runId, 'FINISHED');
      const run = endedRun({ scopes: manyScopes(30) });
      const proxy = await startProxy(server.address, { dropEvery: 2 });
      const sink = sinkFor(run);
      const target = targetOf(proxy.address, runId);
      const delivery = deliveryOf(run, target);
      for (const item of itemsOf(sink, run, target)) {
        while (await failed(sink.send(delivery, [item], never))) expect(proxy.dropped()).toBeLessThan(500);
      }
      await proxy.close();
      expect(proxy.dropped()).toBeGreaterThan(5);
      expect(server.metricRows(runId)).toEqual(plannedMetrics(run, runId));
      expect(server.artifact(runId, SUMMARY)).toEqual(await run.readFile(run, SUMMARY));
      expect(server.artifact(runId, `lezea-monitor/${SUMMARY}`)).toBeUndefined();
    });

    it('is reached through a path prefix', async () => {
      const runId = await startRun();
      await end(runId, 'FINISHED');
      const run = endedRun();
      const proxy = await startProxy(server.address, { prefix: '/team/ml' });
      await deliver(sinkFor(run), run, targetOf(`${proxy.address}/team/ml`, runId));
      const wrong = await refusal(deliver(sinkFor(run), run, targetOf(`${proxy.address}/other`, runId)));
      await proxy.close();
      expect(server.metricRows(runId)).toEqual(plannedMetrics(run, runId));
      expect(server.artifact(runId, SUMMARY)).toEqual(await run.readFile(run, SUMMARY));
      expect(wrong).toMatchObject({
        verdict: 'refused',
        message: expect.stringContaining('there is no MLflow at this address'),
      });
    });

    it('takes 1000 scopes with every column in as few requests as it can take', async () => {
      const runId = await startRun();
      const run = endedRun({ scopes: manyScopes(1000) });
      const expected = plannedMetrics(run, runId);
      const before = { wallMs: performance.now(), cpu: server.cpuSeconds(), own: process.cpuUsage() };
      const requests = await deliver(sinkFor(run), run, targetOf(server.address, runId));
      const wall = ((performance.now() - before.wallMs) / 1000).toFixed(1);
      const cpu = (server.cpuSeconds() - before.cpu).toFixed(1);
      const own = process.cpuUsage(before.own);
      const ownCpu = ((own.user + own.system) / 1e6).toFixed(1);
      // What the machine is doing beside decides the time; the budget is judged where it is idle .
      const spent = `${wall} s, ${cpu} s of the server's CPU, ${ownCpu} s of ours`;
      console.log(
        `MLflow ${major}: ${expected.length} figures, ${requests} requests, ${spent}; budget ${budgetSeconds} s`,
      );
      expect(server.metricRows(runId)).toEqual(expected);
      expect(requests).toBeLessThan(expected.length / together + 8);
    }, 300_000);
  });

  describe.skipIf(!mlflow)(`MLflow ${major} with basic auth${missing}`, { timeout: TEST_MS }, () => {
    const admin = { username: 'admin', password: 'correct horse' };
    // MLflow 2 has its interface outside the prefix, for something in front to put it there.
    const staticPrefix = major === 3 ? '/team' : '';
    let server: RealServer;
    beforeAll(async () => {
      server = await RealServer.start(mlflow!, { admin, ...(staticPrefix && { staticPrefix }) });
    }, START_MS);
    afterAll(() => server?.stop());

    it('takes a run from who may write, and says who is not let in', async () => {
      const made = await server.call<{ run: StoredRun }>('POST', 'mlflow/runs/create', {
        experiment_id: '0',
        start_time: 1,
      });
      const runId = made.run.info.run_id;
      const reader = { username: 'reader', password: 'reader password' };
      await server.call('POST', 'mlflow/users/create', reader);
      const run = endedRun();
      const target = targetOf(server.address, runId);
      const send = async (credentials: MlflowSinkOptions['credentials']) => {
        const sink = new MlflowSink({ version: '0', credentials, timeoutMs: 60_000, readFile: run.readFile });
        return deliver(sink, run, target)
          .then(
            () => undefined,
            (error: unknown) => error as SendError,
          )
          .finally(() => sink.close());
      };
      const wrong = await send({ ...admin, password: 'wrong-password' });
      expect(wrong).toMatchObject({ verdict: 'refused', message: expect.stringContaining('401') });
      expect(wrong!.message).not.toContain('wrong-password');
      expect(await send({})).toMatchObject({ verdict: 'refused' });
      expect(await send({ token: 'a token' })).toMatchObject({ verdict: 'refused' });
      expect(await send(reader)).toMatchObject({
        verdict: 'refused',
        message: expect.stringContaining('403'),
      });
      expect(server.metricRows(runId)).toEqual([]);
      // A user name wins over a token.
      expect(await send({ ...admin, token: 'a token' })).toBeUndefined();
      expect(server.metricRows(runId).length).toBeGreaterThan(0);
      expect(server.artifact(runId, SUMMARY)).toEqual(await run.readFile(run, SUMMARY));
    });
  });
}

async function failed(done: Promise<unknown>): Promise<boolean> {
  try {
    await done;
    return false;
  } catch (error) {
    expect(error).toMatchObject({ verdict: 'retry' });
    return true;
  }
}

interface ProxyOptions {
  /** Taken off what is forwarded; other paths are unknown. */
  prefix?: string;
  /** Of what changes something, every so many answers are not passed on: the connection is closed instead. */
  dropEvery?: number;
}

/** Something between the agent and the server. */
async function startProxy(to: string, { prefix = '', dropEvery }: ProxyOptions) {
  let answers = 0;
  let dropped = 0;
  const server = createServer((request, response) => {
    const { method, headers, url = '' } = request;
    if (!url.startsWith(`${prefix}/`)) return response.writeHead(404).end('<h1>Not here</h1>');
    const passed = forward(to + url.slice(prefix.length), {
      method,
      headers: { ...headers, host: new URL(to).host },
    });
    passed.on('response', (answer) => {
      if (method === 'PUT' || /log-batch|update/.test(url)) answers += 1;
      else return pass(answer);
      if (dropEvery && answers % dropEvery === 0) {
        dropped += 1;
        answer.resume().on('end', () => request.socket.destroy());
        return;
      }
      pass(answer);
    });
    const pass = (answer: IncomingMessage) => {
      response.writeHead(answer.statusCode ?? 500, answer.headers);
      answer.pipe(response);
    };
    passed.on('error', () => response.destroy());
    return request.pipe(passed);
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const close = async () => {
    server.closeAllConnections();
    await new Promise((done) => server.close(done));
  };
  return {
    address: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    dropped: () => dropped,
    close,
  };
}
