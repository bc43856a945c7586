// docs/quick-start.md: every command on it, in its order, by a person who has nothing but the program and a shell.

import { execFile } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, it } from 'vitest';

const ROOT = resolve(import.meta.dirname, '../..');
const run = promisify(execFile);

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lezea-quick-start-'));
});

afterEach(() => rmSync(folder, { recursive: true }));

it('does what it says', async () => {
  const page = readFileSync(join(ROOT, 'docs/quick-start.md'), 'utf8');
  const blocks = [...page.matchAll(/^```sh\n([\s\S]*?)^```/gm)].map(([, block = '']) => block);
  expect(blocks.length).toBeGreaterThanOrEqual(6);
  const bin = join(folder, 'bin');
  mkdirSync(bin);
  // Whoever runs the tests may be root, whose agent would be the machine's.
  const program = `#!/bin/sh\nexec '${process.execPath}' '${ROOT}/bin/lezea-monitor.js' "$@"\n`;
  writeFileSync(join(bin, 'lezea-monitor'), program);
  chmodSync(join(bin, 'lezea-monitor'), 0o755);
  const script = ['set -eu', 'trap "kill %1; wait" EXIT', 'set -m', ...blocks].join('\n');
  const { stdout, stderr } = await run('bash', ['-c', script], {
    cwd: folder,
    env: {
      PATH: `${bin}:${process.env.PATH}`,
      HOME: folder,
      XDG_RUNTIME_DIR: folder,
      PYTHONPATH: join(ROOT, 'python'),
      LEZEA_MONITOR_AGENT__MODE: 'user',
      LEZEA_MONITOR_SOCKET: join(folder, 'lezea-monitor', 'agent.sock'),
    },
    timeout: 60_000,
  });
  expect(stdout).toMatch(/^1$/m); // what the command of step 2 says itself
  expect(stdout).toMatch(/so far: 0\.\d+ s of CPU/);
  expect(stdout).toMatch(/ {4}layer:fc1 +\S+ s/);
  expect(stdout).toMatch(/conservation: .*residual 0/);
  expect(stdout).toMatch(/'value': 0?\.\d+|'value': \d/);
  expect(stderr).toContain('TOTAL');
  for (const id of ['first', 'second', 'third']) expect(stdout).toContain(id);
}, 90_000);
