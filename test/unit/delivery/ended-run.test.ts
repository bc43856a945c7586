// What of an ended run decides how it is delivered.

import { expect, it } from 'vitest';
import { endedRun } from '../../../src/delivery/ended-run.js';
import { exampleRun } from '../files/fake-run.js';

it.each([
  ['that says nothing of ranks', {}, false],
  ['with a rank and no size', { rank: 0 }, true],
  ['with more ranks than are known to be here', { rank: 0, worldSize: 16 }, true],
  ['with ranks here and elsewhere', { rank: 8, worldSize: 16, localWorldSize: 8 }, true],
  ['with all its ranks here', { rank: 0, worldSize: 8, localWorldSize: 8 }, false],
  ['of one process', { rank: 0, worldSize: 1 }, false],
])('a run %s: spans nodes: %s', (_what, ranks, spans) => {
  const run = Object.create(exampleRun(), Object.getOwnPropertyDescriptors(ranks));
  const ended = endedRun(run, { node: 'n', files: [], allDead: true, earlier: [] });
  expect(ended.spansNodes ?? false).toBe(spans);
});
