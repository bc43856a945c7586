// The end of an agent that is told to stop: what it heard last is stored before the next one is to hear the rest.

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { StoppingError } from '../../../src/errors.js';
import { type Bench, callerOf, openRequest, startBench, temporaryFolder } from '../support/bench.js';
import type { FakeKernel } from '../support/fake-sampler.js';

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

it('leaves the end of a run that came too late for the last sample to the next agent, without an alarm', async () => {
  bench.close();
  mkdirSync(join(folder.path, 'own'));
  const lines: string[] = [];
  let written: () => void = () => undefined;
  let writing: () => void = () => undefined;
  const begun = new Promise<void>((resolve) => {
    writing = resolve;
  });
  bench = startBench(join(folder.path, 'own'), {
    log: pino({ level: 'debug' }, { write: (line: string) => lines.push(line) }),
    writeFiles: () => {
      writing();
      return new Promise((resolve) => {
        written = resolve;
      });
    },
  });
  const { attribution, sampler } = bench;
  attribution.commands.start(callerOf(100), { runId: 'r1' });
  await attribution.commands.openSession(callerOf(100), openRequest('r1', 100));
  const ending = attribution.commands.end(callerOf(100), { runId: 'r1', status: 'FINISHED', all: false });
  await begun;
  await attribution.stop();
  const { pulls } = sampler;
  written();
  await expect(ending).rejects.toThrow(StoppingError);
  attribution.commands.start(callerOf(101), { runId: 'r2' });
  const opened = attribution.commands.openSession(callerOf(101), openRequest('r2', 101));
  await expect(opened).rejects.toThrow(StoppingError);
  await expect(attribution.checkpoint.request()).rejects.toThrow(StoppingError);
  expect(sampler.pulls).toBe(pulls);
  expect(attribution.checkpoint.failures).toBe(0);
  expect(lines.map((line) => JSON.parse(line)).filter(({ level }) => level >= 40)).toMatchObject([
    { msg: 'a run is left unfinished', reason: 'the agent is stopping' },
  ]);
});

it('leaves an end whose GPUs were read after the last sample to the next agent', async () => {
  bench.close();
  const own = join(folder.path, 'own');
  mkdirSync(own);
  const kernel: FakeKernel = new Map();
  let read: () => void = () => undefined;
  const reading = new Promise<void>((resolve) => {
    read = resolve;
  });
  bench = startBench(own, { readGpus: () => reading }, kernel);
  const { attribution, sampler } = bench;
  attribution.commands.start(callerOf(100), { runId: 'r1' });
  await attribution.commands.openSession(callerOf(100), openRequest('r1', 100));
  const end = { runId: 'r1', status: 'FINISHED', all: false } as const;
  const ending = attribution.commands.end(callerOf(100), end);
  const pull = sampler.pull.bind(sampler);
  sampler.pull = async (fresh) => {
    const last = await pull(fresh);
    read();
    await reading;
    return last;
  };
  await Promise.all([attribution.stop(), expect(ending).rejects.toThrow(StoppingError)]);
  bench.close();
  bench = startBench(own, {}, kernel);
  await bench.checkpoint();
  expect([...bench.sampler.processes.keys()]).toEqual(['100:10000']);
  const asked = await bench.attribution.commands.end(callerOf(100), end);
  expect(asked).toMatchObject({ final: true, run: { status: 'FINISHED' } });
  expect(bench.sampler.processes.size).toBe(0);
});
