// Prices for tests, and a program that knows nothing of ours and works costs out again.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CostSettings } from '../../../src/files/cost-rates.js';

export function pricesOf(some: Partial<CostSettings>): CostSettings {
  return {
    currency: 'EUR',
    gpu_per_hour: null,
    cpu_per_core_hour: null,
    ram_per_gb_hour: null,
    io_per_gb: null,
    egress_per_gb: null,
    storage_per_gb_month: null,
    gpu_memory_per_gb_hour: null,
    energy_per_kwh: null,
    gpu_basis: 'active',
    ...some,
  };
}

/** What is wrong with a cost document, by the run's summary: nothing where it is right. */
export function recomputed(summary: string, cost: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'lezea-cost-'));
  try {
    writeFileSync(join(folder, 'summary.json'), summary);
    writeFileSync(join(folder, 'cost.json'), cost);
    const script = join(import.meta.dirname, 'recompute_cost.py');
    return execFileSync('python3', [
      script,
      join(folder, 'summary.json'),
      join(folder, 'cost.json'),
    ]).toString();
  } finally {
    rmSync(folder, { recursive: true });
  }
}
