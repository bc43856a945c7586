// The summary document: its shape against a golden text, its exact integers, and the same text whether made at once or in
// pieces.

import { expect, test } from 'vitest';
import { formatTotals } from '../../../src/cli/tree.js';
import { buildSummary, type SummaryContext } from '../../../src/files/summary.js';
import { summaryText } from '../../../src/files/summary-text.js';
import { columnOf } from '../../../src/native/frame.js';
import { exampleRun, fakeProcess, fakeRun, totals } from './fake-run.js';

const context: SummaryContext = {
  node: {
    name: 'node-7',
    boot_id: '0f1e2d3c-0000-4000-8000-000000000000',
    architecture: 'x64',
    kernel: '6.1.0',
    cpus: 2,
    memory_bytes: 8_000_000_000,
  },
  agent: { version: '0.1.0', overhead_cpu_seconds: 0.25 },
  user: 'ada',
};

const processes = [
  fakeProcess(),
  fakeProcess({ pid: 4712, exitCode: undefined, exitSignal: 9, oomKilled: true }),
  fakeProcess({ pid: 4713, released: true }),
  fakeProcess({ pid: 0, count: 40 }),
];

test('the document of a run is the golden one', async () => {
  const document = buildSummary(exampleRun(), processes, context);
  await expect(`${JSON.stringify(document, null, 2)}\n`).toMatchFileSnapshot('summary.golden.json');
});

test('written in pieces it is the same document', () => {
  const pieces = [...summaryText(exampleRun(), processes, context)];
  expect(pieces.length).toBeGreaterThan(4);
  const whole = JSON.parse(JSON.stringify(buildSummary(exampleRun(), processes, context)));
  expect(JSON.parse(pieces.join(''))).toEqual(whole);
});

test('a run without scopes and processes is a document too', () => {
  const run = fakeRun({ scopes: [], unattributed: totals({}), totals: totals({}) });
  const document = JSON.parse([...summaryText(run, [], context)].join(''));
  expect(document.scopes).toEqual([]);
  expect(document.processes).toEqual([]);
  expect(document.totals).toEqual({});
  expect(document.conservation).toEqual({});
});

test('conservation is exact beyond 2^53 and says what is left over', () => {
  const run = fakeRun({
    scopes: [{ step: 'builder:b0', self: totals({ cpu_seconds: 9_007_199_254_740_993n }) }],
    unattributed: totals({ cpu_seconds: 1n }),
    totals: totals({ cpu_seconds: 9_007_199_254_740_995n }),
  });
  expect(buildSummary(run, [], context).conservation.cpu_seconds).toEqual({
    unit: 'ns',
    scopes: '9007199254740993',
    unattributed: '1',
    total: '9007199254740995',
    residual: '1',
  });
});

test('memory that could not be read proportionally is estimated, from resident memory', () => {
  const mask = 1 << columnOf('memory_peak_bytes').index;
  const { memory_peak_bytes: peak } = buildSummary(exampleRun({ estimatedMask: mask }), [], context).totals;
  expect(peak).toMatchObject({ method: 'estimated', source: 'proc_statm' });
});

test('the split into user and system time is never called measured', () => {
  const document = buildSummary(exampleRun(), [], context);
  expect(document.totals.cpu_user_seconds?.method).toBe('estimated');
  expect(document.totals.cpu_seconds?.method).toBe('measured');
});

test('energy of the CPU is in joules, estimated, from RAPL, and balances in whole µJ', () => {
  const run = fakeRun({
    scopes: [{ step: 'builder:b0', self: totals({ cpu_energy_joules: 2_500_001n }) }],
    unattributed: totals({ cpu_energy_joules: 1n }),
    totals: totals({ cpu_seconds: 5n, cpu_energy_joules: 2_500_002n }),
  });
  const document = buildSummary(run, [], context);
  expect(document.totals.cpu_energy_joules).toMatchObject({
    value: 2.500002,
    method: 'estimated',
    source: 'rapl',
  });
  expect(document.scopes[0]?.self).toEqual({ cpu_energy_joules: 2.500001 });
  expect(document.conservation.cpu_energy_joules).toMatchObject({
    unit: 'uj',
    total: '2500002',
    residual: '0',
  });
  expect(formatTotals(document)).toMatch(/^CPU energy +2\.50 J +estimated$/m);
  // Where it was not measured nothing is said of it.
  const without = buildSummary(
    fakeRun({ scopes: [], unattributed: totals({}), totals: totals({}) }),
    [],
    context,
  );
  expect(formatTotals(without)).not.toContain('energy');
});

test('a phase that was named brings the phases with it', () => {
  const phases = [
    { name: null, startedAtMs: 0, endedAtMs: 1000, totals: totals({ cpu_seconds: 1n }) },
    { name: 'warmup', startedAtMs: 1000, totals: totals({}) },
  ];
  const run = fakeRun({ scopes: [], unattributed: totals({}), totals: totals({}), phases });
  expect(buildSummary(run, [], context).phases).toEqual([
    {
      name: null,
      started_at: '1970-01-01T00:00:00.000Z',
      ended_at: '1970-01-01T00:00:01.000Z',
      totals: { cpu_seconds: 1e-9 },
    },
    { name: 'warmup', started_at: '1970-01-01T00:00:01.000Z', totals: {} },
  ]);
});
