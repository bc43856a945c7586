// Who is let in by a web configuration: real TLS clients, real passwords, real floods.

import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { request as httpsRequest, type RequestOptions } from 'node:https';
import { connect as connectTcp, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { hashSync } from 'bcryptjs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { BasicAuth } from '../../../src/http/basic-auth.js';
import { DEFAULT_HTTP_LIMITS, type HttpHandle, startHttp } from '../../../src/http/server.js';
import { WebConfigFile } from '../../../src/http/web-config-file.js';
import { createLogger } from '../../../src/log.js';
import { ExpositionWriter } from '../../../src/metrics/encoder.js';
import { AgentRegistry } from '../../../src/metrics/registry.js';
import { FakeStore } from '../metrics/fake-runs.js';
import { parseExposition } from '../metrics/parse-exposition.js';
import { Authority, type Pair } from '../support/certificates.js';

const PASSWORD = 'correct horse: battery';
const HASH = hashSync(PASSWORD, 4);
const OTHER_HASH = hashSync('other', 4);

let folder: string;
let authority: Authority;
let stranger: Authority;
let server: Pair;
let second: Pair;
let prometheus: Pair;
let impostor: Pair;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'lezea-web-access-'));
  authority = new Authority(folder);
  stranger = new Authority(folder, 'stranger');
  server = authority.issue('server', 'DNS:localhost,IP:127.0.0.1');
  second = authority.issue('second', 'DNS:localhost,IP:127.0.0.1');
  prometheus = authority.issue('prometheus', 'DNS:prometheus.lab,URI:spiffe://lab/prometheus');
  impostor = stranger.issue('impostor', 'DNS:prometheus.lab');
});

afterAll(() => rmSync(folder, { recursive: true }));

let handle: HttpHandle | undefined;
let registry: AgentRegistry;
let now: number;
const sockets: Socket[] = [];

beforeEach(() => {
  registry = new AgentRegistry();
  now = 0;
});

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await handle?.close();
});

function write(text: string): string {
  const path = join(folder, 'web.yml');
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
  return path;
}

async function serve(text: string, limits = DEFAULT_HTTP_LIMITS): Promise<number> {
  const log = createLogger({ level: 'silent' });
  const web = new WebConfigFile(write(text), log, () => now);
  handle = await startHttp({
    listen: '127.0.0.1:0',
    web: () => web.current,
    store: new FakeStore(),
    showRuns: true,
    allowedHosts: () => [],
    registry,
    log,
    render: async () => Buffer.from('lezea_x 1\n'),
    node: () => ({ node: 'n' }),
    health: () => ({ status: 'ok' }),
    notReady: () => undefined,
    summary: async () => Buffer.from('{}'),
    limits,
  });
  return Number(handle.address?.split(':').at(-1));
}

/** What changed is seen at the next look. */
const rewrite = (text: string) => {
  write(text);
  now += 1000;
};

interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  body: string;
}

function ask(port: number, options: RequestOptions & { tls?: boolean; user?: string } = {}): Promise<Answer> {
  const { tls = false, user, ...rest } = options;
  const send = tls ? httpsRequest : httpRequest;
  const all = { host: '127.0.0.1', port, path: '/metrics', agent: false, auth: user, ...rest };
  return new Promise((resolve, reject) => {
    const sent = send(tls ? { ca: authority.ca, ...all } : all, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.on('end', () => {
        const body = Buffer.concat(chunks).toString();
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body });
      });
      response.on('error', reject);
    });
    sent.on('error', reject);
    sent.end();
  });
}

async function refusals(reason: string): Promise<number> {
  const writer = new ExpositionWriter('text');
  await registry.write(writer);
  const { samples } = parseExposition(writer.finish().toString(), 'text');
  const counts = samples.filter(({ name }) => name === 'lezea_agent_http_refusals_total');
  return Number(counts.find(({ labels }) => labels.reason === reason)?.value ?? 0);
}

const TLS = `tls_server_config:
  cert_file: server.pem
  key_file: server.key
`;
const VERIFIED = `${TLS}  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: authority.pem
`;

