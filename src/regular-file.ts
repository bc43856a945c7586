// Reads a file that somebody else names. Opening a pipe, or reading one, would hang the agent until somebody writes: what
// is opened is looked at first.

import { closeSync, constants, fstatSync, openSync, readFileSync, type Stats } from 'node:fs';

/** The file's text, or why it is not read; never throws. */
export function readRegular(path: string, maxBytes: number): { text: string } | { problem: string } {
  try {
    return readOpen(openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY), maxBytes);
  } catch (error) {
    return { problem: `cannot be read: ${(error as Error).message}` };
  }
}

function readOpen(file: number, maxBytes: number): { text: string } | { problem: string } {
  try {
    const found = fstatSync(file);
    if (!found.isFile()) return { problem: `${kindOf(found)}: expected a regular file` };
    if (found.size > maxBytes) return { problem: `${found.size} bytes: expected at most ${maxBytes}` };
    return { text: readFileSync(file, 'utf8') };
  } finally {
    closeSync(file);
  }
}

function kindOf(found: Stats): string {
  if (found.isDirectory()) return 'a folder';
  if (found.isFIFO()) return 'a pipe (FIFO)';
  return found.isCharacterDevice() || found.isBlockDevice() ? 'a device' : 'no regular file';
}
