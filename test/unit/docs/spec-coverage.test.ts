// docs/spec-coverage.md: everything that it names is there, and a name that is made up is found out.

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { coverageRows, namesIn } from './coverage-table.js';
import { deadLinksOf, missingOf } from './named-things.js';

const markdown = readFileSync(new URL('../../../docs/spec-coverage.md', import.meta.url), 'utf8');
const rows = coverageRows(markdown);

/** LeZeA's own numbers. */
const NUMBERS = [
  ...[
    '1.1',
    '1.2',
    '1.3',
    '1.4',
    '1.5',
    '1.5.4',
    '1.5.4.1',
    '1.5.4.2',
    '1.5.5',
    '1.5.6',
    '1.5.7.1',
    '1.6',
    '1.7',
  ],
  ...['2', '2.1', '2.2', '2.3'],
];

describe('the coverage of what the five systems record', () => {
  it('has each of them, and every number of LeZeA’s specification', () => {
    const systems = ['LeZeA', 'kaslite', 'rldk', 'Pixelis', 'SpectraMind'];
    expect([...new Set(rows.map(({ system }) => system))]).toEqual(systems);
    const numbers = rows
      .filter(({ system }) => system === 'LeZeA')
      .flatMap(({ recorded }) => /^\d[\d.]*/.exec(recorded)?.[0] ?? []);
    expect([...new Set(numbers)].sort()).toEqual(NUMBERS.toSorted());
  });

  it.each(rows.map((row) => [`${row.system}: ${row.recorded}`, row]))(
    '%s: says by what and where',
    (_, row) => {
      expect(namesIn(row.served)).not.toEqual([]);
      expect(row.where).not.toBe('');
      const tests = namesIn(row.tests);
      expect(tests).not.toEqual([]);
      for (const name of tests) expect(name).toMatch(/^(test|python\/tests)\//);
    },
  );

  it('names nothing that is not there', () => {
    const names = rows.flatMap(({ served, where, tests }) => [served, where, tests].flatMap(namesIn));
    expect(missingOf([...new Set(names)])).toEqual([]);
    expect(deadLinksOf(markdown)).toEqual([]);
  });
});

it.each([
  'src/inventory/firmware.ts',
  'test/unit/files/cost.test.ts › is the bronze one',
  'python/tests/test_facts.py › test_nothing_at_all',
  'lezea-monitor report',
  'lezea-monitor show --diff',
  'lezea-monitor outbox burn',
  'lezea_monitor.compat.Unheard()',
  'lezea_monitor.unheard.of()',
  'lezea_monitor.start_run(budget=)',
  'lezea_monitor.unheard_of',
  'lezea_monitor.run.Run.conductor()',
  'lezea_monitor.tag.<word>',
  'run.conclude()',
  'run.progress(laps=)',
  'run.conclude',
  'metrics.unheard_of',
  'lezea_scope_gpu_seconds_total',
  'resources/totals.json',
  'resources/summary.json#/run/purpose',
  'environment/full.json#/hardware/cpu/price',
  'environment/full.json#/run/facts/captured/mood',
  'metrics.json#/total/mood',
  'events.jsonl#/ts',
  'anything else',
])('a made-up name is found out: %s', (name) => {
  expect(missingOf([name])).toEqual([name]);
});

it('a link that leads nowhere is found out', () => {
  const links = ['[a](limits.md)', '[b](limit.md)', '[c](cli.md#preflight)', '[d](cli.md#take-off)'];
  expect(deadLinksOf(links.join(' '))).toEqual(['limit.md', 'cli.md#take-off']);
});

it('a row without a cell is found out', () => {
  expect(() => coverageRows('## A\n| they record | x |\n|---|---|\n| a | b | c |')).toThrow(
    '3 cells, expected 4',
  );
});
