// What says that a request is this agent's, and which: the headers of Standard Webhooks 1.0 (standardwebhooks.com), and
// Idempotency-Key. Pure. The key is in memory only.

import { createHash, createHmac } from 'node:crypto';
import { LezeaError } from '../../errors.js';

/** As Standard Webhooks asks for, bytes. */
const MIN_KEY_BYTES = 24;
const BASE64_KEY = 'whsec_';
const ID_CHARS = 32;

/** The key that a file's text stands for: base64 after `whsec_`, else the text itself without the space around it. */
export function signingKey(text: string): Buffer {
  const trimmed = text.trim();
  const key = trimmed.startsWith(BASE64_KEY)
    ? fromBase64(trimmed.slice(BASE64_KEY.length))
    : Buffer.from(trimmed);
  if (key.length >= MIN_KEY_BYTES) return key;
  throw unusable(`a key of ${key.length} bytes; expected at least ${MIN_KEY_BYTES}`);
}

function fromBase64(text: string): Buffer {
  // Node.js leaves out what is no base64.
  if (/^[A-Za-z0-9+/]+={0,2}$/.test(text)) return Buffer.from(text, 'base64');
  throw unusable(`expected base64 after ${BASE64_KEY}`);
}

function unusable(what: string): LezeaError {
  return new LezeaError('invalid_config', `webhook.secret_file: ${what}`);
}

/**
 * The same for the same body, on every try and after every restart. A body says which run of which agent it is of, which
 * attempt and which lines, so no other body is the same.
 */
export function messageId(body: Buffer): string {
  return createHash('sha256').update(body).digest('hex').slice(0, ID_CHARS);
}

/** Over id, time of the try in seconds since 1970, and body. */
export function signatureOf(message: { id: string; timestamp: number; body: Buffer }, key: Buffer): string {
  const { id, timestamp, body } = message;
  const hmac = createHmac('sha256', key).update(`${id}.${timestamp}.`).update(body);
  return `v1,${hmac.digest('base64')}`;
}

/** Of one try; `nowMs`: wall clock. */
export function signedHeaders(body: Buffer, key: Buffer, nowMs: number): Record<string, string> {
  const id = messageId(body);
  const timestamp = Math.floor(nowMs / 1000);
  return {
    'idempotency-key': id,
    'webhook-id': id,
    'webhook-timestamp': String(timestamp),
    'webhook-signature': signatureOf({ id, timestamp, body }, key),
  };
}
