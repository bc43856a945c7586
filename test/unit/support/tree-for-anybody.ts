// The program where an ordinary user may read it: this tree, or, where that is closed (a checkout below /root), a copy of what
// the program needs to run, Node.js included.

import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';

const ROOT = resolve(import.meta.dirname, '../../..');
const NEEDED = ['bin', 'dist', 'package.json', 'build/Release/lezea_monitor.node', 'node_modules'];
const NOT_NEEDED = ['@biomejs', 'typescript', 'vitest', 'fast-check', 'node-gyp'];

export interface Tree {
  node: string;
  /** bin/lezea-monitor.js */
  program: string;
}

/** `prefix`: becomes that user. `folder`: where a copy goes, open to everybody. */
export function treeForAnybody(prefix: readonly string[], folder: string): Tree {
  const here = { node: process.execPath, program: join(ROOT, 'bin', 'lezea-monitor.js') };
  const [command = '', ...rest] = [...prefix, here.node, here.program, '--version'];
  if (spawnSync(command, rest, { cwd: '/' }).status === 0) return here;
  const copy = { node: join(folder, 'node'), program: join(folder, 'tree', 'bin', 'lezea-monitor.js') };
  mkdirSync(join(folder, 'tree'));
  copyFileSync(here.node, copy.node);
  const left = NOT_NEEDED.map((name) => `--exclude=node_modules/${name}`);
  const script =
    'from=$1 to=$2 node=$3; shift 3; tar -cf - -C "$from" "$@" | tar -xf - --no-same-owner -C "$to"; chmod -R go+rX "$to" "$node"';
  const places = [ROOT, join(folder, 'tree'), copy.node];
  const words = ['-e', '-o', 'pipefail', '-c', script, 'bash', ...places, ...left, ...NEEDED];
  const done = spawnSync('bash', words, { encoding: 'utf8' });
  if (done.status !== 0) throw new Error(`the tree cannot be copied: ${done.stderr}`);
  return copy;
}
