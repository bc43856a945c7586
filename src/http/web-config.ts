// The web configuration file of Prometheus exporters: TLS, who may ask, headers, rate
// (https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md). Reads the file and those it
// names; emits a WebConfig.

import { dirname, resolve } from 'node:path';
import { createSecureContext, type SecureContextOptions } from 'node:tls';
import { parseDocument } from 'yaml';
import { z } from 'zod';
import { LezeaError, messageOf } from '../errors.js';
import { nearest } from '../nearest.js';
import { readRegular } from '../regular-file.js';

const MAX_FILE_BYTES = 1 << 20;
/** Each one more doubles the work of a comparison; 14 take about a second. */
const MAX_BCRYPT_COST = 14;

export type ClientAuth =
  | 'NoClientCert'
  | 'RequestClientCert'
  | 'RequireAnyClientCert'
  | 'VerifyClientCertIfGiven'
  | 'RequireAndVerifyClientCert';

export interface TlsConfig {
  context: SecureContextOptions;
  clientAuth: ClientAuth;
  /** A client's certificate has one of these among its subject alternative names; empty: any will do. */
  allowedSans: readonly string[];
}

export interface WebConfig {
  /** Undefined: plain HTTP. */
  tls?: TlsConfig;
  /** bcrypt hash by user; empty: everybody may ask. */
  users: ReadonlyMap<string, string>;
  /** Response headers by name. */
  headers: Readonly<Record<string, string>>;
  /** Undefined: as many requests as there are. */
  rate?: { perSecond: number; burst: number };
  /** Every file that it was made of. */
  files: readonly string[];
}

/** Whether only those may ask whom the file names. */
export function isAuthenticated({ tls, users }: WebConfig): boolean {
  return users.size > 0 || tls?.clientAuth === 'RequireAndVerifyClientCert';
}

const CLIENT_AUTH = [
  'NoClientCert',
  'RequestClientCert',
  'RequireAnyClientCert',
  'VerifyClientCertIfGiven',
  'RequireAndVerifyClientCert',
] as const;

const VERSIONS = { TLS12: 'TLSv1.2', TLS13: 'TLSv1.3' } as const;

/** Go's names (those of RFC 5289 and RFC 7905) and OpenSSL's; those of TLS 1.3 are always on, in both. */
const CIPHERS: Readonly<Record<string, string>> = {
  TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: 'ECDHE-ECDSA-AES128-GCM-SHA256',
  TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256: 'ECDHE-RSA-AES128-GCM-SHA256',
  TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384: 'ECDHE-ECDSA-AES256-GCM-SHA384',
  TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384: 'ECDHE-RSA-AES256-GCM-SHA384',
  TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305: 'ECDHE-ECDSA-CHACHA20-POLY1305',
  TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256: 'ECDHE-ECDSA-CHACHA20-POLY1305',
  TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305: 'ECDHE-RSA-CHACHA20-POLY1305',
  TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256: 'ECDHE-RSA-CHACHA20-POLY1305',
  TLS_AES_128_GCM_SHA256: 'TLS_AES_128_GCM_SHA256',
  TLS_AES_256_GCM_SHA384: 'TLS_AES_256_GCM_SHA384',
  TLS_CHACHA20_POLY1305_SHA256: 'TLS_CHACHA20_POLY1305_SHA256',
};

const CURVES: Readonly<Record<string, string>> = {
  CurveP256: 'P-256',
  CurveP384: 'P-384',
  CurveP521: 'P-521',
  X25519: 'X25519',
};

const SECONDS: Readonly<Record<string, number>> = {
  ns: 1e-9,
  us: 1e-6,
  µs: 1e-6,
  ms: 1e-3,
  s: 1,
  m: 60,
  h: 3600,
};

function oneOf(names: readonly string[]) {
  const expected = `expected ${names.join(', ')}`;
  return z.string().refine((name) => names.includes(name), { error: expected });
}

