// Which names /metrics shows. In user mode, and where the operator said so, the names themselves; else a keyed hash of
// each, so that others on the machine can follow a run without learning what it is called. Owns the key's file.

import { createHmac, randomBytes } from 'node:crypto';
import { chmodSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Owner } from '../attribution/model.js';

/** How names become label values. */
export interface Names {
  /** A run id, an experiment, a display name. */
  word(owner: Owner, text: string): string;
  /** A scope path; its levels stay readable. */
  path(owner: Owner, path: string): string;
}

export const PLAIN_NAMES: Names = {
  word: (_owner, text) => text,
  path: (_owner, path) => path,
};

/** The owner is part of what is hashed: nobody learns another's names by trying them on runs of his own. */
export function hashedNames(key: Buffer): Names {
  const hash = (owner: Owner, text: string): string =>
    createHmac('sha256', key).update(`${owner.uid}/${owner.pidNamespace}/${text}`).digest('hex').slice(0, 16);
  return {
    word: hash,
    path: (owner, path) =>
      path
        .split('/')
        .map((step) => {
          const colon = step.indexOf(':');
          return `${step.slice(0, colon)}:${hash(owner, step.slice(colon + 1))}`;
        })
        .join('/'),
  };
}

const KEY_BYTES = 32;

/** The key of this agent's hashes; made on first use, kept so that series go on over a restart. */
export function loadNameKey(stateDir: string): Buffer {
  const path = join(stateDir, 'names.key');
  try {
    const key = readFileSync(path);
    if (key.length === KEY_BYTES) return key;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  const key = randomBytes(KEY_BYTES);
  const fresh = `${path}.${process.pid}`;
  writeFileSync(fresh, key, { mode: 0o600 });
  chmodSync(fresh, 0o600);
  renameSync(fresh, path);
  return key;
}
