// A bundle: what is undelivered, as a file that can be carried to another agent. JSON Lines in gzip: a header, deliveries with
// their items, then the documents that the items name. The last line, in a gzip member of its own that is not compressed, has
// the SHA-256 of all bytes of the file before that member: no byte can change unseen, also none that gzip does not care about.
// Owns the shapes. Pure.

import { gzipSync } from 'node:zlib';
import { z } from 'zod';
import { LezeaError } from '../../errors.js';

export const BUNDLE_SCHEMA = 'lezea.outbox/v1';
export const MAX_DELIVERIES = 10_000;
/** Longest line, characters: a body of the longest, with every character escaped. */
export const MAX_LINE = 1 << 20;
/** Of a document, in one line; bytes. */
export const PIECE_BYTES = 49_152;
/** So many bytes may become of one byte of a bundle of the largest size. */
export const UNPACKED_TIMES = 16;

const MAX_BODY = 131_072;
const count = z.int().min(0);
const sha256 = z.string().regex(/^[0-9a-f]{64}$/, 'expected a SHA-256');
/** What is printed, and may come to a place's log: without control characters. */
const words = (max: number) =>
  z
    .string()
    .max(max)
    .regex(/^[^\p{Cc}]*$/u, 'expected no control characters');
/** An agent's own name of a run; here it only says what belongs together. */
const key = z.string().regex(/^[A-Za-z0-9_-]{1,64}$/, 'expected a key');

export const headerLine = z.object({
  schema: z.literal(BUNDLE_SCHEMA, `expected ${BUNDLE_SCHEMA}`),
  node: words(255),
  /** Wall clock, ISO 8601. */
  time: words(64),
  /** Of the program that wrote it. */
  version: words(64),
});

export const target = z.object({
  kind: z.enum(['mlflow', 'webhook']),
  address: words(5000),
  settings: z
    .record(z.string().max(250), z.string().max(5000))
    .refine((all) => Object.keys(all).length <= 256, 'expected at most 256'),
});

const deliveryLine = z.object({
  type: z.literal('delivery'),
  origin: z.string().regex(/^[0-9a-f]{32}$/, 'expected 32 hexadecimal digits'),
  run: z.object({
    key,
    run_id: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'expected an id of a run'),
    attempt: z.int().min(1).max(1_000_000),
  }),
  target,
  created_ms: z.int().min(0).max(8.64e15),
});

/** Of the delivery before it. */
const itemLine = z.object({
  type: z.literal('item'),
  stage: z.int().min(0).max(1000),
  kind: z.string().regex(/^[a-z][a-z0-9_.-]{0,63}$/, 'expected a word'),
  body: z.string().max(MAX_BODY),
});

const documentLine = z.object({
  type: z.literal('document'),
  run: z.object({ key, attempt: z.int().min(1).max(1_000_000) }),
  path: words(256),
  bytes: count,
  sha256,
});

/** Of the document before it. */
const pieceLine = z.object({ type: z.literal('piece'), data: z.base64().max(2 * PIECE_BYTES) });

export const bundleLine = z.discriminatedUnion('type', [deliveryLine, itemLine, documentLine, pieceLine]);

export type Header = z.output<typeof headerLine>;
export type BundleLine = z.output<typeof bundleLine>;
export type DeliveryLine = z.output<typeof deliveryLine>;
export type ItemLine = z.output<typeof itemLine>;
export type DocumentLine = z.output<typeof documentLine>;

/** What is wrong with a bundle, and where; the same word from the agent and from the command line. */
export function badBundle(message: string): LezeaError {
  return new LezeaError('invalid_params', message);
}

/** The last line, as the bytes that end the file: a gzip member whose every byte follows from the checksum. */
export function sealOf(sha256Hex: string): Buffer {
  const text = Buffer.from(`{"sha256":"${sha256Hex}"}\n`);
  const header = Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]);
  const block = Buffer.from([1, text.length, 0, 0xff ^ text.length, 0xff]);
  // CRC-32 and size are the same however the text is compressed.
  return Buffer.concat([header, block, text, gzipSync(text).subarray(-8)]);
}

export const SEAL_BYTES = sealOf('0'.repeat(64)).length;
/** Where in the seal the checksum is. */
export const SEAL_AT = 10 + 5 + '{"sha256":"'.length;
