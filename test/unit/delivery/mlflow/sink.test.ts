// The sink against a server that answers as the test says: what goes together, what an answer of something that is not MLflow
// means, and what is never sent. Against real servers: test/integration/mlflow.

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { objectNamed } from '../../../../src/delivery/mlflow/scan.js';
import {
  MlflowSink,
  type MlflowSinkOptions,
  recoversDuplicates,
} from '../../../../src/delivery/mlflow/sink.js';
import { type Delivery, type Item, SendError } from '../../../../src/delivery/model.js';
import { endedRun, manyScopes } from '../../support/ended-run.js';
import { type Asked, type HttpPlace, startPlace } from '../../support/http-place.js';

const never = new AbortController().signal;
const run = endedRun({ scopes: manyScopes(60) });
const info = {
  run_id: 'm1',
  status: 'FINISHED',
  lifecycle_stage: 'active',
  artifact_uri: 'mlflow-artifacts:/0/m1/artifacts',
};

let place: HttpPlace;
let sink: MlflowSink;
/** What the server says by the end of a path; status and body. */
let says: Record<string, [number, string]>;

beforeEach(async () => {
  place = await startPlace();
  says = { version: [200, '3.17.2'], get: [200, JSON.stringify({ run: { info, data: {} } })] };
  place.answer = ({ url }, response) => {
    const [status, body] = says[new URL(url, place.address).pathname.split('/').at(-1)!] ?? [200, '{}'];
    response.writeHead(status).end(body);
  };
  sink = sinkWith({});
});
afterEach(async () => {
  sink.close();
  await place.close();
});

function sinkWith(options: Partial<MlflowSinkOptions>): MlflowSink {
  const { readFile } = run;
  return new MlflowSink({ version: '1.2', credentials: {}, timeoutMs: 5000, readFile, ...options });
}

function delivery(settings: Record<string, string> = { mlflow_run_id: 'm1' }): Delivery {
  const target = { kind: 'mlflow', address: place.address, settings } as const;
  return { id: 1, target, run: { key: run.key, runId: run.runId, attempt: 1 } };
}

function items(kind: string): Item[] {
  const drafts = [...sink.plan(run, delivery().target)].map((draft, id) => ({ ...draft, id }));
  return drafts.filter((item) => item.kind === kind);
}

const send = (kind: string, count = 1) => sink.send(delivery(), items(kind).slice(0, count), never);

async function refusal(done: Promise<unknown>): Promise<SendError> {
  const error = await done.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(SendError);
  return error as SendError;
}

const paths = (asked: readonly Asked[]) => asked.map(({ method, url }) => `${method} ${url}`);

describe('an end', () => {
  const running = JSON.stringify({ run: { info: { ...info, status: 'RUNNING' }, data: {} } });
  const ends = () => place.asked.filter(({ url }) => url.endsWith('runs/update')).length;

  it.each<[string, Record<string, string>[], number]>([
    ['no later attempt has begun', [], 1],
    ['a later attempt goes on with the same MLflow run', [{ mlflow_run_id: 'm1' }], 0],
    ['a later attempt has not said where it goes', [{}], 0],
    ['a later attempt has an MLflow run of its own', [{ mlflow_run_id: 'm2' }], 1],
  ])('where %s is sent %#', async (_what, later, count) => {
    says.get = [200, running];
    const fresh = sinkWith({ laterTrackers: () => later });
    await fresh.send(delivery(), items('end'), never);
    fresh.close();
    expect(ends()).toBe(count);
  });
});

describe('batches', () => {
  it('go one by one until the server’s version is known, then up to 1000 figures', async () => {
    const all = items('metrics');
    expect(sink.together(delivery(), all)).toBe(1);
    await sink.send(delivery(), all.slice(0, 1), never);
    expect(sink.together(delivery(), all)).toBe(10);
    expect(sink.together(delivery(), items('tags'))).toBe(1);
    await sink.send(delivery(), all.slice(0, 10), never);
    const batches = place.asked.filter(({ url }) => url.endsWith('log-batch'));
    expect(batches.map(({ body }) => JSON.parse(body.toString()).metrics.length)).toEqual([100, 1000]);
    expect(place.asked[0]!.headers['user-agent']).toBe('lezea-monitor/1.2');
  });

  it.each([['2.12.2'], ['3.9.0'], ['<html>'], ['']])(
    'stay alone where the version is %j',
    async (version) => {
      says.version = [200, version];
      await send('metrics');
      expect(sink.together(delivery(), items('metrics'))).toBe(1);
    },
  );

  it('ask for the version and for the run now and then only', async () => {
    let nowMs = 0;
    sink.close();
    sink = sinkWith({ nowMs: () => nowMs });
    await send('metrics');
    await send('metrics');
    expect(paths(place.asked).filter((path) => !path.includes('log-batch'))).toHaveLength(2);
    nowMs = 700_000;
    says.version = [200, '2.12.2'];
    await send('metrics');
    expect(sink.together(delivery(), items('metrics'))).toBe(1);
  });

  it.each<[string | undefined, boolean]>([
    ['3.10.0', true],
    ['4.0.0', true],
    ['3.9.9', false],
    [undefined, false],
  ])('of a server %s may be joined: %s', (version, may) => {
    expect(recoversDuplicates(version)).toBe(may);
  });
});

