// The HTTP server with real requests: routes, guard, limits, retries, compression.

import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { connect, createServer } from 'node:net';
import { gunzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DEFAULT_HTTP_LIMITS, type HttpDeps, type HttpHandle, startHttp } from '../../../src/http/server.js';
import { createLogger } from '../../../src/log.js';
import { ExpositionWriter } from '../../../src/metrics/encoder.js';
import { AgentRegistry } from '../../../src/metrics/registry.js';
import { FakeStore } from '../metrics/fake-runs.js';
import { parseExposition } from '../metrics/parse-exposition.js';

let store: FakeStore;
let lines: { level: string; msg: string; address?: string }[];
const handles: HttpHandle[] = [];

beforeEach(() => {
  store = new FakeStore();
  lines = [];
});

afterEach(async () => {
  await Promise.all(handles.splice(0).map((handle) => handle.close()));
});

async function serve(options: Partial<HttpDeps> = {}): Promise<{ handle: HttpHandle; port: number }> {
  const handle = await startHttp({
    listen: '127.0.0.1:0',
    store,
    showRuns: true,
    allowedHosts: () => ['node7.lab'],
    registry: new AgentRegistry(),
    log: createLogger({ level: 'info', destination: { write: (line) => lines.push(JSON.parse(line)) } }),
    render: async (format) => {
      const writer = new ExpositionWriter(format);
      writer.header({ name: 'lezea_x_total', type: 'counter', help: 'x'.repeat(2000) });
      writer.floatSample('lezea_x_total', Buffer.from(' '), 1);
      return writer.finish();
    },
    node: () => ({ node: 'n' }),
    health: () => ({ status: 'ok' }),
    notReady: () => undefined,
    summary: async ({ runId: id, attempt }) =>
      Buffer.from(JSON.stringify({ schema: 'lezea.resources/v1', run: { id, attempt } })),
    ...options,
  });
  handles.push(handle);
  return { handle, port: Number(handle.address?.split(':').at(-1)) };
}

interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  body: Buffer;
  json(): Record<string, unknown>;
}

function ask(
  port: number,
  path: string,
  headers: Record<string, string> = {},
  method = 'GET',
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asked = httpRequest(
      { host: '127.0.0.1', port, path, headers, method, agent: false },
      (response) => {
        const parts: Buffer[] = [];
        response.on('data', (part: Buffer) => parts.push(part));
        response.on('end', () => {
          const body = Buffer.concat(parts);
          const json = () => JSON.parse(body.toString()) as Record<string, unknown>;
          resolve({ status: response.statusCode ?? 0, headers: response.headers, body, json });
        });
      },
    );
    asked.on('error', reject);
    asked.end();
  });
}

/** Sends raw bytes and gives back everything until the server hangs up, and after how many ms. */
function raw(port: number, bytes: string): Promise<{ text: string; afterMs: number }> {
  return new Promise((resolve, reject) => {
    const begun = performance.now();
    const parts: Buffer[] = [];
    const socket = connect(port, '127.0.0.1', () => socket.write(bytes));
    socket.on('data', (part) => parts.push(part));
    socket.on('error', reject);
    socket.on('close', () =>
      resolve({ text: Buffer.concat(parts).toString(), afterMs: performance.now() - begun }),
    );
  });
}

