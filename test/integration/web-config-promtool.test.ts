// The web configuration files that Prometheus's own checker takes are taken, and those that it refuses are refused. Needs
// promtool (Debian: apt-get install prometheus).

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { readWebConfig } from '../../src/http/web-config.js';
import { Authority } from '../unit/support/certificates.js';

const missing = spawnSync('promtool', ['--version']).error !== undefined;
const folder = mkdtempSync(join(tmpdir(), 'lezea-web-config-'));

beforeAll(() => {
  const authority = new Authority(folder);
  authority.issue('server', 'DNS:localhost');
  authority.issue('other', 'DNS:localhost');
});

afterAll(() => rmSync(folder, { recursive: true }));

const TLS = 'tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n';
const CA = '  client_ca_file: authority.pem\n';
const HASH = '$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG';

const TAKEN = [
  '',
  TLS,
  `${TLS}  min_version: TLS13\n  max_version: TLS13\n`,
  `${TLS}  client_auth_type: RequestClientCert\n`,
  `${TLS}  client_auth_type: RequireAnyClientCert\n`,
  `${TLS}  client_auth_type: VerifyClientCertIfGiven\n${CA}`,
  `${TLS}  client_auth_type: RequireAndVerifyClientCert\n${CA}`,
  `${TLS}  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256]\n`,
  `${TLS}  curve_preferences: [CurveP256, CurveP384, CurveP521, X25519]\n  prefer_server_cipher_suites: true\n`,
  `basic_auth_users: { alice: '${HASH}' }\n`,
  `${TLS}http_server_config: { http2: true, headers: { X-Frame-Options: deny, Strict-Transport-Security: max-age=1 } }\n`,
];
const REFUSED = [
  'tls_server_confg: {}\n',
  'tls_server_config: { cert_file: server.pem }\n',
  'tls_server_config: { key_file: server.key }\n',
  TLS.replace('server.key', 'nowhere.key'),
  TLS.replace('server.key', 'other.key'),
  `${TLS}  min_version: TLS9\n`,
  `${TLS}  client_auth_type: Sometimes\n`,
  `${TLS}${CA}`,
  `${TLS}  cipher_suites: [RC4]\n`,
  `${TLS}  curve_preferences: [P256]\n`,
  'http_server_config: { headers: { X-Frame-Options: sometimes } }\n',
  'http_server_config: { headers: { X-Powered-By: us } }\n',
];

it
  .skipIf(missing)
  .each([...TAKEN.map((text) => [true, text] as const), ...REFUSED.map((text) => [false, text] as const)])(
  `agrees with promtool: taken %s, case %#${missing ? ' (skipped: promtool is not installed)' : ''}`,
  (taken, text) => {
    const path = join(folder, 'web.yml');
    writeFileSync(path, text);
    const { status, stdout, stderr } = spawnSync('promtool', ['check', 'web-config', path], {
      encoding: 'utf8',
    });
    expect(status === 0, `${stdout}${stderr}`).toBe(taken);
    const read = () => readWebConfig(path);
    if (taken) expect(read).not.toThrow();
    else expect(read).toThrow();
  },
);