it('goes to the MLflow run that the settings name now, not to the one before', async () => {
  const [item] = items('metrics');
  place.answer = ({ url }, response) => {
    const asked = new URL(url, place.address).searchParams.get('run_id');
    response.end(JSON.stringify({ run: { info: { ...info, run_id: asked }, data: {} } }));
  };
  for (const id of ['m1', 'm2', 'm2']) await sink.send(delivery({ mlflow_run_id: id }), [item!], never);
  const batches = place.asked.filter(({ url }) => url.endsWith('log-batch'));
  expect(batches.map(({ body }) => JSON.parse(body.toString()).run_id)).toEqual(['m1', 'm2', 'm2']);
});

describe('an answer', () => {
  it.each<[string, [number, string], string]>([
    ['log-batch', [200, '<html>Log in</html>'], 'retry'],
    ['log-batch', [503, ''], 'retry'],
    ['log-batch', [413, 'too large'], 'poison'],
    ['log-batch', [400, '{"error_code":"INVALID_PARAMETER_VALUE","message":"no"}'], 'poison'],
    ['log-batch', [400, '{"error_code":"BAD_REQUEST","message":"(sqlite3.IntegrityError) UNIQUE"}'], 'retry'],
    ['log-batch', [404, '{"error_code":"RESOURCE_DOES_NOT_EXIST","message":"no"}'], 'gone'],
    ['log-batch', [404, '<h1>Not Found</h1>'], 'refused'],
    ['log-batch', [403, 'Invalid Host header'], 'refused'],
    ['get', [200, '<html>Log in</html>'], 'retry'],
    ['get', [200, '{}'], 'retry'],
    ['get', [200, JSON.stringify({ run: { info: { ...info, lifecycle_stage: 'deleted' } } })], 'gone'],
  ])('of %s that is %j means %s', async (path, answer, verdict) => {
    says[path] = answer;
    expect((await refusal(send('metrics'))).verdict).toBe(verdict);
  });

  it('about a run is read to where its figures begin', async () => {
    place.answer = ({ url }, response) => {
      if (!url.includes('runs/get')) return void response.end('{}');
      // As MLflow writes it; the figures never end.
      response.write(`{\n  "run": {\n    "info": ${JSON.stringify(info)},\n "data": {"metrics": [`);
      response.write('{"key": "info", "value": 1},'.repeat(10_000));
    };
    await send('tags');
  });

  it('that a document is missing or changed since says that it never comes', async () => {
    const missing = Object.assign(new Error('ENOENT'), { code: 'ENOENT' });
    for (const [readFile, verdict] of [
      [() => Promise.reject(missing), 'poison'],
      [() => Promise.reject(new Error('EIO')), 'retry'],
      [() => Promise.resolve(Buffer.from('other')), 'poison'],
    ] as const) {
      const other = sinkWith({ readFile });
      expect((await refusal(other.send(delivery(), items('artifact').slice(0, 1), never))).verdict).toBe(
        verdict,
      );
      other.close();
    }
  });
});