describe('users', () => {
  it('are let in with their password, on every route; others get 401', async () => {
    const port = await serve(`basic_auth_users: { alice: '${HASH}', bob: '${OTHER_HASH}' }`);
    for (const path of ['/metrics', '/healthz', '/api/v1/node', '/api/v1/runs'])
      expect((await ask(port, { path, user: `alice:${PASSWORD}` })).status).toBe(200);
    for (const user of [
      undefined,
      'alice:',
      `bob:${PASSWORD}`,
      `mallory:${PASSWORD}`,
      `:${PASSWORD}`,
      'alice:Correct',
    ]) {
      for (const path of ['/metrics', '/api/v1/runs', '/nowhere']) {
        const { status, headers, body } = await ask(port, { path, user });
        expect(status, `${user} ${path}`).toBe(401);
        expect(headers['www-authenticate']).toMatch(/^Basic realm=/);
        expect(JSON.parse(body).error.code).toBe('unauthorized');
      }
    }
    for (const authorization of [
      '',
      'Basic',
      'Basic !',
      'Bearer abc',
      `basic ${Buffer.from('alice').toString('base64')}`,
    ])
      expect((await ask(port, { headers: { authorization } })).status).toBe(401);
    expect(await refusals('unauthorized')).toBe(23);
  });

  it('come and go while the server runs', async () => {
    const port = await serve(`basic_auth_users: { alice: '${HASH}' }`);
    expect((await ask(port, { user: `alice:${PASSWORD}` })).status).toBe(200);
    rewrite(`basic_auth_users: { alice: '${OTHER_HASH}' }`);
    expect((await ask(port, { user: `alice:${PASSWORD}` })).status).toBe(401);
    expect((await ask(port, { user: 'alice:other' })).status).toBe(200);
    rewrite('basic_auth_users: { alice: broken }');
    expect((await ask(port, { user: 'alice:other' })).status).toBe(200);
    rewrite('');
    expect((await ask(port)).status).toBe(401);
  });

  it('wait behind who guesses, but for a bounded time and never twice', async () => {
    const users = new Map([['alice', 'hash']]);
    const compared: string[] = [];
    let rested = 0;
    let wake: (() => void) | undefined;
    const auth = new BasicAuth({
      compare: async (password) => compared.push(password) > 0 && password === 'right',
      rest: (ms) => {
        rested += ms;
        return new Promise((resolve) => (wake = resolve));
      },
    });
    const say = (password: string, user = 'alice') =>
      auth.admits(`Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`, users);
    expect(await say('right')).toBe('admitted');
    expect(rested).toBeGreaterThan(0);
    const guesses = Array.from({ length: 40 }, (_, i) => say(`guess ${i}`));
    expect(await say('right')).toBe('admitted'); // not compared again
    expect(await guesses[39]).toBe('busy');
    expect(compared).toEqual(['right']); // it rests
    for (let i = 0; i < 16; i++) {
      wake?.();
      expect(await guesses[i]).toBe('refused');
    }
    expect(compared).toHaveLength(17);
    expect((await Promise.all(guesses)).filter((answer) => answer === 'busy')).toHaveLength(24);
    wake?.();
    const unknown = say('right', 'mallory');
    expect(await unknown).toBe('refused');
    expect(compared.at(-1)).toBe('right'); // as long as for one who is known
  });

  it('are remembered over any number of guesses', async () => {
    const users = new Map([['alice', 'hash']]);
    let compared = 0;
    const auth = new BasicAuth({
      compare: async (password) => ++compared > 0 && password === 'right',
      rest: async () => undefined,
    });
    const say = (text: string) =>
      auth.admits(`Basic ${Buffer.from(`alice:${text}`).toString('base64')}`, users);
    expect(await say('right')).toBe('admitted');
    for (let i = 0; i < 300; i++) expect(await say(`guess ${i}`)).toBe('refused');
    expect(await say('right')).toBe('admitted');
    expect(compared).toBe(301);
  });
});