const text = z.string('expected a text').min(1, 'expected a text');
const flag = z.boolean('expected true or false');
const bcryptHash = z.string('expected a bcrypt hash').refine((hash) => {
  const cost = /^\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}$/.exec(hash)?.[1];
  return cost !== undefined && Number(cost) >= 4 && Number(cost) <= MAX_BCRYPT_COST;
}, `expected a bcrypt hash of a cost from 4 to ${MAX_BCRYPT_COST} (htpasswd -nBC 10 "" | tr -d ':')`);

const tlsSchema = z.strictObject({
  cert_file: text.optional(),
  key_file: text.optional(),
  client_ca_file: text.optional(),
  cert: text.optional(),
  key: text.optional(),
  client_ca: text.optional(),
  client_auth_type: z.enum(CLIENT_AUTH, `expected ${CLIENT_AUTH.join(', ')}`).default('NoClientCert'),
  client_allowed_sans: z.array(text).max(64).default([]),
  min_version: oneOf(Object.keys(VERSIONS)).default('TLS12'),
  max_version: oneOf(Object.keys(VERSIONS)).default('TLS13'),
  cipher_suites: z.array(oneOf(Object.keys(CIPHERS))).default([]),
  prefer_server_cipher_suites: flag.default(true),
  curve_preferences: z.array(oneOf(Object.keys(CURVES))).default([]),
});

const headersSchema = z.strictObject({
  'Content-Security-Policy': text.optional(),
  'Strict-Transport-Security': text.optional(),
  'X-Content-Type-Options': oneOf(['nosniff']).optional(),
  'X-Frame-Options': oneOf(['deny', 'sameorigin']).optional(),
  'X-XSS-Protection': text.optional(),
});

const schema = z.strictObject({
  tls_server_config: tlsSchema.optional(),
  // HTTP/2 is not spoken: whoever offers it is answered in HTTP/1.1.
  http_server_config: z
    .strictObject({ http2: flag.default(true), headers: headersSchema.default({}) })
    .prefault({}),
  basic_auth_users: z.record(text, bcryptHash).default({}),
  rate_limit: z
    .strictObject({
      interval: z
        .string('expected a duration such as 1s or 100ms')
        .refine((value) => secondsOf(value) !== undefined, 'expected a duration such as 1s or 100ms'),
      burst: z.int('expected a whole number from 1').min(1, 'expected a whole number from 1'),
    })
    .optional(),
});

type Raw = z.infer<typeof schema>;

/** Go's notation of a duration, in seconds; undefined: none, or not above 0. */
function secondsOf(duration: string): number | undefined {
  const parts = [...duration.matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/g)];
  if (parts.length === 0 || parts.map(([all]) => all).join('') !== duration) return undefined;
  const seconds = parts.reduce((sum, [, count, unit]) => sum + Number(count) * (SECONDS[unit ?? ''] ?? 0), 0);
  return seconds > 0 ? seconds : undefined;
}

/** Reads and checks it all. Throws LezeaError `invalid_config`, a line a problem; never with a hash or a key in it. */
export function readWebConfig(path: string): WebConfig {
  const document = parseDocument(readText(path, path), { prettyErrors: false });
  const [fault] = document.errors;
  if (fault) throw problem(path, [`not valid YAML: ${fault.message.split('\n')[0]}`]);
  const parsed = schema.safeParse(document.toJS() ?? {});
  if (!parsed.success) throw problem(path, parsed.error.issues.flatMap(linesOf));
  return settle(path, parsed.data);
}

function problem(path: string, lines: readonly string[]): LezeaError {
  return new LezeaError('invalid_config', lines.map((line) => `${path}: ${line}`).join('\n'));
}

function linesOf(issue: z.core.$ZodIssue): string[] {
  const where = issue.path.join('.');
  if (issue.code !== 'unrecognized_keys') return [`${where || 'the file'}: ${issue.message}`];
  return issue.keys.map((name) => {
    const near = nearest(name, namesAt(issue.path));
    return `${[...issue.path, name].join('.')}: unknown key${near === undefined ? '' : `; did you mean ${near}?`}`;
  });
}

