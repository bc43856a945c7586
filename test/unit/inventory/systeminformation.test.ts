// What systeminformation says, in the document's words; and the real one, asked through its fence.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test, vi } from 'vitest';
import { askSysteminformation, describedBy } from '../../../src/inventory/systeminformation.js';

const BUILT = fileURLToPath(new URL('../../../dist/inventory/systeminformation-child.js', import.meta.url));

test('the real one answers for this machine', async () => {
  const said = await askSysteminformation(BUILT, 60_000);
  expect(said.source).toBe('systeminformation');
  expect(said.cpu.threads).toBeGreaterThan(0);
  expect(said.memory_bytes).toBeGreaterThan(2 ** 28);
  expect(said.os).toMatch(/\w/);
});

/** Commands that systeminformation runs, or would where they were. */
const COMMANDS = [
  'cat',
  'date',
  'dmesg',
  'dmidecode',
  'grep',
  'hostname',
  'ip',
  'ls',
  'lsblk',
  'lscpu',
  'smartctl',
  'which',
];

test('the real one runs no command of a folder that is not in the fixed PATH', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'lezea-path-'));
  const ran = join(folder, 'ran');
  for (const command of COMMANDS)
    writeFileSync(join(folder, command), `#!/bin/sh\necho "$0" >> '${ran}'\n`, { mode: 0o755 });
  vi.stubEnv('PATH', `${folder}:${process.env.PATH}`);
  try {
    const said = await askSysteminformation(BUILT, 60_000);
    expect(said.cpu.threads).toBeGreaterThan(0);
    expect(existsSync(ran)).toBe(false);
    // Without the fence it would have.
    spawnSync(process.execPath, [BUILT], { stdio: 'ignore', timeout: 60_000 });
    expect(existsSync(ran)).toBe(true);
  } finally {
    vi.unstubAllEnvs();
    rmSync(folder, { recursive: true });
  }
}, 120_000);

test('what it does not know is left out, and what it says wrongly is not believed', () => {
  const said = describedBy({
    cpu: { manufacturer: 'AMD', brand: 'EPYC', physicalCores: 0, processors: -1, cores: 'many' },
    memory: { total: 1024.4 },
    os: { distro: 'Debian', release: '12', codename: '' },
    system: { manufacturer: '-', model: '' },
    disks: [{ device: '/dev/sda', name: '', size: 7 }],
  });
  expect(said).toEqual({
    source: 'systeminformation',
    cpu: { name: 'AMD EPYC' },
    memory_bytes: 1024,
    os: 'Debian 12',
    disks: [{ name: 'sda', size_bytes: 7 }],
  });
  expect(() => describedBy([])).toThrow();
});
