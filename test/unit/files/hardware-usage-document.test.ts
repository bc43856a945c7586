// Shares of the node in the shape of another monitor: of the run alone, and only what is known.

import { expect, test } from 'vitest';
import { hardwareUsageDocument, hardwareUsageText } from '../../../src/files/hardware-usage-document.js';
import { summaryHead } from '../../../src/files/summary.js';
import type { SummaryHead } from '../../../src/files/summary-document.js';
import { exampleRun, fakeRun, totals } from './fake-run.js';

const NODE = { name: 'n', boot_id: 'b', architecture: 'x64', kernel: 'k', cpus: 4, memory_bytes: 1000 };
const head = (run: ReturnType<typeof fakeRun>): SummaryHead =>
  summaryHead(run, { node: NODE, agent: { version: '0' }, user: 'ada' });

test('the document of a run is the golden one, and what its schema says', async () => {
  const text = hardwareUsageText(head(exampleRun())) ?? '';
  await expect(text).toMatchFileSnapshot('hardware-usage.golden.json');
  expect(hardwareUsageDocument.parse(JSON.parse(text))).toBeTruthy();
});

test('shares are of the whole node and of the whole time', () => {
  const columns = {
    cpu_seconds: 3_000_000_000n,
    memory_byte_seconds: 500_000_000_000n,
    memory_peak_bytes: 250n,
  };
  const of = head(fakeRun({ scopes: [], unattributed: totals({}), totals: totals(columns) }));
  const run = { ...of.run, elapsed_seconds: 2, cpu_windows: { count: 3, busiest_cpus: 2 } };
  expect(JSON.parse(hardwareUsageText({ ...of, run }) ?? '')).toEqual({
    cpu: { mean_percent: 37.5, max_percent: 50, samples: 3 },
    memory: { mean_percent: 25, max_percent: 25, samples: 3 },
  });
});

test('a GPU is as busy as it was for the run while the run held it', () => {
  const usageOf = (active: bigint) => {
    const columns = { gpu_active_seconds: active, gpu_allocated_seconds: 8_000_000_000n };
    const of = head(fakeRun({ scopes: [], unattributed: totals({}), totals: totals(columns) }));
    return JSON.parse(hardwareUsageText({ ...of, run: { ...of.run, elapsed_seconds: 9 } }) ?? '');
  };
  expect(usageOf(2_000_000_000n).gpu).toMatchObject({ mean_percent: 25 });
  // Work is sampled, and may be of a moment in which no list had the process yet.
  expect(usageOf(9_000_000_000n).gpu).toMatchObject({ mean_percent: 100 });
});

test('what is not known has no key, and of nothing there is no document', () => {
  const of = head(fakeRun({ scopes: [], unattributed: totals({}), totals: totals({ cpu_seconds: 0n }) }));
  const { cpu_windows: _unknown, ...run } = of.run;
  expect(JSON.parse(hardwareUsageText({ ...of, run }) ?? '')).toEqual({
    cpu: { mean_percent: 0, samples: 0 },
  });
  const { elapsed_seconds: _neither, ...young } = run;
  expect(hardwareUsageText({ ...of, run: young })).toBeUndefined();
  expect(hardwareUsageText({ ...of, totals: {} })).toBeUndefined();
});
