// The busiest second of a run, whatever the pace of the samples.

import { expect, test } from 'vitest';
import { type CpuWindows, withSample } from '../../../src/attribution/cpu-windows.js';
import { totals } from '../files/fake-run.js';

const MS = 1_000_000n;
/** Samples at these ms of the run, with so many ms of CPU by then. */
function after(samples: [number, number][], before?: CpuWindows): CpuWindows | undefined {
  return samples.reduce<CpuWindows | undefined>(
    (windows, [at, cpu]) =>
      withSample(windows, { elapsedNs: BigInt(at) * MS, totals: totals({ cpu_seconds: BigInt(cpu) * MS }) }),
    before,
  );
}

test('a window is over at the first sample after a second, and the busiest one stays', () => {
  expect(after([[0, 0]])).toMatchObject({ count: 0 });
  expect(after([[0, 0]])?.busiestCpus).toBeUndefined();
  const busy = after([
    [0, 0],
    [400, 800],
    [800, 1600],
    [1250, 2500],
  ]);
  expect(busy).toMatchObject({ count: 1, busiestCpus: 2 });
  expect(after([[2250, 2600]], busy)).toMatchObject({ count: 2, busiestCpus: 2 });
  expect(after([[4250, 8600]], busy)).toMatchObject({ count: 2, busiestCpus: 6100 / 3000 });
});

test('what is stored goes on where it was', () => {
  const stored = JSON.parse(JSON.stringify(after([[0, 0]])));
  expect(after([[2000, 3000]], stored)).toMatchObject({ count: 1, busiestCpus: 1.5 });
});

test('without the CPU time nothing is known', () => {
  expect(withSample(undefined, { elapsedNs: 5n, totals: totals({ minor_faults: 1n }) })).toBeUndefined();
});
