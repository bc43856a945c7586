// The end of an agent that is told to stop: what it heard last is stored before the next one is to hear the rest.

import { afterEach, beforeEach, expect, it } from 'vitest';
import { type Bench, callerOf, openRequest, startBench, temporaryFolder } from '../support/bench.js';

let folder: ReturnType<typeof temporaryFolder>;
let bench: Bench;

beforeEach(() => {
  folder = temporaryFolder();
  bench = startBench(folder.path);
});

afterEach(() => {
  bench.close();
  folder.remove();
});

it('rests, stores what was heard, and hands over what comes after it', async () => {
  const { attribution, sampler } = bench;
  attribution.commands.start(callerOf(100), { runId: 'r1' });
  await attribution.commands.openSession(callerOf(100), openRequest('r1', 100));
  const commits = attribution.checkpoint.commits;
  await attribution.stop();
  expect(sampler).toMatchObject({ resting: true, stopped: true, storedNs: sampler.monoNs });
  expect(attribution.checkpoint.commits).toBe(commits + 1);
});

it('says what was stored before, where the last sample could not be', async () => {
  const { attribution, sampler } = bench;
  await bench.checkpoint();
  const storedNs = sampler.monoNs;
  sampler.failure = new Error('no space left');
  await expect(attribution.stop()).rejects.toThrow('no space left');
  expect(sampler).toMatchObject({ stopped: true, storedNs });
});
