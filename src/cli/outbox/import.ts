// `outbox import FILE`: gives a bundle to the agent. Checks all of it before the agent hears of it; the agent checks it again,
// and takes all of it or nothing.

import { type FileHandle, open } from 'node:fs/promises';
import { DEFAULT_LIMITS } from '../../attribution/limits.js';
import type { AgentConnection } from '../../client/connection.js';
import { checkBundle } from '../../delivery/bundle/check.js';
import { LezeaError, messageOf } from '../../errors.js';
import { isRunFile } from '../../files/run-files.js';
import { PUT_BYTES } from '../../ipc/outbox-methods.js';
import type { Result } from '../../ipc/protocol.js';
import { printable } from '../format.js';
import { EXIT, type Io, usageError } from '../io.js';
import type { ReadOptions } from '../program.js';
import { withAgent } from './ask.js';
import { Progress } from './progress.js';

/** Checking and storing the largest bundle, milliseconds. */
const COMMIT_MS = 600_000;

type Answer = Result<'outbox.commit'>;

export async function importCommand(path: string, options: ReadOptions, io: Io): Promise<number> {
  const file = await openBundle(path);
  const progress = new Progress(io);
  try {
    const limits = { most: DEFAULT_LIMITS.importBytes, isDocument: isRunFile };
    await checkBundle(path, limits).catch((error) => {
      throw error instanceof LezeaError ? new LezeaError('bad_bundle', `${path}: ${error.message}`) : error;
    });
    const answer = await withAgent(options, (connection) => bring(connection, file, progress));
    progress.end();
    io.out(options.json ? `${JSON.stringify(answer, null, 2)}\n` : formatAnswer(answer));
    return EXIT.ok;
  } finally {
    progress.end();
    await file.close();
  }
}

/** It is read more than once, from its end too. */
async function openBundle(path: string): Promise<FileHandle> {
  let file: FileHandle;
  try {
    file = await open(path, 'r');
  } catch (error) {
    throw usageError(`${path}: ${messageOf(error)}: expected a bundle that outbox export wrote`);
  }
  if ((await file.stat()).isFile()) return file;
  await file.close();
  throw usageError(`${path}: not a file: expected a bundle that outbox export wrote`);
}

async function bring(connection: AgentConnection, file: FileHandle, progress: Progress): Promise<Answer> {
  const { size } = await file.stat();
  await connection.request('outbox.import', { bytes: size });
  const buffer = Buffer.alloc(PUT_BYTES);
  for (let offset = 0; offset < size; ) {
    const { bytesRead } = await file.read(buffer, 0, PUT_BYTES, offset);
    // It became shorter; the agent refuses what there is of it.
    if (bytesRead === 0) break;
    const data = buffer.subarray(0, bytesRead).toString('base64');
    await connection.request('outbox.put', { offset, data });
    offset += bytesRead;
    progress.say(() => `${Math.floor((100 * offset) / size)} % given to the agent`);
  }
  progress.say(() => 'the agent stores it');
  return connection.request<Answer>('outbox.commit', {}, COMMIT_MS);
}

function formatAnswer({ imported, with_client, known, deliveries }: Answer): string {
  const lines = deliveries.map(({ id, run_id, attempt, sink, known: isKnown, by, reason }) => {
    const what = isKnown
      ? 'was there already'
      : by === 'client'
        ? `for a client to bring: ${reason}`
        : 'waits';
    return `${printable(`${id}: ${run_id}, attempt ${attempt}, to ${sink}: ${what}`)}\n`;
  });
  const more = imported + known > deliveries.length ? 'and more\n' : '';
  const client = with_client > 0 ? `, ${with_client} of them for a client to bring` : '';
  return `${lines.join('')}${more}${imported} deliveries imported${client}; ${known} were there already\n`;
}
