// How full the local file systems are. Reads /proc/self/mountinfo and asks statfs(2) on libuv's threads, one file system
// at a time: one that hangs holds one thread and makes the figures unknown, no more. Network, FUSE and virtual file
// systems are never asked. Owns the figures last read.

import { readFile, statfs } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';

export interface FileSystemSpace {
  mountPoint: string;
  totalBytes: number;
  /** What is not free, the part that is kept for root included. */
  usedBytes: number;
}

/** Kept on disks of the machine itself. */
const LOCAL = new Set('ext2 ext3 ext4 xfs btrfs f2fs jfs bcachefs zfs vfat exfat ntfs3'.split(' '));
const MAX_MOUNTS = 64;
/** Longest that a scrape waits for figures of now, milliseconds. */
const WAIT_MS = 100;
/** Figures older than this, because a file system hangs, are unknown, milliseconds. */
const MAX_AGE_MS = 60_000;

/** Mount points of local file systems, one for each of them, the shortest; of the root whatever it is, but for the network. */
export function localMounts(mountinfo: string): string[] {
  const byDevice = new Map<string, string>();
  for (const line of mountinfo.split('\n')) {
    const [before, after] = line.split(' - ');
    const [, , device, , mountPoint] = before?.split(' ') ?? [];
    const type = after?.split(' ')[0];
    if (device === undefined || mountPoint === undefined || type === undefined) continue;
    const overlayRoot = mountPoint === '/' && type === 'overlay';
    if (!LOCAL.has(type) && !overlayRoot) continue;
    const known = byDevice.get(device);
    const path = unescaped(mountPoint);
    if (known === undefined || path.length < known.length) byDevice.set(device, path);
  }
  return [...byDevice.values()].sort().slice(0, MAX_MOUNTS);
}

/** The kernel writes space, tab, newline and backslash as three octal digits. */
function unescaped(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}

interface FileSystemsDeps {
  mountinfo(): Promise<string>;
  statfs(path: string): Promise<{ bsize: number; blocks: number; bfree: number }>;
  /** Monotonic, milliseconds. */
  now(): number;
}

const REAL: FileSystemsDeps = {
  mountinfo: () => readFile('/proc/self/mountinfo', 'utf8'),
  statfs: (path) => statfs(path),
  now: () => performance.now(),
};

export class FileSystems {
  readonly #deps: FileSystemsDeps;
  #known: { figures: FileSystemSpace[]; at: number } | undefined;
  #reading: Promise<void> | undefined;

  constructor(deps = REAL) {
    this.#deps = deps;
  }

  /** As of now, or, where that takes long, as of the last time; empty where nobody knows. */
  async space(): Promise<readonly FileSystemSpace[]> {
    this.#reading ??= this.#read().finally(() => {
      this.#reading = undefined;
    });
    await Promise.race([this.#reading, delay(WAIT_MS, undefined, { ref: false })]);
    const known = this.#known;
    return known === undefined || this.#deps.now() - known.at > MAX_AGE_MS ? [] : known.figures;
  }

  async #read(): Promise<void> {
    const mounts = await this.#deps.mountinfo().then(localMounts, () => []);
    const figures: FileSystemSpace[] = [];
    for (const mountPoint of mounts) {
      const found = await this.#deps.statfs(mountPoint).catch(() => undefined); // unmounted, or not allowed
      if (found === undefined || found.blocks === 0) continue;
      const { bsize, blocks, bfree } = found;
      figures.push({ mountPoint, totalBytes: blocks * bsize, usedBytes: (blocks - bfree) * bsize });
    }
    this.#known = { figures, at: this.#deps.now() };
  }
}
