// What systeminformation says, in the document's words; and the real one, asked through its fence.

import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { askSysteminformation, describedBy } from '../../../src/inventory/systeminformation.js';

const BUILT = fileURLToPath(new URL('../../../dist/inventory/systeminformation-child.js', import.meta.url));

test('the real one answers for this machine', async () => {
  const said = await askSysteminformation(BUILT, 60_000);
  expect(said.source).toBe('systeminformation');
  expect(said.cpu.threads).toBeGreaterThan(0);
  expect(said.memory_bytes).toBeGreaterThan(2 ** 28);
  expect(said.os).toMatch(/\w/);
});

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
