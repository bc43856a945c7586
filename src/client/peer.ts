// Who listens on a socket, by the kernel's word, and whether that may be an agent: root, the service's account (which owns
// the folder of its socket) or the user itself. Reads SO_PEERCRED through the addon; without the addon the owner of the
// socket file has to do.

import { statSync } from 'node:fs';
import type { Socket } from 'node:net';
import { dirname } from 'node:path';
import { type Addon, loadAddon } from '../native/addon.js';

let addon: Addon | null | undefined;

/** The addon, or null where it was not built: a client must work without. */
function optionalAddon(): Addon | null {
  if (addon !== undefined) return addon;
  try {
    addon = loadAddon();
  } catch (error) {
    if (process.env.NODE_DEBUG?.includes('lezea')) process.stderr.write(`lezea-monitor: ${String(error)}\n`);
    addon = null;
  }
  return addon;
}

/** Why the server at the other end is not to be trusted; undefined when it is. */
export function peerFault(
  socket: Socket,
  path: string,
  trust: { uid: number; ownFolder: boolean },
): string | undefined {
  const server = peerUid(socket) ?? statSync(path).uid;
  if (server === 0 || server === trust.uid) return undefined;
  // In a folder that must be the user's own nobody else may answer; elsewhere its owner may: the service's account.
  if (!trust.ownFolder && server === statSync(dirname(path)).uid) return undefined;
  return `the server runs as user ${server}: expected root, user ${trust.uid} or the owner of a service's folder`;
}

function peerUid(socket: Socket): number | undefined {
  // Node has no public way to a socket's descriptor; its handle has carried it as `fd` on Unix since the beginning.
  const descriptor = (socket as unknown as { _handle?: { fd?: number } })._handle?.fd;
  if (descriptor === undefined || descriptor < 0) return undefined;
  return optionalAddon()?.peerCredentials(descriptor).uid;
}