describe('params', () => {
  const params = [
    { key: 'a', value: '1' },
    { key: 'b', value: '2' },
  ];
  const item = { id: 1, stage: 1, kind: 'params', body: JSON.stringify({ params }) };
  const batches = () =>
    place.asked
      .filter(({ url }) => url.endsWith('log-batch'))
      .map(({ body }) => {
        const { run_id: _run, ...batch } = JSON.parse(body.toString());
        return batch;
      });

  it('go together; one that has another value there stays, and a tag has ours', async () => {
    await sink.send(delivery(), [item], never);
    expect(batches()).toEqual([{ params }]);
    place.asked.length = 0;
    place.answer = ({ url, body }, response) => {
      const refused = url.endsWith('log-batch') && body.toString().includes('"key":"b","value":"2"}]');
      const isTag = body.toString().includes('"tags"');
      if (!refused || isTag) return response.writeHead(200).end(JSON.stringify({ run: { info, data: {} } }));
      return response.writeHead(400).end(JSON.stringify({ error_code: 'INVALID_PARAMETER_VALUE' }));
    };
    await sink.send(delivery(), [item], never);
    expect(batches()).toEqual([
      { params },
      { params: [params[0]] },
      { params: [params[1]] },
      { tags: [{ key: 'lezea_monitor.param.b', value: '2' }] },
    ]);
  });

  it('wait for a server that does not answer', async () => {
    says['log-batch'] = [503, ''];
    expect((await refusal(sink.send(delivery(), [item], never))).verdict).toBe('retry');
    expect(batches()).toHaveLength(1);
  });
});

describe('artifacts', () => {
  const withUri = (uri: string) => {
    says.get = [200, JSON.stringify({ run: { info: { ...info, artifact_uri: uri } } })];
  };

  it.each([
    's3://bucket/x',
    'file:///srv/mlruns/0/m1/artifacts',
    '/srv/mlruns/0/m1/artifacts',
    'mlflow-artifacts://evil.example:80/0/m1/artifacts',
    'https://user:secret@files.example/x?sig=secret',
  ])('at %s are for the client to bring', async (uri) => {
    withUri(uri);
    const error = await refusal(send('artifact'));
    expect(error.verdict).toBe('elsewhere');
    expect(error.message).not.toContain('secret');
    expect(place.asked.some(({ method }) => method === 'PUT')).toBe(false);
  });

  it('are brought to the server where their address names it', async () => {
    for (const uri of [
      `mlflow-artifacts://${new URL(place.address).host}/0/m1/a b`,
      'mlflow-artifacts:///0/m1/a b',
    ]) {
      withUri(uri);
      place.asked.length = 0;
      const fresh = sinkWith({});
      await fresh.send(delivery(), items('artifact').slice(0, 1), never);
      fresh.close();
      const put = place.asked.find(({ method }) => method === 'PUT')!;
      expect(put.url).toBe('/api/2.0/mlflow-artifacts/artifacts/0/m1/a%20b/resources/summary.json');
    }
  });
});

describe('credentials', () => {
  it.each([
    [{ username: 'a', password: 'b', token: 't' }, `Basic ${Buffer.from('a:b').toString('base64')}`],
    [{ username: 'a', token: 't' }, 'Bearer t'],
    [{}, undefined],
  ])('%j go as %s', async (credentials, authorization) => {
    sink.close();
    sink = sinkWith({ credentials });
    await send('metrics');
    expect(place.asked.at(-1)!.headers.authorization).toBe(authorization);
  });
});

describe('an object in a long text', () => {
  it.each<[string, object | undefined]>([
    ['{"run": {"info": {"a": "}\\"{"}, "data"', { a: '}"{' }],
    ['{"note": "\\"info\\": {}", "info" : {"b": 1}}', { b: 1 }],
    ['{"info": {"a": "cut of', undefined],
    ['{"info": [1]}', undefined],
    ['{}', undefined],
  ])('%s', (text, found) => {
    expect(objectNamed(text, 'info')).toEqual(found);
  });
});

it.each([
  ['create', '{}'],
  ['metrics', '{"metrics":5}'],
  ['metrics', '{"metrics":[{"key":"a","value":"1","timestamp":1,"step":1}]}'],
  ['artifact', '{"path":["x"],"bytes":1,"sha256":""}'],
  ['merge', 'null'],
  ['tags', '{"tags":{}}'],
  ['end', '{"status":"DELETED","end_time":1}'],
  ['metrics', 'no JSON'],
])('an item of somebody’s making that is none is never sent: %s %s', async (kind, body) => {
  const bad: Item = { id: 99, stage: 1, kind, body };
  const good = items('metrics').slice(0, 1);
  expect(sink.together(delivery(), [...good, bad])).toBe(1);
  expect(sink.split(bad)).toEqual([]);
  const error = await refusal(sink.send(delivery(), [bad], never));
  expect(error.verdict).toBe('poison');
  expect(place.asked.filter(({ method }) => method !== 'GET')).toEqual([]);
});
