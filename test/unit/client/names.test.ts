// Names: what every part of the system accepts, and the same as the Python client's, which is asked.

import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { cleanLevel, encodeName } from '../../../src/client/names.js';

test.each([
  ['plain name', { name: 'plain name' }],
  ['a/b:c%d', { name: 'a%2Fb%3Ac%25d', label: 'a/b:c%d' }],
  ['line\nbreak', { name: 'line%0Abreak', label: 'line\nbreak' }],
  ['', { name: '(empty)', label: '' }],
  [42, { name: '42' }],
  ['größe', { name: 'größe' }],
])('%j is encoded', (value, expected) => {
  expect(encodeName(value)).toEqual(expected);
});

test('a long name keeps its beginning and ends in a hash of the whole', () => {
  const first = encodeName('x'.repeat(200));
  const second = encodeName(`${'x'.repeat(199)}y`);
  expect(first.name).toMatch(/^x{111}~[0-9a-f]{16}$/);
  expect(first.name).not.toBe(second.name);
  expect(Buffer.byteLength(encodeName('é/'.repeat(80)).name)).toBeLessThanOrEqual(128);
});

test.each([
  ['layer', 'layer'],
  ['Data-Loader', 'data_loader'],
  ['9lives', 'level_9lives'],
  ['total', 'total_'],
  ['', 'level_'],
])('level %j becomes %j', (value, expected) => {
  expect(cleanLevel(value)).toBe(expected);
});

test('the Python client gives the same names', () => {
  const values = [
    'a/b',
    '%',
    'ü\u200b\u2028',
    'ab',
    '\u{1F600}'.repeat(40),
    'é/'.repeat(80),
    '',
    'x'.repeat(129),
    'a b\u00a0',
  ];
  const levels = ['Layer', 'total', '_x', 'Ünder', 'ok_1'];
  const program = [
    'import json, sys',
    'from lezea_monitor.names import clean_level, encode_name',
    'values, levels = json.load(sys.stdin)',
    'print(json.dumps([[encode_name(v)[0] for v in values], [clean_level(v) for v in levels]]))',
  ].join('\n');
  const python = fileURLToPath(new URL('../../../python', import.meta.url));
  const output = execFileSync('python3', ['-c', program], {
    input: JSON.stringify([values, levels]),
    env: { ...process.env, PYTHONPATH: python, PYTHONDONTWRITEBYTECODE: '1' },
  });
  expect(JSON.parse(output.toString())).toEqual([
    values.map((value) => encodeName(value).name),
    levels.map(cleanLevel),
  ]);
});