describe('TLS', () => {
  it('shows the certificate, and nothing without it', async () => {
    const port = await serve(TLS);
    expect((await ask(port, { tls: true })).body).toBe('lezea_x 1\n');
    await expect(ask(port, { tls: true, ca: stranger.ca })).rejects.toThrow('unable to verify');
    await expect(ask(port)).rejects.toThrow(/hang up|ECONNRESET/);
    expect(await refusals('handshake')).toBeGreaterThanOrEqual(1);
    await expect(ask(port, { tls: true, maxVersion: 'TLSv1.1', minVersion: 'TLSv1' })).rejects.toThrow();
    expect((await ask(port, { tls: true, maxVersion: 'TLSv1.2' })).status).toBe(200);
  });

  it('takes a new certificate up without a restart; old connections go on', async () => {
    const port = await serve(TLS);
    const shown = async () => {
      const socket = await secure(port);
      return socket.getPeerCertificate().subject.CN;
    };
    expect(await shown()).toBe('server');
    rewrite(TLS.replaceAll('server.', 'second.'));
    expect(await shown()).toBe('second');
    rewrite(TLS.replaceAll('server.', 'nowhere.'));
    expect(await shown()).toBe('second');
    expect(second.cert.equals(server.cert)).toBe(false);
  });

  it('lets in whose certificate the authority has signed, and nobody else', async () => {
    const port = await serve(VERIFIED);
    expect((await ask(port, { tls: true, ...pair(prometheus) })).status).toBe(200);
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      await expect(ask(port, { tls: true, maxVersion })).rejects.toThrow();
      await expect(ask(port, { tls: true, maxVersion, ...pair(impostor) })).rejects.toThrow();
    }
    expect((await ask(port, { tls: true, ...pair(prometheus) })).status).toBe(200);
  });

  it('lets in by the names in the certificate', async () => {
    const port = await serve(`${VERIFIED}  client_allowed_sans: ['spiffe://lab/prometheus']\n`);
    expect((await ask(port, { tls: true, ...pair(prometheus) })).status).toBe(200);
    await expect(ask(port, { tls: true, ...pair(server) })).rejects.toThrow();
    expect(await refusals('client_certificate')).toBe(1);
    rewrite(`${VERIFIED}  client_allowed_sans: ['prometheus']\n`);
    await expect(ask(port, { tls: true, ...pair(prometheus) })).rejects.toThrow();
  });

  it.each([
    ['RequestClientCert', '', [200, 200, 200]],
    ['RequireAnyClientCert', '', [0, 200, 200]],
    ['VerifyClientCertIfGiven', '  client_ca_file: authority.pem\n', [200, 200, 0]],
  ])('%s: without a certificate, with one, with a stranger\u2019s', async (type, ca, expected) => {
    const port = await serve(`${TLS}  client_auth_type: ${type}\n${ca}`);
    const status = (options: object) =>
      ask(port, { tls: true, ...options }).then(
        (answer) => answer.status,
        () => 0,
      );
    const found = [await status({}), await status(pair(prometheus)), await status(pair(impostor))];
    expect(found).toEqual(expected);
  });

  it('takes no session up again: whoever was let in once is verified anew', async () => {
    const port = await serve(TLS);
    const first = await secure(port, { maxVersion: 'TLSv1.2' });
    const again = await secure(port, { maxVersion: 'TLSv1.2', session: first.getSession() });
    expect(again.isSessionReused()).toBe(false);
    const tickets: Buffer[] = [];
    const third = await secure(port);
    third.on('session', (ticket) => tickets.push(ticket));
    third.write('GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await new Promise((resolve) => third.once('data', resolve));
    for (const session of tickets) expect((await secure(port, { session })).isSessionReused()).toBe(false);
  });

  it('has room for a newcomer while others hold connections and say nothing', async () => {
    const port = await serve(TLS, { ...DEFAULT_HTTP_LIMITS, maxConnections: 8 });
    for (let i = 0; i < 12; i++) sockets.push(connectTcp(port, '127.0.0.1').on('error', () => undefined));
    for (let i = 0; i < 12; i++) await secure(port);
    expect((await ask(port, { tls: true })).status).toBe(200);
    expect(await refusals('connections')).toBeGreaterThanOrEqual(16);
  });

  it('closes who does not finish the handshake', async () => {
    const port = await serve(TLS, { ...DEFAULT_HTTP_LIMITS, headersTimeoutMs: 50 });
    const silent = connectTcp(port, '127.0.0.1').on('error', () => undefined);
    sockets.push(silent);
    await expect.poll(() => refusals('handshake')).toBe(1);
    await expect.poll(() => silent.destroyed).toBe(true);
  });
});

describe('rate and headers', () => {
  it('are those of the file', async () => {
    const port = await serve(`rate_limit: { interval: 1h, burst: 3 }
http_server_config: { headers: { X-Frame-Options: deny, Content-Security-Policy: "default-src 'self'" } }`);
    const answers = [];
    for (let i = 0; i < 5; i++) answers.push(await ask(port));
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 429, 429]);
    expect(answers[0]?.headers).toMatchObject({
      'x-frame-options': 'deny',
      'content-security-policy': "default-src 'self'",
    });
    expect(await refusals('rate')).toBe(2);
    rewrite('rate_limit: { interval: 1h, burst: 1 }');
    expect((await ask(port)).status).toBe(200);
    rewrite('');
    for (let i = 0; i < 5; i++) expect((await ask(port)).status).toBe(200);
  });
});

const pair = ({ cert, key }: Pair) => ({ cert, key });

function secure(port: number, options: object = {}): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connectTls({ port, host: '127.0.0.1', ca: authority.ca, ...options }, () =>
      resolve(socket),
    );
    socket.on('error', reject);
    sockets.push(socket);
  });
}
