// `preflight` on this machine: its disk, a real Python and its packages.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { main } from '../../../src/cli/main.js';
import { Files } from '../../../src/inventory/files.js';
import { gatherFacts } from '../../../src/preflight/facts.js';
import { nodeFiles } from '../inventory/node-files.js';

let folder: string;
let out: string;
let err: string;

const io = {
  out: (text: string) => {
    out += text;
  },
  err: (text: string) => {
    err += text;
  },
};

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lezea-preflight-'));
  [out, err] = ['', ''];
});

afterEach(() => rmSync(folder, { recursive: true }));

/** Answers as a Python does that has these packages. */
function pythonWith(packages: Record<string, string | null>): string {
  const path = join(folder, 'python');
  const said = JSON.stringify({ version: '3.11.2', packages });
  writeFileSync(path, `#!/bin/sh\necho '${said}'\n`, { mode: 0o755 });
  return path;
}

test('fine: 0, and what there is', async () => {
  const python = pythonWith({ torch: '2.3.1' });
  const args = ['--min-disk-free-gb', '0.001', '--require-python-package', 'torch>=2.3', '--python', python];
  expect(await main(['preflight', ...args], io)).toBe(0);
  expect(out).toBe('fine\n');
  out = '';
  expect(await main(['preflight', ...args, '--json'], io)).toBe(0);
  expect(JSON.parse(out)).toMatchObject({
    is_valid: true,
    errors: [],
    warnings: [],
    facts: {
      disk_free_bytes: expect.any(Number),
      python: { executable: python, version: '3.11.2' },
      packages: { torch: '2.3.1' },
    },
  });
});

test('not fine: 1, and what is wrong', async () => {
  const python = pythonWith({ torch: '2.3.1', none: null });
  const args = ['--require-python-package', 'torch>=3', '--require-python-package', 'none'];
  expect(await main(['preflight', ...args, '--python', python, '--min-disk-free-gb', '99999999'], io)).toBe(
    1,
  );
  expect(out).toMatch(/^not fine: free disk space: [\d.]+ GB, expected at least 99999999 GB$/m);
  expect(out).toMatch(/^not fine: Python package torch: 2\.3\.1, expected torch 3 or later$/m);
  expect(out).toMatch(/^not fine: Python package none: not installed, expected none$/m);
});

test('a Python that does not run is said, and what it was to tell is not known', async () => {
  const args = ['--require-python-package', 'torch', '--python', join(folder, 'nowhere')];
  expect(await main(['preflight', ...args, '--json'], io)).toBe(1);
  const { errors, warnings } = JSON.parse(out);
  expect(errors).toEqual(['Python package torch: not known, expected torch']);
  expect(warnings).toEqual([expect.stringMatching(/nowhere: .*ENOENT.*; expected a Python that runs$/)]);
});

test('a real Python says what it has, and that it has not what nobody has', async () => {
  const python = '/usr/bin/python3';
  const packages = [{ name: 'no-such-package-at-all' }];
  const { facts, problems } = await gatherFacts({ folder: '/', python, packages, gpus: 'nothing' });
  expect(problems).toEqual([]);
  expect(facts.packages).toEqual({ 'no-such-package-at-all': null });
  expect(facts.python?.version).toMatch(/^3\.\d+\.\d+/);
  expect(facts.disk_free_bytes).toBeGreaterThan(0);
});

const gpusOf = (files: Files) => ({ folder: '/', python: '/', packages: [], files, gpus: 'memory' as const });

test('what the driver says of its GPUs, and nvidia-smi of their memory', async () => {
  const askGpus = async () => ({
    source: 'nvidia_smi' as const,
    cudaVersion: '12.4',
    devices: [
      { uuid: 'GPU-99', memoryTotalBytes: 1 },
      { uuid: 'GPU-3a', memoryTotalBytes: 80e9, memoryFreeBytes: 79e9 },
    ],
  });
  const { facts, problems } = await gatherFacts({ ...gpusOf(nodeFiles()), askGpus });
  const known = { uuid: 'GPU-3a', model: 'NVIDIA H100 80GB HBM3' };
  expect(facts).toMatchObject({
    gpus: [{ ...known, memory_total_bytes: 80e9, memory_free_bytes: 79e9 }],
    driver_version: '550.54.15',
    cuda_version: '12.4',
  });
  expect(problems).toEqual([]);
});

test('what nvidia-smi says where the driver lists nothing', async () => {
  const devices = [{ uuid: 'GPU-99', model: 'A', memoryTotalBytes: 2 }];
  const askGpus = async () => ({ source: 'nvidia_smi' as const, driverVersion: '570', devices });
  const { facts } = await gatherFacts({ ...gpusOf(new Files(folder)), askGpus });
  expect(facts.gpus).toEqual([{ uuid: 'GPU-99', model: 'A', memory_total_bytes: 2 }]);
  expect(facts.driver_version).toBe('570');
});

test('an nvidia-smi that fails is a warning, and memory is not known', async () => {
  const askGpus = () => Promise.reject(new Error('exit status 9'));
  const { facts, problems } = await gatherFacts({ ...gpusOf(nodeFiles()), askGpus });
  expect(facts.gpus).toEqual([{ uuid: 'GPU-3a', model: 'NVIDIA H100 80GB HBM3' }]);
  expect(problems).toEqual(['GPUs: exit status 9']);
});

test.each([
  [[], 'expected something to check'],
  [['--min-gpus', '1.5'], '--min-gpus 1.5: expected a whole number that is not negative'],
  [['--min-disk-free-gb', '-1'], '--min-disk-free-gb -1: expected a number that is not negative'],
  [['--min-cuda-version', 'new'], '--min-cuda-version new: expected a version such as 12.1'],
  [['--require-python-package', 'a b'], '--require-python-package a b: expected NAME or NAME>=VERSION'],
  [['--min-gpus', '1', '--python', 'python3'], '--python python3: expected an absolute path'],
])('%j: exit code 2', async (args, line) => {
  expect(await main(['preflight', ...args], io)).toBe(2);
  expect(err).toContain(`lezea-monitor: ${line}`);
  expect(out).toBe('');
});
