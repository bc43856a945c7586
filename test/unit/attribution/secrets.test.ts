// What is taken out of what clients say. The Python client's rules are held to the same file.

import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { redacted, withoutSecrets } from '../../../src/attribution/secrets.js';

const { texts, values } = JSON.parse(
  readFileSync(new URL('../../fixtures/secrets.json', import.meta.url), 'utf8'),
) as { texts: [string, string][]; values: [unknown, unknown][] };

test.each(texts)('%j', (text, left) => {
  expect(withoutSecrets(text)).toBe(left);
  expect(withoutSecrets(left)).toBe(left);
});

test.each(values)('%j', (value, left) => {
  expect(redacted(value)).toEqual(left);
});

test.each([
  'a'.repeat(65_536),
  'eyJ'.repeat(20_000),
  'token='.repeat(10_000),
  'https://'.repeat(8000),
  '?key&key'.repeat(8000),
  `-----BEGIN ${'PRIVATE KEY-----'.repeat(4000)}`,
  'bearer '.repeat(9000),
  '-eyJaaaaaaa'.repeat(5900),
  '--password'.repeat(6500),
  'password="'.repeat(6500),
  "'password': ".repeat(5400),
  'authorization '.repeat(4600),
  '?-sig'.repeat(13_000),
])('the time is that of the length: %#', (text) => {
  const begun = performance.now();
  withoutSecrets(text);
  expect(performance.now() - begun).toBeLessThan(500);
});
