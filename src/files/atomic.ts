// Writes a file so that a reader, or a machine that loses power, sees the old one or the whole new one, never a part:
// temporary file in the same folder, fsync, rename, fsync of the folder. Owns the temporary file only while it writes.

import { randomBytes } from 'node:crypto';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';

/** Text is handed to the disk in pieces of about this many characters; in between, other work goes on. */
const PIECE_CHARS = 64 * 1024;

/** Replaces `path` by the pieces of text; resolves to its size in bytes. The folder must exist. */
export function writeAtomically(path: string, pieces: Iterable<string>): Promise<number> {
  return replace(path, 0o644, (file) => writePieces(file, pieces));
}

/** The same for bytes as they come. */
export function writeBytesAtomically(
  path: string,
  pieces: AsyncIterable<Uint8Array>,
  mode = 0o644,
): Promise<number> {
  return replace(path, mode, async (file) => {
    let bytes = 0;
    for await (const piece of pieces) bytes += await writeAll(file, piece);
    return bytes;
  });
}

type Write = (file: FileHandle) => Promise<number>;

async function replace(path: string, mode: number, write: Write): Promise<number> {
  const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}`);
  try {
    const bytes = await writeAndSync(temporary, mode, write);
    await rename(temporary, path);
    await syncFolder(dirname(path));
    return bytes;
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

async function writeAndSync(path: string, mode: number, write: Write): Promise<number> {
  const file = await open(path, 'wx', mode);
  try {
    const bytes = await write(file);
    await file.sync();
    return bytes;
  } finally {
    await file.close();
  }
}

async function writePieces(file: FileHandle, pieces: Iterable<string>): Promise<number> {
  let bytes = 0;
  let waiting = '';
  for (const piece of pieces) {
    waiting += piece;
    if (waiting.length < PIECE_CHARS) continue;
    bytes += await writeAll(file, Buffer.from(waiting));
    waiting = '';
    await nextTurn();
  }
  return bytes + (await writeAll(file, Buffer.from(waiting)));
}

async function writeAll(file: FileHandle, data: Uint8Array): Promise<number> {
  let done = 0;
  while (done < data.length) done += (await file.write(data, done)).bytesWritten;
  return done;
}

/** Makes a rename or a new folder in it survive a loss of power. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
