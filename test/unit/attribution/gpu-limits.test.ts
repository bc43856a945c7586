// What limits of GPUs and energy are held against.

import { expect, it } from 'vitest';
import { usedOf } from '../../../src/attribution/limit-figures.js';
import type { RunLimitName } from '../../../src/attribution/run-limits.js';
import { totals } from '../files/fake-run.js';

const used = (limit: RunLimitName, values: Parameters<typeof totals>[0]) =>
  usedOf({ totals: totals(values), steps: 0, episodes: 0, runtimeSeconds: 1 }, limit, () => undefined);

it('GPU hours are hours in which GPUs worked, GPU memory the most that was held', () => {
  expect(used('gpu_hours', { gpu_active_seconds: 5_400_000_000_000n })).toBe(1.5);
  expect(used('gpu_memory_bytes', { gpu_memory_peak_bytes: 80n })).toBe(80);
  expect(used('gpu_hours', { cpu_seconds: 1n })).toBeUndefined();
  expect(used('gpu_memory_bytes', { cpu_seconds: 1n })).toBeUndefined();
});

it('energy is that of CPU and GPUs; of the CPU alone it is not where a GPU was used', () => {
  expect(used('energy_joules', { cpu_energy_joules: 2_000_000n, gpu_energy_joules: 3_000_000n })).toBe(5);
  expect(used('energy_joules', { cpu_energy_joules: 2_000_000n })).toBe(2);
  expect(used('energy_joules', { gpu_energy_joules: 3_000_000n, gpu_allocated_seconds: 1n })).toBe(3);
  expect(used('energy_joules', { cpu_energy_joules: 2_000_000n, gpu_allocated_seconds: 1n })).toBeUndefined();
  expect(used('energy_joules', {})).toBeUndefined();
});
