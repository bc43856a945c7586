// How many items of a delivery a client gets in one answer.

import { expect, it } from 'vitest';
import { inOneAnswer } from '../../../src/ipc/outbox-handlers.js';

const items = (count: number, body: string) =>
  Array.from({ length: count }, (_, n) => ({ id: n + 1, stage: 1, kind: 'metrics', body }));

it.each([
  ['small ones', items(32, '{}'), 32],
  ['ordinary ones', items(32, '{"key":"k"}'.repeat(1100)), 3],
  ['the longest', items(32, 'x'.repeat(40 * 1024)), 1],
  ['one that is longer than an answer is to be', items(2, '"'.repeat(40 * 1024)), 1],
  ['none', [], 0],
])('%s', (_what, given, count) => {
  const taken = inOneAnswer(given);
  expect(taken.map(({ id }) => id)).toEqual(given.slice(0, count).map(({ id }) => id));
  const line = JSON.stringify({ jsonrpc: '2.0', id: 1, result: { item: taken[0], more: taken.slice(1) } });
  if (count !== 1) expect(line.length).toBeLessThan(65_536);
});
