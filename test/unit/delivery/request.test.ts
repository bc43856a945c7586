// One request against a real server on loopback: what comes back, what is never sent or read, and how it fails.

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { SendError } from '../../../src/delivery/model.js';
import { HttpClient, type HttpClientOptions, type HttpRequest } from '../../../src/delivery/request.js';
import { temporaryFolder } from '../support/bench.js';
import { type HttpPlace, startPlace } from '../support/http-place.js';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function place(...tls: Parameters<typeof startPlace>): Promise<HttpPlace> {
  const started = await startPlace(...tls);
  cleanups.push(() => started.close());
  return started;
}

function client(options: Partial<HttpClientOptions> = {}): HttpClient {
  const made = new HttpClient({ timeoutMs: 5000, userAgent: 'test/1', ...options });
  cleanups.push(() => made.close());
  return made;
}

const never = new AbortController().signal;
const get = (url: string, more: Partial<HttpRequest> = {}): HttpRequest => ({
  method: 'GET',
  url,
  repeatable: true,
  ...more,
});

async function failureOf(done: Promise<unknown>): Promise<SendError> {
  const error = await done.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(SendError);
  return error as SendError;
}

describe('a request', () => {
  it('sends what it was given and keeps the connection', async () => {
    const server = await place();
    const http = client();
    const ports = new Set<unknown>();
    server.answer = (_asked, response) => {
      ports.add(response.socket?.remotePort);
      response.writeHead(201, { 'x-a': 'b' }).end('done');
    };
    const post = { method: 'POST', body: 'é', headers: { 'content-type': 'text/plain' } } as const;
    for (let n = 0; n < 3; n++) {
      const answer = await http.request(get(`${server.address}/prefix/a?b=c`, post), never);
      expect([answer.status, answer.headers['x-a'], answer.body.toString()]).toEqual([201, 'b', 'done']);
    }
    expect(ports.size).toBe(1);
    expect(server.asked[0]).toMatchObject({ method: 'POST', url: '/prefix/a?b=c', body: Buffer.from('é') });
    expect(server.asked[0]!.headers).toMatchObject({ 'user-agent': 'test/1', 'content-length': '2' });
  });

  it('does not follow a redirect', async () => {
    const other = await place();
    const server = await place();
    server.answer = (_asked, response) => response.writeHead(307, { location: other.address }).end();
    const answer = await client().request(get(server.address, { headers: { authorization: 's' } }), never);
    expect(answer.status).toBe(307);
    expect(other.asked).toEqual([]);
  });

  it('reads a bounded answer, or its beginning', async () => {
    const server = await place();
    server.answer = (_asked, response) => {
      for (let n = 0; n < 64; n++) response.write('x'.repeat(1024));
      response.end();
    };
    const error = await failureOf(client().request(get(server.address, { maxBytes: 4000 }), never));
    expect(error).toMatchObject({
      verdict: 'retry',
      message: expect.stringContaining('longer than 4000 bytes'),
    });
    const answer = await client().request(get(server.address, { headBytes: 10 }), never);
    expect(answer.body.length).toBeGreaterThanOrEqual(10);
    expect(answer.body.length).toBeLessThan(64 * 1024);
  });

  it('is sent again when the kept connection was closed, if that does no harm', async () => {
    const server = await place();
    const http = client();
    let left = 0;
    server.answer = (_asked, response) => {
      if (left-- > 0) response.socket?.resetAndDestroy();
      else response.end('ok');
    };
    await http.request(get(server.address), never);
    left = 1;
    expect((await http.request(get(server.address), never)).body.toString()).toBe('ok');
    left = 1;
    const error = await failureOf(http.request(get(server.address, { repeatable: false }), never));
    expect(error.verdict).toBe('retry');
    expect(server.asked).toHaveLength(4);
  });
});

describe('a request without an answer', () => {
  it('says what was not there, without the query', async () => {
    const server = await startPlace();
    await server.close();
    const error = await failureOf(client().request(get(`${server.address}/a?token=secret`), never));
    expect(error.verdict).toBe('retry');
    expect(error.message).toContain(`GET ${server.address}/a: connect ECONNREFUSED`);
    expect(error.message).not.toContain('secret');
  });

  it('is given up after its time, and when it is told to', async () => {
    const server = await place();
    server.answer = () => undefined; // Never.
    const slow = await failureOf(client({ timeoutMs: 50 }).request(get(server.address), never));
    expect(slow).toMatchObject({
      verdict: 'retry',
      message: expect.stringContaining('no answer within 50 ms'),
    });
    const stop = new AbortController();
    const stopped = failureOf(client().request(get(server.address), stop.signal));
    stop.abort();
    expect((await stopped).message).toContain('stopped before it was answered');
    expect((await failureOf(client().request(get(server.address), stop.signal))).verdict).toBe('retry');
  });

  it('is given up sooner when there is no connection', async () => {
    // Speaks no TLS: the connection is there, and never ready.
    const mute = createServer();
    await new Promise<void>((resolve) => mute.listen(0, '127.0.0.1', resolve));
    cleanups.push(() => mute.close());
    const { port } = mute.address() as { port: number };
    const http = client({ connectTimeoutMs: 50 });
    const error = await failureOf(http.request(get(`https://127.0.0.1:${port}`), never));
    expect(error.message).toContain('no connection within 50 ms');
  });

  it('is one that was cut off', async () => {
    const server = await place();
    server.answer = (_asked, response) => {
      response.writeHead(200, { 'content-length': 100 });
      response.write('half', () => response.socket?.destroy());
    };
    expect((await failureOf(client().request(get(server.address), never))).verdict).toBe('retry');
  });
});

describe('TLS', () => {
  const { path, remove } = temporaryFolder();
  const [key, cert] = [join(path, 'key.pem'), join(path, 'cert.pem')];
  const subject = ['-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1'];
  const made = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-keyout', key, '-out', cert];
  execFileSync('openssl', [...made, ...subject], { stdio: 'ignore' });
  const identity = { key: readFileSync(key), cert: readFileSync(cert) };
  remove();

  it('trusts the authorities of the CA file, and any only when told to', async () => {
    const folder = temporaryFolder();
    cleanups.push(() => folder.remove());
    const caFile = join(folder.path, 'ca.pem');
    const server = await place(identity);
    const unknown = await failureOf(client().request(get(server.address), never));
    expect(unknown).toMatchObject({
      verdict: 'retry',
      message: expect.stringMatching(/self-signed certificate.*\(ca_file\)/),
    });
    expect((await client({ insecureTls: true }).request(get(server.address), never)).status).toBe(200);
    const http = client({ caFile });
    expect((await failureOf(http.request(get(server.address), never))).message).toMatch(/CA file: ENOENT/);
    // It is there the next time.
    await import('node:fs/promises').then(({ writeFile }) => writeFile(caFile, identity.cert));
    expect((await http.request(get(server.address), never)).status).toBe(200);
  });
});
