// The bytes of a bundle to its lines, each in its shape. Reads the file; owns nothing.

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { pipeline } from 'node:stream';
import { createGunzip } from 'node:zlib';
import type { z } from 'zod';
import { messageOf } from '../../errors.js';
import {
  type BundleLine,
  badBundle,
  bundleLine,
  type Header,
  headerLine,
  MAX_LINE,
  SEAL_AT,
  SEAL_BYTES,
  sealOf,
  UNPACKED_TIMES,
} from './format.js';

/** So much is unpacked at once, bytes. */
const UNPACKED_CHUNK = 262_144;

/** Throws where a byte of the file is not as it was written. */
export async function checkSeal(path: string, most: number): Promise<void> {
  const { size, seal } = await endOf(path);
  if (size > most) throw badBundle(`${size} bytes: expected at most ${most}`);
  const said = seal.subarray(SEAL_AT, SEAL_AT + 64).toString('latin1');
  if (!/^[0-9a-f]{64}$/.test(said) || !sealOf(said).equals(seal)) {
    throw badBundle(`byte ${size}: no end of a bundle there: it was cut or altered`);
  }
  const hash = createHash('sha256');
  for await (const piece of createReadStream(path, { end: size - SEAL_BYTES - 1 })) hash.update(piece);
  const found = hash.digest('hex');
  if (found !== said)
    throw badBundle(`SHA-256 ${found}: expected ${said}, as its last line says: it was altered`);
}

async function endOf(path: string): Promise<{ size: number; seal: Buffer }> {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    if (size <= SEAL_BYTES) throw badBundle(`${size} bytes: expected a bundle that outbox export wrote`);
    const seal = Buffer.alloc(SEAL_BYTES);
    await file.read(seal, 0, SEAL_BYTES, size - SEAL_BYTES);
    return { size, seal };
  } finally {
    await file.close();
  }
}

export interface NumberedLine {
  /** From 1. */
  number: number;
  line: Header | BundleLine;
}

/** All lines but the last; the first is the header. Throws where one is not what it should be. */
export async function* linesOf(path: string, most: number): AsyncGenerator<NumberedLine> {
  let number = 0;
  for await (const text of textLines(path, most * UNPACKED_TIMES)) {
    number += 1;
    yield { number, line: parse(text, number) };
  }
}

function parse(text: string, number: number): Header | BundleLine {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw badBundle(`line ${number}: ${messageOf(error)}: expected JSON`);
  }
  const read = number === 1 ? headerLine.safeParse(value) : bundleLine.safeParse(value);
  if (read.success) return read.data;
  const issue = (read.error as z.ZodError).issues[0];
  throw badBundle(`line ${number}: ${issue?.path.join('.') || 'it'}: ${issue?.message ?? 'invalid'}`);
}

async function* textLines(path: string, mostUnpacked: number): AsyncGenerator<string> {
  const { size } = await endOf(path);
  const gunzip = createGunzip({ chunkSize: UNPACKED_CHUNK });
  // What goes wrong on the way comes out of the loop below.
  pipeline(createReadStream(path, { end: size - SEAL_BYTES - 1 }), gunzip, () => undefined);
  let unpacked = 0;
  let rest: Buffer = Buffer.alloc(0);
  for await (const piece of unzipped(gunzip)) {
    unpacked += piece.length;
    if (unpacked > mostUnpacked) throw badBundle(`unpacked: expected at most ${mostUnpacked} bytes`);
    let data = rest.length > 0 ? Buffer.concat([rest, piece]) : piece;
    for (let end = data.indexOf(10); end >= 0; end = data.indexOf(10)) {
      yield data.subarray(0, end).toString();
      data = data.subarray(end + 1);
    }
    if (data.length > MAX_LINE) throw badBundle(`a line of more than ${MAX_LINE} bytes`);
    rest = data;
  }
  if (rest.length > 0) throw badBundle('the last line has no end');
}

async function* unzipped(gunzip: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  try {
    yield* gunzip;
  } catch (error) {
    throw badBundle(`not gzip: ${messageOf(error)}`);
  }
}
