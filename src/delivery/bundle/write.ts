// Lines to the bytes of a bundle. Owns nothing but the stream that compresses.

import { createHash } from 'node:crypto';
import { pipeline, Readable } from 'node:stream';
import { createGzip } from 'node:zlib';
import { LezeaError } from '../../errors.js';
import { type BundleLine, type Header, sealOf } from './format.js';

/** The whole file, piece by piece. Throws `too_large` where it would have more than `most` bytes. */
export async function* bundleBytes(
  lines: AsyncIterable<Header | BundleLine>,
  most: number,
): AsyncGenerator<Buffer> {
  const gzip = createGzip();
  // What goes wrong with the lines comes out of the loop below.
  pipeline(Readable.from(jsonLines(lines)), gzip, () => undefined);
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const piece of gzip as AsyncIterable<Buffer>) {
    bytes += piece.length;
    if (bytes > most)
      throw new LezeaError('too_large', `a bundle has at most ${most} bytes: export less at once`);
    hash.update(piece);
    yield piece;
  }
  yield sealOf(hash.digest('hex'));
}

async function* jsonLines(lines: AsyncIterable<object>): AsyncGenerator<string> {
  for await (const line of lines) yield `${JSON.stringify(line)}\n`;
}
