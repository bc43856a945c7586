// Figures and tables as people see them.

import { expect, test } from 'vitest';
import {
  formatBytes,
  formatCount,
  formatSeconds,
  formatShare,
  formatTable,
  formatTime,
} from '../../../src/cli/format.js';
import { isForeground } from '../../../src/cli/signals.js';

test.each([
  [undefined, '-'],
  [0, '0.000 s'],
  [1.23456, '1.235 s'],
  [12.3456, '12.35 s'],
  [63.44, '1 m 03.4 s'],
  [119.97, '2 m 00.0 s'],
  [3599.99, '1 h 00 m'],
  [18_420, '5 h 07 m'],
])('%j seconds: %s', (seconds, text) => {
  expect(formatSeconds(seconds)).toBe(text);
});

test.each([
  [undefined, '-'],
  [0, '0 B'],
  [512, '512 B'],
  [999_600, '1.00 MB'],
  [1_234_567_890, '1.23 GB'],
])('%j bytes: %s', (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text);
});

test('counts are grouped, shares need a whole', () => {
  expect(formatCount(1_234_567)).toBe('1 234 567');
  expect(formatCount(999)).toBe('999');
  expect(formatShare(1, 3)).toBe('33.3 %');
  expect(formatShare(1, 0)).toBe('-');
  expect(formatShare(undefined, 3)).toBe('-');
});

test('a time that is none is not invented', () => {
  expect(formatTime(undefined)).toBe('-');
  expect(formatTime('soon')).toBe('-');
  expect(formatTime('2026-11-21T10:00:00.000Z')).toMatch(/^2026-11-2\d \d\d:00:00$/);
});

test('a table is aligned, has no trailing blanks and lets no control character through', () => {
  const table = formatTable(
    [{ title: 'NAME' }, { title: 'N', align: 'right' }],
    [
      ['größe', '1'],
      ['\u001b[31mred', '1000'],
      ['x', ''],
    ],
  );
  expect(table).toBe('NAME         N\ngröße        1\n\uFFFD[31mred  1000\nx\n');
});

test.each([
  ['4711 (node) S 4710 4711 4600 34816 4711 0', true],
  ['4711 (a) b (c) S 4710 4711 4600 34816 4800 0', false],
  ['4711 (node) S 4710 4711 4600 0 -1 0', false],
])('%j is in the foreground of its terminal: %j', (stat, expected) => {
  expect(isForeground(stat)).toBe(expected);
});
