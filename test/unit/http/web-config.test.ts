// The web configuration file: what it may say, how it is refused, what changes while it is in force.

import { mkdtempSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isAuthenticated, readWebConfig } from '../../../src/http/web-config.js';
import { WebConfigFile } from '../../../src/http/web-config-file.js';
import { createLogger } from '../../../src/log.js';
import { Authority, type Pair } from '../support/certificates.js';

const HASH = '$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG';

let folder: string;
let authority: Authority;
let server: Pair;
let other: Pair;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'lezea-web-config-'));
  authority = new Authority(folder);
  server = authority.issue('server', 'DNS:localhost');
  other = authority.issue('other', 'DNS:localhost');
});

afterAll(() => rmSync(folder, { recursive: true }));

function file(text: string, name = 'web.yml'): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

const read = (text: string) => readWebConfig(file(text));

function problems(text: string): string {
  try {
    read(text);
  } catch (error) {
    return (error as Error).message.replaceAll(`${folder}/`, '');
  }
  throw new Error('it was taken');
}

const TLS = `tls_server_config:
  cert_file: server.pem
  key_file: server.key
`;

describe('a web configuration file', () => {
  it('may be empty', () => {
    for (const text of ['', '---', '{}', 'basic_auth_users: {}'])
      expect(read(text)).toEqual({ users: new Map(), headers: {}, files: [join(folder, 'web.yml')] });
  });

  it('has files beside it, in it, or anywhere', () => {
    const inline = `tls_server_config:
  cert: |
${String(server.cert).replaceAll(/^/gm, '    ')}
  key: |
${String(server.key).replaceAll(/^/gm, '    ')}
`;
    const absolute = TLS.replaceAll(': server', `: ${folder}/server`);
    for (const text of [TLS, inline, absolute]) {
      const { tls } = read(text);
      expect(String(tls?.context.cert).trim()).toBe(String(server.cert).trim());
      expect(tls).toMatchObject({
        clientAuth: 'NoClientCert',
        context: { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.3' },
      });
    }
  });

  it('has everything that exporters take', () => {
    const all = `${TLS}  client_ca_file: authority.pem
  client_auth_type: RequireAndVerifyClientCert
  client_allowed_sans: [prometheus.lab]
  min_version: TLS13
  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305]
  prefer_server_cipher_suites: false
  curve_preferences: [X25519, CurveP256]
http_server_config:
  http2: false
  headers:
    Strict-Transport-Security: max-age=31536000
    X-Frame-Options: deny
basic_auth_users:
  alice: ${HASH}
rate_limit: { interval: 1m30s, burst: 5 }
`;
    const web = read(all);
    expect(web.rate).toEqual({ perSecond: 1 / 90, burst: 5 });
    expect(web.headers).toEqual({
      'Strict-Transport-Security': 'max-age=31536000',
      'X-Frame-Options': 'deny',
    });
    expect(web.tls?.context).toMatchObject({
      minVersion: 'TLSv1.3',
      ciphers: 'ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305',
      ecdhCurve: 'X25519:P-256',
      honorCipherOrder: false,
    });
    expect(isAuthenticated(web)).toBe(true);
  });

  it('tells who is let in', () => {
    expect(isAuthenticated(read(`basic_auth_users: { alice: ${HASH} }`))).toBe(true);
    const asking = (type: string) => read(`${TLS}  client_auth_type: ${type}\n`);
    for (const type of ['NoClientCert', 'RequestClientCert', 'RequireAnyClientCert'])
      expect(isAuthenticated(asking(type))).toBe(false);
    const given = `${TLS}  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: authority.pem\n`;
    expect(isAuthenticated(read(given))).toBe(false);
    expect(
      isAuthenticated(read(given.replace('VerifyClientCertIfGiven', 'RequireAndVerifyClientCert'))),
    ).toBe(true);
  });

  it.each([
    ['[a, b', 'web.yml: not valid YAML'],
    ['- a', 'web.yml: the file: '],
    ['tls_server_confg: {}', 'web.yml: tls_server_confg: unknown key; did you mean tls_server_config?'],
    [`${TLS}  cert_fil: x`, 'web.yml: tls_server_config.cert_fil: unknown key; did you mean cert_file?'],
    [
      'tls_server_config: {}',
      'web.yml: tls_server_config.cert_file: missing: expected the path of a certificate (PEM)',
    ],
    ['tls_server_config: { cert_file: server.pem }', 'tls_server_config.key_file: missing'],
    [`${TLS}  cert: x`, 'tls_server_config.cert: expected it, or cert_file, not both'],
    [
      TLS.replace('server.key', 'nowhere.key'),
      'tls_server_config.key_file: nowhere.key: cannot be read: ENOENT',
    ],
    [TLS.replace('server.key', '/dev/null'), 'tls_server_config.key_file: /dev/null: a device'],
    [
      TLS.replace('server.key', 'other.key'),
      'tls_server_config.cert_file: the certificate, its key or the client CA',
    ],
    [`${TLS}  min_version: TLS11`, 'tls_server_config.min_version: expected TLS12, TLS13'],
    [
      `${TLS}  min_version: TLS13\n  max_version: TLS12`,
      'tls_server_config.min_version: expected at most max_version',
    ],
    [`${TLS}  client_auth_type: Always`, 'tls_server_config.client_auth_type: expected NoClientCert, '],
    [
      `${TLS}  client_auth_type: RequireAndVerifyClientCert`,
      'tls_server_config.client_ca_file: expected with',
    ],
    [`${TLS}  client_ca_file: authority.pem`, 'tls_server_config.client_ca_file: expected with'],
    [`${TLS}  client_allowed_sans: [a]`, 'tls_server_config.client_allowed_sans: expected only with'],
    [`${TLS}  cipher_suites: [RC4]`, 'tls_server_config.cipher_suites.0: expected TLS_ECDHE_ECDSA'],
    [
      'rate_limit: { interval: soon, burst: 1 }',
      'rate_limit.interval: expected a duration such as 1s or 100ms',
    ],
    ['rate_limit: { interval: 0s, burst: 1 }', 'rate_limit.interval: expected a duration'],
    ['rate_limit: { interval: 1s, burst: 0 }', 'rate_limit.burst: expected a whole number from 1'],
    [
      'http_server_config: { headers: { X-Frame-Options: sometimes } }',
      'X-Frame-Options: expected deny, sameorigin',
    ],
    [
      'http_server_config: { headers: { X-Powered-By: us } }',
      'http_server_config.headers.X-Powered-By: unknown key',
    ],
  ])('is refused, named by its key: case %#', (text, expected) => {
    expect(problems(text)).toContain(expected);
  });

  it.each(['secret', '$1$abc$def', HASH.replace('$10$', '$15$'), HASH.slice(0, -1), `${HASH}x`])(
    'a password that is no bcrypt hash of a bearable cost is refused, and not told: %s',
    (hash) => {
      const said = problems(`basic_auth_users: { alice: '${hash}' }`);
      expect(said).toContain(
        'web.yml: basic_auth_users.alice: expected a bcrypt hash of a cost from 4 to 14',
      );
      expect(said).not.toContain(hash);
    },
  );
});

describe('a web configuration in force', () => {
  function inForce(text: string) {
    const lines: { level: string; msg: string; problems?: string[] }[] = [];
    let now = 0;
    const path = file(text);
    const log = createLogger({
      level: 'info',
      destination: { write: (line) => lines.push(JSON.parse(line)) },
    });
    const web = new WebConfigFile(path, log, () => now);
    const rewrite = (changed: string) => {
      // Another inode: the clock of a file's changes is coarse.
      unlinkSync(path);
      file(changed);
      now += 1000;
      return web.current;
    };
    return { web, lines, rewrite, later: () => (now += 1000) };
  }

  it('is read again when the file has changed, and only then', () => {
    const { web, lines, rewrite, later } = inForce(`basic_auth_users: { alice: ${HASH} }`);
    const before = web.current;
    later();
    expect(web.current).toBe(before);
    expect([...rewrite(`basic_auth_users: { bob: ${HASH} }`).users.keys()]).toEqual(['bob']);
    expect(lines.map(({ msg }) => msg)).toEqual(['the web configuration was read again']);
  });

  it('is read again when a certificate has changed', () => {
    symlinkSync(server.certFile, join(folder, 'now.pem'));
    symlinkSync(server.keyFile, join(folder, 'now.key'));
    const { web, later } = inForce(TLS.replaceAll('server.', 'now.'));
    expect(web.current.tls?.context.cert).toBe(String(server.cert));
    for (const [name, target] of [
      ['now.pem', other.certFile],
      ['now.key', other.keyFile],
    ] as const) {
      unlinkSync(join(folder, name));
      symlinkSync(target, join(folder, name));
    }
    later();
    expect(web.current.tls?.context.cert).toBe(String(other.cert));
  });

  it.each([
    ['is not valid', 'basic_auth_users: { alice: secret }', 'expected a bcrypt hash'],
    [
      'lets everybody in',
      'rate_limit: { interval: 1s, burst: 5 }',
      'basic_auth_users changes with the next start',
    ],
    [
      'begins TLS',
      `${TLS}basic_auth_users: { alice: ${HASH} }`,
      'tls_server_config changes with the next start',
    ],
  ])('stays where the new one %s', (_what, text, said) => {
    const { web, lines, rewrite, later } = inForce(`basic_auth_users: { alice: ${HASH} }`);
    const before = web.current;
    expect(rewrite(text)).toBe(before);
    later();
    expect(web.current).toBe(before);
    expect(lines).toHaveLength(1);
    expect(lines[0]?.msg).toBe('the new web configuration cannot be used; the old one stays');
    expect(lines[0]?.problems?.join('\n')).toContain(said);
  });

  it('is taken once what it lacked has come', () => {
    const users = `basic_auth_users: { alice: ${HASH} }\n`;
    const { web, lines, rewrite, later } = inForce(`${TLS}${users}`);
    rewrite(`${TLS.replaceAll('server.', 'coming.')}${users}`);
    writeFileSync(join(folder, 'coming.pem'), other.cert);
    writeFileSync(join(folder, 'coming.key'), other.key);
    later();
    expect(web.current.tls?.context.cert).toBe(String(other.cert));
    expect(lines.map(({ level }) => level)).toEqual(['error', 'info']);
  });

  it('that cannot be read is an error at the start', () => {
    const log = createLogger({ level: 'silent' });
    expect(() => new WebConfigFile(join(folder, 'nowhere.yml'), log)).toThrow(
      'nowhere.yml: cannot be read: ENOENT',
    );
  });
});
