// The agent's socket as a file: its folder, its mode, and what to do with one that is already there. A socket that
// nobody listens on is left over from a killed agent and removed; a live one, or anything else, is an error.

import { chmodSync, lstatSync, mkdirSync, unlinkSync } from 'node:fs';
import { createConnection, type Server } from 'node:net';
import { dirname, join } from 'node:path';
import { LezeaError, messageOf } from '../errors.js';

/** Longest path of a Unix socket that the kernel takes, bytes. */
const MAX_PATH_BYTES = 107;

export type Mode = 'user' | 'system';

/** User mode: a folder of one's own, closed to others. System mode: the unit's, open, the sockets in it 0666. */
export function socketMode(mode: Mode): number {
  return mode === 'user' ? 0o600 : 0o666;
}

export async function listenOn(server: Server, path: string, mode: Mode): Promise<void> {
  if (Buffer.byteLength(path) > MAX_PATH_BYTES) {
    throw new LezeaError('socket', `socket ${path}: expected a path of at most ${MAX_PATH_BYTES} bytes`);
  }
  prepareFolder(dirname(path), mode);
  await removeStale(path);
  try {
    await bindSocket(server, path);
  } catch (error) {
    throw new LezeaError('socket', `socket ${path}: ${messageOf(error)}`, { cause: error });
  }
  chmodSync(path, socketMode(mode));
}

/** Between bind and chmod a socket has the mode of the umask: nobody else may connect meanwhile. */
function bindSocket(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    const umask = process.umask(0o177);
    // listen() binds before it returns; only its report comes later.
    server.listen(path, () => {
      server.removeListener('error', reject);
      resolve();
    });
    process.umask(umask);
  });
}

/** Makes the folder if need be. In user mode it must be ours alone: whoever may write there could take our place. */
export function prepareFolder(folder: string, mode: Mode): void {
  mkdirSync(folder, { recursive: true, mode: mode === 'user' ? 0o700 : 0o755 });
  if (mode !== 'user') return;
  const found = lstatSync(folder);
  const uid = process.getuid?.();
  if (!found.isDirectory() || found.uid !== uid || (found.mode & 0o077) !== 0) {
    const mask = (found.mode & 0o777).toString(8);
    throw new LezeaError(
      'socket',
      `socket folder ${folder}: owner ${found.uid}, mode ${mask}; expected a folder of user ${uid} with mode 700`,
    );
  }
}

/** The ring socket lies beside the agent's, under a fixed name. */
export function ringPath(socketPath: string): string {
  return join(dirname(socketPath), 'ring.sock');
}

/** Removes a socket file that nobody listens on. */
export async function removeStale(path: string): Promise<void> {
  let found: ReturnType<typeof lstatSync>;
  try {
    found = lstatSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw new LezeaError('socket', `socket ${path}: ${messageOf(error)}`, { cause: error });
  }
  if (!found.isSocket())
    throw new LezeaError('socket', `socket ${path}: something else is there; expected nothing`);
  const answer = await tryConnect(path);
  if (answer !== 'ECONNREFUSED') {
    // EPROTOTYPE: it listens for messages, not for a stream, as an agent's ring socket does.
    const listens = answer === 'connected' || answer === 'EPROTOTYPE';
    const why = listens ? 'an agent is listening there' : answer;
    throw new LezeaError('socket', `socket ${path}: ${why}; expected a free path`);
  }
  unlinkSync(path);
}

function tryConnect(path: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = createConnection(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve('connected');
    });
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
  });
}
