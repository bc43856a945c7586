// The Python client's accelerator is optional: whatever keeps it from being built, an installation goes on.

import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const SCRIPT = 'scripts/build-accelerator.mjs';
const SOURCE = 'python/lezea_monitor/_accel.c';
const HEADER = 'native/scope/ring_layout.h';
const RSEQ = 'python/lezea_monitor/_rseq.h';
const TARGET = 'python/lezea_monitor/_accel.abi3.so';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lezea-build-'));
  for (const path of [SCRIPT, SOURCE, HEADER, RSEQ]) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    cpSync(join(ROOT, path), join(folder, path));
  }
  // As Python's headers are where there are any: what is compiled is none of this test's business.
  mkdirSync(join(folder, 'include'));
  writeFileSync(join(folder, 'include', 'Python.h'), '');
  writeFileSync(join(folder, 'python.sh'), `#!/bin/sh\necho '${join(folder, 'include')}'\n`, { mode: 0o755 });
  writeFileSync(join(folder, 'cc'), '#!/bin/sh\nfor last; do :; done; echo built > "$last"\n', {
    mode: 0o755,
  });
});

afterEach(() => rmSync(folder, { recursive: true }));

function build(environment: NodeJS.ProcessEnv): string {
  const PATH = `${folder}:${process.env.PATH}`; // where `cc` is ours
  const env = { ...process.env, PYTHON: join(folder, 'python.sh'), ...environment, PATH };
  const done = spawnSync(process.execPath, [join(folder, SCRIPT)], { env, encoding: 'utf8' });
  expect(done.status, done.stderr).toBe(0);
  return done.stderr;
}

test.each([undefined, '', ' ', 'cc', ' cc  -g '])('CC=%j is a compiler', (CC) => {
  expect(build({ CC })).toBe('');
  expect(existsSync(join(folder, TARGET))).toBe(true);
});

test.each<[string, NodeJS.ProcessEnv, () => void]>([
  ['no C compiler (no-such-compiler)', { CC: 'no-such-compiler' }, () => undefined],
  ['false failed', { CC: 'false' }, () => undefined],
  ['ring_layout.h', {}, () => rmSync(join(folder, HEADER))],
  ['_rseq.h', {}, () => rmSync(join(folder, RSEQ))],
  [
    'EISDIR',
    {},
    () => {
      mkdirSync(join(folder, TARGET, 'in-the-way'), { recursive: true });
      utimesSync(join(folder, TARGET), 0, 0); // older than the sources, whatever the clock's steps are
    },
  ],
])('goes without it: %s', (reason, environment, spoil) => {
  spoil();
  const stderr = build({ CC: 'cc', ...environment });
  expect(stderr).toContain(reason);
  expect(stderr).toContain('goes without its accelerator');
});
