// Where an agent may be listening, and whether a folder that holds its socket can be trusted. Reads the environment it is
// given and lstat of the user's own socket folder; owns nothing.

import { lstatSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

export const SYSTEM_SOCKET = '/run/lezea-monitor/agent.sock';

export interface SocketCandidate {
  path: string;
  /** A folder of the user's own: it must really be theirs, or another account could have put a socket there. */
  ownFolder: boolean;
}

/** Sockets to try, in order. One that was named, by flag or LEZEA_MONITOR_SOCKET, is the only one. */
export function socketCandidates(env: NodeJS.ProcessEnv, uid: number, named?: string): SocketCandidate[] {
  const only = named ?? (env.LEZEA_MONITOR_SOCKET || undefined);
  if (only !== undefined) return [{ path: only, ownFolder: false }];
  const folders = [
    ...(env.XDG_RUNTIME_DIR ? [join(env.XDG_RUNTIME_DIR, 'lezea-monitor')] : []),
    join(env.TMPDIR || tmpdir(), `lezea-monitor-${uid}`),
  ];
  const own = folders.map((folder) => ({ path: join(folder, 'agent.sock'), ownFolder: true }));
  return [{ path: SYSTEM_SOCKET, ownFolder: false }, ...own];
}

/** Why a user's socket folder may not be used; undefined when it may. A folder that is not there has no agent. */
export function folderFault(path: string, uid: number): string | undefined {
  const folder = dirname(path);
  let info: ReturnType<typeof lstatSync>;
  try {
    info = lstatSync(folder);
  } catch (error) {
    return `${folder}: ${(error as NodeJS.ErrnoException).code ?? String(error)}`;
  }
  if (info.isSymbolicLink() || !info.isDirectory()) return `${folder}: expected a folder, not a link`;
  if (info.uid !== uid) return `${folder}: belongs to user ${info.uid}: expected ${uid}`;
  const mode = info.mode & 0o777;
  if (mode !== 0o700) return `${folder}: mode ${mode.toString(8)}: expected 700`;
  return undefined;
}