function namesAt(path: readonly PropertyKey[]): string[] {
  const at: Record<string, object> = {
    '': schema.shape,
    tls_server_config: tlsSchema.shape,
    http_server_config: { http2: 0, headers: 0 },
    'http_server_config.headers': headersSchema.shape,
    rate_limit: { interval: 0, burst: 0 },
  };
  return Object.keys(at[path.join('.')] ?? {});
}

function readText(path: string, said: string): string {
  const read = readRegular(path, MAX_FILE_BYTES);
  if ('problem' in read) throw problem(said, [read.problem]);
  return read.text;
}

function settle(path: string, raw: Raw): WebConfig {
  const files = [path];
  const { tls_server_config: tls, rate_limit: rate } = raw;
  return {
    tls: tls && tlsOf(path, tls, files),
    users: new Map(Object.entries(raw.basic_auth_users)),
    headers: raw.http_server_config.headers as Record<string, string>,
    rate: rate && { perSecond: 1 / (secondsOf(rate.interval) ?? 1), burst: rate.burst },
    files,
  };
}

function tlsOf(path: string, raw: NonNullable<Raw['tls_server_config']>, files: string[]): TlsConfig {
  const refuse = (key: string, expected: string) => problem(path, [`tls_server_config.${key}: ${expected}`]);
  const pem = (name: 'cert' | 'key' | 'client_ca'): string | undefined => {
    const file = raw[`${name}_file`];
    if (file === undefined) return raw[name];
    if (raw[name] !== undefined) throw refuse(name, `expected it, or ${name}_file, not both`);
    // Beside the file that names it, unless absolute.
    const full = resolve(dirname(path), file);
    files.push(full);
    return readText(full, `${path}: tls_server_config.${name}_file: ${full}`);
  };
  const [cert, key, ca] = [pem('cert'), pem('key'), pem('client_ca')];
  if (cert === undefined) throw refuse('cert_file', 'missing: expected the path of a certificate (PEM)');
  if (key === undefined) throw refuse('key_file', 'missing: expected the path of its key (PEM)');
  const verifies =
    raw.client_auth_type === 'RequireAndVerifyClientCert' ||
    raw.client_auth_type === 'VerifyClientCertIfGiven';
  if (verifies !== (ca !== undefined))
    throw refuse(
      'client_ca_file',
      'expected with, and only with, a client_auth_type that verifies certificates',
    );
  if (raw.client_allowed_sans.length > 0 && raw.client_auth_type !== 'RequireAndVerifyClientCert')
    throw refuse('client_allowed_sans', 'expected only with client_auth_type RequireAndVerifyClientCert');
  if (raw.min_version > raw.max_version)
    throw refuse('min_version', `expected at most max_version, ${raw.max_version}`);
  const context: SecureContextOptions = {
    cert,
    key,
    ca,
    minVersion: VERSIONS[raw.min_version as keyof typeof VERSIONS],
    maxVersion: VERSIONS[raw.max_version as keyof typeof VERSIONS],
    honorCipherOrder: raw.prefer_server_cipher_suites,
    ...(raw.cipher_suites.length > 0 && {
      ciphers: raw.cipher_suites.map((name) => CIPHERS[name]).join(':'),
    }),
    ...(raw.curve_preferences.length > 0 && {
      ecdhCurve: raw.curve_preferences.map((name) => CURVES[name]).join(':'),
    }),
  };
  try {
    createSecureContext(context);
  } catch (error) {
    throw refuse(
      'cert_file',
      `the certificate, its key or the client CA cannot be used: ${messageOf(error)}`,
    );
  }
  return { context, clientAuth: raw.client_auth_type, allowedSans: raw.client_allowed_sans };
}