describe('routes', () => {
  it('answers /metrics in the format that is asked for', async () => {
    const { port } = await serve();
    const text = await ask(port, '/metrics');
    expect(text.headers['content-type']).toBe('text/plain; version=0.0.4; charset=utf-8');
    parseExposition(text.body.toString(), 'text');
    const accept =
      'application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1';
    const open = await ask(port, '/metrics', { accept });
    expect(open.headers['content-type']).toBe('application/openmetrics-text; version=1.0.0; charset=utf-8');
    expect(open.headers.vary).toContain('Accept');
    parseExposition(open.body.toString(), 'openmetrics');
  });

  it('compresses for those who take gzip, and only for those', async () => {
    const { port } = await serve();
    const plain = await ask(port, '/metrics');
    const packed = await ask(port, '/metrics', { 'accept-encoding': 'gzip, deflate' });
    expect(plain.headers['content-encoding']).toBeUndefined();
    expect(packed.headers['content-encoding']).toBe('gzip');
    expect(gunzipSync(packed.body)).toEqual(plain.body);
    const refused = await ask(port, '/metrics', { 'accept-encoding': 'gzip;q=0, *' });
    expect(refused.headers['content-encoding']).toBeUndefined();
  });

  it('answers health, readiness and node', async () => {
    let reason: string | undefined = 'the first sample is not taken';
    const { port } = await serve({ notReady: () => reason });
    expect((await ask(port, '/healthz')).json()).toEqual({ status: 'ok' });
    const early = await ask(port, '/readyz');
    expect([early.status, early.json()]).toEqual([503, { error: { code: 'not_ready', message: reason } }]);
    reason = undefined;
    expect((await ask(port, '/readyz')).status).toBe(200);
    expect((await ask(port, '/api/v1/node')).json()).toEqual({ node: 'n' });
  });

  it('lists runs, gives the document and the usage of one', async () => {
    const run = store.add({ runId: 'demo', experiment: 'e' });
    run.spend('tasker:a', { cpu_seconds: 1_000_000_000 });
    run.spend('tasker:a/network:p', { cpu_seconds: 2_000_000_000 });
    run.spend(null, { cpu_seconds: 500_000_000 });
    const { port } = await serve();
    expect((await ask(port, '/api/v1/runs')).json()).toMatchObject({
      runs: [{ run_id: 'demo', experiment: 'e', status: 'RUNNING', owner_uid: 1000, processes: 1 }],
    });
    expect((await ask(port, '/api/v1/runs/demo')).json()).toMatchObject({ run: { id: 'demo' } });
    expect((await ask(port, '/api/v1/runs/demo/usage')).json()).toEqual({
      run_id: 'demo',
      attempt: 1,
      scope: null,
      status: 'RUNNING',
      self: { cpu_seconds: 0.5 },
      inclusive: { cpu_seconds: 3.5 },
      unattributed: { cpu_seconds: 0.5 },
    });
    const scope = (await ask(port, '/api/v1/runs/demo/usage?scope=tasker%3Aa')).json();
    expect(scope).toMatchObject({ self: { cpu_seconds: 1 }, inclusive: { cpu_seconds: 3 } });
  });

  it('tells owners and attempts apart', async () => {
    store.add({ runId: 'same', uid: 1 });
    store.add({ runId: 'same', uid: 2 });
    store.add({ runId: 'same', uid: 2, attempt: 2 });
    const { port } = await serve();
    const ambiguous = await ask(port, '/api/v1/runs/same');
    expect([ambiguous.status, ambiguous.json()]).toMatchObject([409, { error: { code: 'ambiguous' } }]);
    expect((await ask(port, '/api/v1/runs/same?uid=2')).json()).toMatchObject({ run: { attempt: 2 } });
    expect((await ask(port, '/api/v1/runs/same?uid=2&attempt=1')).json()).toMatchObject({
      run: { attempt: 1 },
    });
    expect((await ask(port, '/api/v1/runs/same?uid=3')).status).toBe(404);
  });

  it('answers what is wrong as JSON', async () => {
    store.add({ runId: 'demo' });
    const { port } = await serve({
      node: () => {
        throw new Error('a secret path');
      },
    });
    const cases: [string, number, string][] = [
      ['/nothing', 404, 'not_found'],
      ['/api/v1/runs/none', 404, 'unknown_run'],
      ['/api/v1/runs/demo/usage?scope=tasker:x', 404, 'unknown_scope'],
      ['/api/v1/runs/demo/usage?scope=a&scope=b', 400, 'invalid_params'],
      ['/api/v1/runs?limit=0', 400, 'invalid_params'],
      ['/api/v1/runs/%ff', 400, 'bad_request'],
      ['/api/v1/runs/..%2f..%2fetc', 404, 'unknown_run'],
      ['/api/v1/node', 500, 'internal'],
    ];
    for (const [path, status, code] of cases) {
      const answer = await ask(port, path);
      expect([path, answer.status, (answer.json().error as { code: string }).code]).toEqual([
        path,
        status,
        code,
      ]);
      expect(answer.body.toString()).not.toContain('secret');
    }
    expect(lines.filter((line) => line.msg === 'http request failed')).toHaveLength(1);
  });

  it('hides runs in system mode', async () => {
    store.add({ runId: 'demo' });
    const { port } = await serve({ showRuns: false });
    for (const path of ['/api/v1/runs', '/api/v1/runs/demo', '/api/v1/runs/demo/usage']) {
      const answer = await ask(port, path);
      expect([answer.status, answer.body.toString().includes('demo')]).toEqual([403, false]);
    }
    expect((await ask(port, '/metrics')).status).toBe(200);
  });

  it('answers HEAD without a body', async () => {
    const { port } = await serve();
    const answer = await ask(port, '/metrics', {}, 'HEAD');
    expect(answer.status).toBe(200);
    expect(answer.body).toHaveLength(0);
    expect(Number(answer.headers['content-length'])).toBeGreaterThan(2000);
  });
});

