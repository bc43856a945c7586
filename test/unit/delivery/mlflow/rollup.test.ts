// A running run's figures as one request: every column and level that is known, few enough for every server.

import { expect, it } from 'vitest';
import { bodyOf } from '../../../../src/delivery/mlflow/items.js';
import { MAX_BATCH_KEYS } from '../../../../src/delivery/mlflow/plan.js';
import { planRollup } from '../../../../src/delivery/mlflow/rollup.js';
import { COLUMN_LIST } from '../../../../src/native/frame.js';
import { everyColumn } from '../../support/ended-run.js';

const AT = { node: 'n', atMs: 1_700_000_000_000.4, step: 7 };
const metricsOf = (facts: Partial<Parameters<typeof planRollup>[0]>) => {
  const made = planRollup({ ...AT, totals: {}, ...facts });
  return made && bodyOf(made, 'metrics').metrics;
};

it('has every column and level, in one batch that every server takes', () => {
  const totals = everyColumn(3);
  const metrics = metricsOf({ totals, memoryBytes: 5, cpuCores: 0.5 })!;
  expect(metrics.length).toBe(COLUMN_LIST.length + 2);
  expect(metrics.length).toBeLessThanOrEqual(MAX_BATCH_KEYS);
  const expected = { ...totals, memory_bytes: 5, cpu_cores: 0.5 };
  expect(Object.fromEntries(metrics.map(({ key, value }) => [key, value]))).toEqual(
    Object.fromEntries(Object.entries(expected).map(([name, value]) => [`system/n/${name}`, value])),
  );
  for (const metric of metrics) expect(metric).toMatchObject({ timestamp: 1_700_000_000_000, step: 7 });
});

it('leaves out totals that are zero or unknown, but says that a level is zero', () => {
  expect(metricsOf({ totals: { cpu_seconds: 0 }, memoryBytes: 0, cpuCores: 0 })).toEqual([
    { key: 'system/n/memory_bytes', value: 0, timestamp: 1_700_000_000_000, step: 7 },
    { key: 'system/n/cpu_cores', value: 0, timestamp: 1_700_000_000_000, step: 7 },
  ]);
  expect(metricsOf({ totals: { cpu_seconds: 0 } })).toBeUndefined();
});
