// docs/security.md: every attack that it names is made by a test that is there, and what it counts is a family.

import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { namesIn } from './coverage-table.js';
import { deadLinksOf, missingOf } from './named-things.js';

const markdown = readFileSync(new URL('../../../docs/security.md', import.meta.url), 'utf8');
const [, attacks = ''] = markdown.split('| attack | answer | counted | test |\n');
const rows = attacks
  .split('\n')
  .filter((line) => line.startsWith('| '))
  .map((line) => line.split('|').slice(1, -1));

it('has a row for each attack, with a test', () => {
  expect(rows.length).toBeGreaterThanOrEqual(25);
  for (const cells of rows) {
    expect(cells).toHaveLength(4);
    expect(namesIn(cells[3]!)).toHaveLength(1);
  }
});

it('names no test and no family that is not there', () => {
  const names = rows.flatMap(([, , counted = '', test = '']) => [...namesIn(counted), ...namesIn(test)]);
  expect(missingOf([...new Set(names)])).toEqual([]);
  expect(deadLinksOf(markdown)).toEqual([]);
});