describe('guard', () => {
  const routes = ['/metrics', '/healthz', '/readyz', '/api/v1/node', '/api/v1/runs', '/nothing'];

  it('refuses a Host that anyone could have made up, on every route', async () => {
    const { port } = await serve();
    for (const path of routes) {
      for (const host of [
        'evil.example',
        `evil.example:${port}`,
        'localhost.evil.example',
        '0x7f.1',
        '.',
        'a b',
      ]) {
        const answer = await ask(port, path, { host });
        expect([path, host, answer.status]).toEqual([path, host, 403]);
      }
    }
  });

  it('takes localhost, IP addresses and configured names', async () => {
    const { port } = await serve();
    for (const host of [
      'localhost',
      `localhost:${port}`,
      'LOCALHOST.',
      '10.1.2.3:80',
      '[::1]:10470',
      'node7.lab:1',
    ]) {
      expect([host, (await ask(port, '/healthz', { host })).status]).toEqual([host, 200]);
    }
  });

  it('refuses a foreign Origin, and every odd one, on every route', async () => {
    const { port } = await serve();
    const own = `http://127.0.0.1:${port}`;
    for (const path of routes) {
      for (const origin of [
        'http://evil.example',
        'null',
        `http://127.0.0.1:${port + 1}`,
        `${own}.evil.example`,
        '',
      ]) {
        expect([origin, (await ask(port, path, { origin })).status]).toEqual([origin, 403]);
      }
    }
    expect((await ask(port, '/healthz', { origin: own })).status).toBe(200);
  });

  it('refuses every method but GET and HEAD', async () => {
    const { port } = await serve();
    for (const method of ['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS']) {
      for (const path of routes) {
        const answer = await ask(port, path, {}, method);
        expect([method, path, answer.status, answer.headers.allow]).toEqual([method, path, 405, 'GET, HEAD']);
      }
    }
  });

  it('sends a strict policy and does not say what it runs on', async () => {
    const { port } = await serve();
    const { headers } = await ask(port, '/healthz');
    expect(headers['content-security-policy']).toBe(
      "default-src 'none';base-uri 'none';form-action 'none';frame-ancestors 'none'",
    );
    expect(headers['x-content-type-options']).toBe('nosniff');
    expect(headers['cross-origin-resource-policy']).toBe('same-origin');
    expect(headers['access-control-allow-origin']).toBeUndefined();
    expect(headers['x-powered-by']).toBeUndefined();
  });

  it('counts what it refuses', async () => {
    const registry = new AgentRegistry();
    const { port } = await serve({ registry });
    await ask(port, '/healthz', { host: 'evil.example' });
    await ask(port, '/healthz', {}, 'POST');
    const writer = new ExpositionWriter('text');
    await registry.write(writer);
    const text = writer.finish().toString();
    expect(text).toContain('lezea_agent_http_refusals_total{reason="host"} 1\n');
    expect(text).toContain('lezea_agent_http_refusals_total{reason="method"} 1\n');
    expect(text).toContain('lezea_agent_http_responses_total{code="403"} 1\n');
  });
});

async function counted(registry: AgentRegistry, reason: string): Promise<number> {
  const writer = new ExpositionWriter('text');
  await registry.write(writer);
  const line = new RegExp(`http_refusals_total\\{reason="${reason}"\\} (\\d+)`);
  return Number(line.exec(writer.finish().toString())?.[1] ?? 0);
}

