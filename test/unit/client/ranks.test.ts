// What launchers say of ranks; the Python client's tests read the same cases.

import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { type Ranks, ranksOf } from '../../../src/client/ranks.js';

interface Case {
  launcher: string;
  env: Record<string, string>;
  expected: Ranks;
  warns: boolean;
}

const file = new URL('../../fixtures/ranks.json', import.meta.url);
const cases = JSON.parse(readFileSync(file, 'utf8')) as Case[];

it.each(cases)('$launcher', ({ env, expected, warns }) => {
  const warnings: string[] = [];
  expect(ranksOf(env, (text) => warnings.push(text))).toEqual(expected);
  expect(warnings).toHaveLength(warns ? 1 : 0);
});
