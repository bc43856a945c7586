// The shipped unit and its drop-ins, as systemd itself sees them: no complaint, and an exposure below the bound. Reads
// systemd/ and runs systemd-analyze offline; nothing is installed. A file of the package that is not here, its own
// Node.js, is replaced by the one that runs this.

import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const UNITS = new URL('../../../systemd/', import.meta.url).pathname;
const NAME = 'lezea-monitor.service';
const PACKAGED_NODE = '/usr/lib/lezea-monitor/node/bin/node';
const run = promisify(execFile);

const version = await run('systemd-analyze', ['--version']).then(
  ({ stdout }) => Number(/^systemd (\d+)/.exec(stdout)?.[1]),
  () => undefined,
);
// Below 250 it cannot look at a unit that is not installed.
const usable = version !== undefined && version >= 250;

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lezea-unit-'));
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

/** Lays the unit out as in /etc/systemd/system, with a drop-in where one is named. */
function layOut(dropIn: string | undefined, appended = ''): string {
  const unit = readFileSync(join(UNITS, NAME), 'utf8');
  expect(unit).toContain(PACKAGED_NODE);
  writeFileSync(join(folder, NAME), unit.replaceAll(PACKAGED_NODE, process.execPath) + appended);
  if (dropIn !== undefined) {
    mkdirSync(join(folder, `${NAME}.d`));
    const more = readFileSync(join(UNITS, 'drop-ins', dropIn), 'utf8');
    writeFileSync(join(folder, `${NAME}.d`, dropIn), more.replaceAll(PACKAGED_NODE, process.execPath));
  }
  return join(folder, NAME);
}

/** Exit status and all that it says. An empty entry at the end of the path adds systemd's own folders. */
async function analyze(...args: string[]): Promise<{ status: number; said: string }> {
  const env = { ...process.env, SYSTEMD_UNIT_PATH: `${folder}:`, LC_ALL: 'C.UTF-8' };
  const done = (status: number, { stdout, stderr }: { stdout: string; stderr: string }) => ({
    status,
    said: `${stdout}${stderr}`,
  });
  return run('systemd-analyze', args, { env }).then(
    (output) => done(0, output),
    (error) => done(error.code, error),
  );
}

/** `most`: times ten, as --threshold= takes it. */
const SHAPES = [
  { title: 'as shipped', dropIn: undefined, most: 22 },
  { title: 'without capabilities', dropIn: 'no-capabilities.conf', most: 18 },
  { title: 'with the capabilities to read /proc', dropIn: 'proc-fallback.conf', most: 27 },
];

describe.skipIf(!usable)(`the unit (systemd-analyze 250 or later; here ${version ?? 'none'})`, () => {
  for (const { title, dropIn, most } of SHAPES) {
    it(`${title} is exposed by at most ${most / 10}`, async () => {
      const path = layOut(dropIn);
      const { status, said } = await analyze('security', '--offline=true', `--threshold=${most}`, path);
      expect(status, said.trim().split('\n').at(-1)).toBe(0);
      expect(said).toMatch(/Overall exposure level for lezea-monitor\.service: \d/);
    });

    it(`${title} is without a complaint`, async () => {
      // Manual pages come with the package.
      const { status, said } = await analyze('verify', '--man=no', layOut(dropIn));
      expect({ status, said }).toEqual({ status: 0, said: '' });
    });
  }

  it('is held to its bound: what opens it up is found', async () => {
    const open = '\n[Service]\nNoNewPrivileges=no\nUser=root\nSystemCallFilter=\nCapabilityBoundingSet=~\n';
    const { status } = await analyze('security', '--offline=true', '--threshold=27', layOut(undefined, open));
    expect(status).not.toBe(0);
  });

  it('is held to what systemd knows: a word that it does not know is found', async () => {
    const { said } = await analyze(
      'verify',
      '--man=no',
      layOut(undefined, '\n[Service]\nProtectEverything=yes\n'),
    );
    expect(said).toContain('ProtectEverything');
  });
});