describe('limits', () => {
  it('refuses a head that is too big', async () => {
    const { port } = await serve();
    const { text } = await raw(
      port,
      `GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: ${'x'.repeat(9000)}\r\n\r\n`,
    );
    expect(text).toMatch(/^HTTP\/1\.1 431 /);
  });

  it('hangs up on a head that never ends', async () => {
    const limits = { ...DEFAULT_HTTP_LIMITS, headersTimeoutMs: 100, requestTimeoutMs: 200, checkMs: 20 };
    const { port } = await serve({ limits });
    const { text, afterMs } = await raw(port, 'GET /metrics HTTP/1.1\r\nHost: loc');
    expect(text).toMatch(/^HTTP\/1\.1 408 /);
    expect(afterMs).toBeLessThan(5000);
  });

  it('hangs up on a client that says nothing', async () => {
    const { port } = await serve({ limits: { ...DEFAULT_HTTP_LIMITS, idleTimeoutMs: 50 } });
    expect((await raw(port, '')).text).toBe('');
  });

  it('gives the place of a connection that asks nothing to one that does, and counts it', async () => {
    const registry = new AgentRegistry();
    const { port } = await serve({ registry, limits: { ...DEFAULT_HTTP_LIMITS, maxConnections: 1 } });
    const first = connect(port, '127.0.0.1');
    await new Promise((resolve) => first.once('connect', resolve));
    const closed = new Promise((resolve) => first.once('close', resolve));
    expect((await ask(port, '/healthz')).status).toBe(200);
    await closed;
    expect(await counted(registry, 'connections')).toBe(1);
  });

  it('takes no more connections than it is told while all are being answered', async () => {
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    let heard: () => void = () => undefined;
    const asked = new Promise<void>((resolve) => {
      heard = resolve;
    });
    const summary = async () => {
      heard();
      await held;
      return Buffer.from('{}');
    };
    store.add({ runId: 'slow' });
    const registry = new AgentRegistry();
    const limits = { ...DEFAULT_HTTP_LIMITS, maxConnections: 1 };
    const { port } = await serve({ registry, summary, limits });
    const slow = ask(port, '/api/v1/runs/slow');
    await asked;
    await expect(ask(port, '/healthz')).rejects.toThrow();
    release();
    expect((await slow).status).toBe(200);
    expect(await counted(registry, 'connections')).toBeGreaterThan(0);
  });

  it('counts heads that are too big, never end or cannot be read', async () => {
    const registry = new AgentRegistry();
    const limits = { ...DEFAULT_HTTP_LIMITS, headersTimeoutMs: 100, requestTimeoutMs: 200, checkMs: 20 };
    const { port } = await serve({ registry, limits });
    await raw(port, `GET / HTTP/1.1\r\nHost: localhost\r\nX: ${'x'.repeat(9000)}\r\n\r\n`);
    await raw(port, 'GET / HTTP/1.1\r\nHost: loc');
    await raw(port, 'nonsense\r\n\r\n');
    for (const reason of ['head', 'timeout', 'malformed']) expect(await counted(registry, reason)).toBe(1);
  });

  it('ends a connection that asks again before it was answered', async () => {
    const registry = new AgentRegistry();
    const { port } = await serve({ registry });
    const { text } = await raw(port, 'GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n'.repeat(5));
    expect(text).toBe('');
    expect(await counted(registry, 'pipelined')).toBe(1);
  });

  it('puts a page together once for all who ask within a moment', async () => {
    let made = 0;
    const { port } = await serve({
      render: async () => {
        made += 1;
        return Buffer.from(`${'x'.repeat(2000)}${made}\n`);
      },
    });
    const gzip = { 'accept-encoding': 'gzip' };
    const pages = await Promise.all(Array.from({ length: 20 }, () => ask(port, '/metrics', gzip)));
    expect(new Set(pages.map(({ body }) => gunzipSync(body).toString())).size).toBe(made);
    expect(made).toBeLessThan(10);
    await expect
      .poll(async () => (await ask(port, '/metrics')).body.toString())
      .toMatch(new RegExp(`x${made + 1}\n$`));
  });

  it('wants a Host from HTTP/1.1 and ends broken requests', async () => {
    const { port } = await serve();
    expect((await raw(port, 'GET /metrics HTTP/1.1\r\n\r\n')).text).toMatch(/^HTTP\/1\.1 400 /);
    expect((await raw(port, 'GET /metrics HTTP/1.0\r\n\r\n')).text).toMatch(/^HTTP\/1\.1 403 /);
    expect((await raw(port, 'nonsense\r\n\r\n')).text).toMatch(/^HTTP\/1\.1 400 /);
  });
});

describe('an address that is taken', () => {
  it('is a warning and a retry, later and later, until it is free', async () => {
    const squatter = createServer();
    await new Promise<void>((resolve) => squatter.listen(0, '127.0.0.1', resolve));
    const { port } = squatter.address() as { port: number };
    const planned: { callback: () => void; delayMs: number }[] = [];
    let heard: (address: string) => void = () => undefined;
    const listening = new Promise<string>((resolve) => {
      heard = resolve;
    });
    const later: HttpDeps['later'] = (callback, delayMs) => {
      planned.push({ callback, delayMs });
      return () => undefined;
    };
    const { handle } = await serve({
      listen: `127.0.0.1:${port}`,
      later,
      listening: (address) => heard(address),
    });
    expect(handle.address).toBeNull();
    expect(lines.map((line) => line.level)).toEqual(['warn']);

    for (let tries = 1; tries < 8; tries++) {
      planned[tries - 1]?.callback();
      await expect.poll(() => planned.length).toBe(tries + 1);
    }
    expect(planned.map((plan) => plan.delayMs)).toEqual([
      1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000,
    ]);
    expect(lines).toHaveLength(1);

    await new Promise((resolve) => squatter.close(resolve));
    planned[7]?.callback();
    expect(await listening).toBe(`127.0.0.1:${port}`);
    expect(handle.address).toBe(`127.0.0.1:${port}`);
    expect((await ask(port, '/healthz')).status).toBe(200);
  });

  it('can be closed while it waits', async () => {
    const { handle } = await serve({ listen: '192.0.2.1:80', later: () => () => undefined });
    expect(handle.address).toBeNull();
    await handle.close();
  });

  it('may be IPv6', async () => {
    const { handle } = await serve({ listen: '[::1]:0' });
    const listens = /^\[::1\]:\d+$/.test(handle.address ?? '');
    expect(listens || lines.some((line) => line.level === 'warn')).toBe(true);
  });
});
