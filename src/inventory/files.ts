// Small files of /proc and /sys, below a root that tests replace. What is not there, or may not be read, is undefined.

import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { basename, join } from 'node:path';

export class Files {
  readonly #root: string;

  constructor(root = '/') {
    this.#root = root;
  }

  /** Trimmed; undefined where it is empty too. */
  text(path: string): string | undefined {
    try {
      return readFileSync(join(this.#root, path), 'utf8').replaceAll('\0', '').trim() || undefined;
    } catch {
      return undefined;
    }
  }

  /** A whole number that is not negative. */
  number(path: string): number | undefined {
    const text = this.text(path);
    return text !== undefined && /^\d+$/.test(text) ? Number(text) : undefined;
  }

  /** Names in a folder, sorted by their numbers. */
  names(path: string): string[] {
    try {
      return readdirSync(join(this.#root, path)).sort((a, b) =>
        a.localeCompare(b, 'en', { numeric: true, sensitivity: 'variant' }),
      );
    } catch {
      return [];
    }
  }

  /** The last part of where a link leads. */
  linkName(path: string): string | undefined {
    const target = this.linkTarget(path);
    return target === undefined ? undefined : basename(target);
  }

  linkTarget(path: string): string | undefined {
    try {
      return readlinkSync(join(this.#root, path));
    } catch {
      return undefined;
    }
  }

  exists(path: string): boolean {
    return this.names(path).length > 0 || this.text(path) !== undefined;
  }
}
