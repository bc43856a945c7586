// Samples that come too late for who asked: the agent was stopped for a while. The real addon; nothing of them is lost.

import { afterEach, beforeEach, expect, it } from 'vitest';
import { loadAddon } from '../../../src/native/addon.js';
import { callerOf, openRequest, processOf, startBench, temporaryFolder } from '../support/bench.js';

let folder: ReturnType<typeof temporaryFolder>;

beforeEach(() => {
  folder = temporaryFolder();
});

afterEach(() => folder.remove());

it('a snapshot that a pull did not wait for comes with the next one, changes and all', async () => {
  const addon = loadAddon();
  const sampler = new addon.Sampler({
    procRoot: '/proc',
    sysRoot: '/sys',
    intervalMs: 100,
    cpuBudgetPpm: 0,
    nodeIntervalMs: 10_000,
    ringSocket: null,
    ringSocketMode: 0o600,
    restartWaitMs: 0,
    pullTimeoutMs: 20,
    gpus: null,
    kept: null,
    disabledSources: ['taskstats', 'cn_proc', 'cgroup', 'smaps', 'pidfd_info'],
  });
  sampler.start();
  try {
    // Not fresh: it waits for the next tick, which mostly comes after the pull has given up.
    let run = 6;
    let refusal = '';
    while (refusal === '') {
      run += 1;
      sampler.openRun(run, run * 10);
      refusal = await sampler.pull(false).then(() => '', String);
    }
    expect(refusal).toMatch(/did not answer within 20 ms/);
    let late = await sampler.pull(false).catch(() => undefined);
    for (let tries = 0; !late && tries < 40; tries += 1)
      late = await sampler.pull(false).catch(() => undefined);
    expect(late).toMatchObject({ late: true, runs: [{ run }] });
    expect(await sampler.pull(true)).toMatchObject({ late: false, runs: [] });
  } finally {
    await sampler.stop();
  }
});

it('a checkpoint takes what came late, and then a sample of its own', async () => {
  const bench = startBench(folder.path);
  const { commands } = bench.attribution;
  const { run } = commands.start(callerOf(1), { runId: 'r' });
  await commands.openSession(callerOf(1), openRequest('r', 1));
  const pull = bench.sampler.pull.bind(bench.sampler);
  bench.sampler.spend(processOf(1), 5n);
  bench.sampler.pull = async (fresh) => {
    bench.sampler.pull = pull;
    const snapshot = { ...(await pull(fresh)), late: true };
    bench.sampler.spend(processOf(1), 6n);
    return snapshot;
  };
  await bench.checkpoint();
  expect(run.totals.native('cpu_seconds')).toBe(11n);
  bench.close();
});
