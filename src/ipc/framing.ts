// Cuts a byte stream into lines. Owns at most one unfinished line of limited length: a longer one is reported once and
// skipped to its end, so a hostile peer can neither fill memory nor end the connection for others' sake.

import { DEFAULT_LIMITS } from '../attribution/limits.js';

const NEWLINE = 0x0a;

/** A line, or undefined for one that was too long. */
export type Line = string | undefined;

export class LineSplitter {
  #pieces: Buffer[] = [];
  #length = 0;
  #skipping = false;

  constructor(readonly maxBytes = DEFAULT_LIMITS.requestBytes) {}

  /** Bytes of the unfinished line that are held. */
  get held(): number {
    return this.#length;
  }

  *push(chunk: Buffer): Generator<Line> {
    let start = 0;
    for (let at = chunk.indexOf(NEWLINE); at >= 0; at = chunk.indexOf(NEWLINE, start)) {
      const line = this.#finish(chunk.subarray(start, at));
      start = at + 1;
      if (line !== null) yield line;
    }
    if (this.#hold(chunk.subarray(start))) yield undefined;
  }

  /** The line that ends here; null for the end of one that was reported already. */
  #finish(last: Buffer): Line | null {
    if (this.#skipping) {
      this.#skipping = false;
      return null;
    }
    const tooLong = this.#length + last.length > this.maxBytes;
    const line = tooLong ? undefined : Buffer.concat([...this.#pieces, last]).toString('utf8');
    this.#pieces = [];
    this.#length = 0;
    return line;
  }

  /** Keeps the beginning of a line. True when it has just become too long. */
  #hold(piece: Buffer): boolean {
    if (this.#skipping || piece.length === 0) return false;
    if (this.#length + piece.length > this.maxBytes) {
      this.#pieces = [];
      this.#length = 0;
      this.#skipping = true;
      return true;
    }
    // Copied: the piece is a view of a buffer of the stream that is many times its size.
    this.#pieces.push(Buffer.from(piece));
    this.#length += piece.length;
    return false;
  }
}
