// The flat figures of a run: every known one once, in an order that does not depend on how the scopes were met.

import { expect, test } from 'vitest';
import {
  figuresOf,
  figuresOfSummary,
  metricsDocument,
  metricsText,
} from '../../../src/files/metrics-document.js';
import { buildSummary } from '../../../src/files/summary.js';
import { exampleRun, type FakeScope, fakeRun, totals } from './fake-run.js';

const CONTEXT = {
  node: { name: 'n', boot_id: 'b', architecture: 'x64', kernel: 'k', cpus: 1, memory_bytes: 1 },
  agent: { version: '0.1.0' },
  user: 'ada',
};
const textOf = (run: ReturnType<typeof fakeRun>) => [...metricsText(figuresOf(run))].join('');

test('the document of a run is the golden one, and what its schema says', async () => {
  const text = textOf(exampleRun());
  await expect(text).toMatchFileSnapshot('metrics.golden.json');
  expect(metricsDocument.parse(JSON.parse(text))).toBeTruthy();
});

test('from the summary of the run it is the same bytes', () => {
  const summary = JSON.parse(JSON.stringify(buildSummary(exampleRun(), [], CONTEXT)));
  expect([...metricsText(figuresOfSummary(summary))].join('')).toBe(textOf(exampleRun()));
});

test('scopes are in the order of their paths, zeros are there, and what is not known is not', () => {
  const scope = (step: string): FakeScope => ({ step, self: totals({ cpu_seconds: 0n }) });
  const of = (...steps: string[]) =>
    fakeRun({ scopes: steps.map(scope), unattributed: totals({}), totals: totals({ cpu_seconds: 0n }) });
  expect(textOf(of('b:2', 'b:10', 'a:z'))).toBe(textOf(of('a:z', 'b:2', 'b:10')));
  expect(Object.entries(JSON.parse(textOf(of('b:2', 'b:10'))))).toEqual([
    ['total/cpu_seconds', 0],
    ['b:10/cpu_seconds', 0],
    ['b:10/inclusive/cpu_seconds', 0],
    ['b:2/cpu_seconds', 0],
    ['b:2/inclusive/cpu_seconds', 0],
  ]);
  expect(JSON.parse(textOf(fakeRun({ scopes: [], unattributed: totals({}), totals: totals({}) })))).toEqual(
    {},
  );
});
