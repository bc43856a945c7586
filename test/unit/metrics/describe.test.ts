// The reference knows every family that a scrape can show, each under one name.

import { expect, it } from 'vitest';
import { httpCounters } from '../../../src/http/counters.js';
import { describeMetrics } from '../../../src/metrics/describe.js';
import { LEZEA_FAMILIES } from '../../../src/metrics/lezea-compat.js';
import { nodeFamilies } from '../../../src/metrics/node.js';
import { AgentRegistry } from '../../../src/metrics/registry.js';

it('names every family once, and well', () => {
  const registry = new AgentRegistry();
  httpCounters(registry);
  const rows = describeMetrics(registry.families()).matchAll(/^\| `(lezea_[^`]+)` \| (\w+) /gm);
  const families = [...rows].map(([, name = '', type]) => ({ name, type }));
  expect(families.length).toBeGreaterThan(80);
  expect(new Set(families.map(({ name }) => name)).size).toBe(families.length);
  const lezeas = new Set(LEZEA_FAMILIES.map(({ name }) => name));
  for (const { name, type } of families) {
    if (!lezeas.has(name)) expect(name).toMatch(/^lezea_(agent|gpu|run|scope|node)_[a-z0-9_<>]+$/);
    expect([name, name.endsWith('_total')]).toEqual([name, type === 'counter']);
    expect([name, name.endsWith('_info')]).toEqual([name, type === 'info']);
  }
});

it('has a meaning for the figures that the sampler reads', () => {
  const names = [
    'load15',
    'memory_MemAvailable_bytes',
    'pressure_io_stalled_seconds_total',
    'disk_read_bytes_total',
  ];
  for (const { header } of nodeFamilies(
    names.map((name) => ({ name, labels: {}, value: 1, kind: 'gauge' })),
  )) {
    expect(header.help).not.toBe('Figure of the machine.');
  }
});
