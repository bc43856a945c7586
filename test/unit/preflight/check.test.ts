// What a node has against what a run needs.

import { expect, test } from 'vitest';
import { checkNode, type Facts, type Requirements } from '../../../src/preflight/check.js';
import { compareVersions } from '../../../src/preflight/versions.js';

test.each([
  ['9.2', '12.1', -1],
  ['12.1', '9.2', 1],
  ['12', '12.0.0', 0],
  ['550.54.15', '550.54.9', 1],
  ['v2.1', '2.1', 0],
  ['2.0rc1', '2.0', -1],
  ['2.0.dev3', '2.0', -1],
  ['2.0+cu121', '2.0', 0],
  ['2.0.post1', '2.0', 0],
  ['unknown', '0', -1],
])('version %s against %s: %i', (one, other, sign) => {
  expect(Math.sign(compareVersions(one, other))).toBe(sign);
});

const FACTS: Facts = {
  gpus: [
    { model: 'H100', memory_total_bytes: 85e9, memory_free_bytes: 80e9 },
    { memory_total_bytes: 40e9, memory_free_bytes: 1.25e9 },
  ],
  driver_version: '550.54.15',
  cuda_version: '12.4',
  disk_free_bytes: 10e9,
  packages: { torch: '2.3.1+cu121', mlflow: null },
};

test.each<[Requirements, string[]]>([
  [{ minGpus: 2, minGpuMemoryGb: 40, minCudaVersion: '9.2', minDriverVersion: '550', minDiskFreeGb: 10 }, []],
  [{ minGpus: 3 }, ['GPUs: 2, expected at least 3']],
  [{ minGpuMemoryGb: 80 }, ['GPU 1, memory: 40.0 GB, expected at least 80 GB']],
  [
    { minFreeGpuMemoryGb: 81 },
    [
      'GPU 0 (H100), free memory: 80.0 GB, expected at least 81 GB',
      'GPU 1, free memory: 1.3 GB, expected at least 81 GB',
    ],
  ],
  [{ minCudaVersion: '12.10' }, ['CUDA version: 12.4, expected at least 12.10']],
  [{ minDriverVersion: '551' }, ['GPU driver version: 550.54.15, expected at least 551']],
  [{ minDiskFreeGb: 11 }, ['free disk space: 10.0 GB, expected at least 11 GB']],
  [{ packages: [{ name: 'torch', least: '2.3.1' }] }, []],
  [
    { packages: [{ name: 'torch', least: '2.10' }, { name: 'mlflow' }, { name: 'other' }] },
    [
      'Python package torch: 2.3.1+cu121, expected torch 2.10 or later',
      'Python package mlflow: not installed, expected mlflow',
      'Python package other: not known, expected other',
    ],
  ],
])('%j', (needs, errors) => {
  expect(checkNode(needs, FACTS, ['a problem'])).toEqual({
    is_valid: errors.length === 0,
    errors,
    warnings: ['a problem'],
    facts: FACTS,
  });
});

test('what is not known does not do', () => {
  const needs = { minGpuMemoryGb: 1, minCudaVersion: '1', minDriverVersion: '1', minDiskFreeGb: 1 };
  expect(checkNode(needs, { gpus: [{}] }).errors).toEqual([
    'GPU 0, memory: not known, expected at least 1 GB',
    'CUDA version: not known, expected at least 1',
    'GPU driver version: not known, expected at least 1',
    'free disk space: not known, expected at least 1 GB',
  ]);
  expect(checkNode({ minGpuMemoryGb: 1 }, { gpus: [] }).errors).toEqual([
    'GPU memory: no GPU, expected at least 1 GB',
  ]);
  expect(checkNode({ minGpus: 1, minGpuMemoryGb: 1 }, {}).errors).toEqual([
    'GPUs: not known, no driver lists them, expected at least 1',
    'GPU memory: not known, no driver lists them, expected at least 1 GB',
  ]);
  expect(checkNode({ minGpus: 0 }, {}).is_valid).toBe(true);
});
