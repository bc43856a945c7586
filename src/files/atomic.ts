// Writes a file so that a reader, or a machine that loses power, sees the old one or the whole new one, never a part:
// temporary file in the same folder, fsync, rename, fsync of the folder. Owns the temporary file only while it writes.

import { randomBytes } from 'node:crypto';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';

/** Text is handed to the disk in pieces of about this many characters; in between, other work goes on. */
const PIECE_CHARS = 64 * 1024;

/** Replaces `path` by the pieces of text; resolves to its size in bytes. The folder must exist. */
export async function writeAtomically(path: string, pieces: Iterable<string>): Promise<number> {
  const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}`);
  try {
    const bytes = await writeAndSync(temporary, pieces);
    await rename(temporary, path);
    await syncFolder(dirname(path));
    return bytes;
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

async function writeAndSync(path: string, pieces: Iterable<string>): Promise<number> {
  const file = await open(path, 'wx', 0o644);
  try {
    const bytes = await writePieces(file, pieces);
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
    bytes += await writeAll(file, waiting);
    waiting = '';
    await nextTurn();
  }
  return bytes + (await writeAll(file, waiting));
}

async function writeAll(file: FileHandle, text: string): Promise<number> {
  const data = Buffer.from(text);
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
