// A run's figures at a real MLflow server: value by value, once, however often they are sent; and what a big run takes.

import { expect, it } from 'vitest';
import { endedRun, manyScopes } from '../../unit/support/ended-run.js';
import { type Bench, type Expected, SUMMARY, tagsOf } from './bench.js';
import { deliver, targetOf } from './courier.js';
import { thousandCases } from './thousand.js';

export function figuresCases(bench: Bench, expected: Expected): void {
  const { major, together, budgetSeconds } = expected;
  it('has every figure, document and tag of a run, once, also when all is sent again twice', async () => {
    const runId = await bench.startRun();
    await bench.end(runId, 'FINISHED');
    const outcome = { status: 'FAILED', reason: 'ValueError: “no”\n' } as const;
    const odd = { path: 'builder:a#1 é/layer:..', self: { cpu_seconds: 0.1 + 0.2 }, inclusive: {} };
    const run = endedRun({ scopes: [...manyScopes(12), odd], outcome });
    const expected = bench.plannedMetrics(run, runId);
    for (let n = 0; n < 3; n++) {
      await deliver(bench.sinkFor(run), run, targetOf(bench.server.address, runId));
      expect(bench.server.metricRows(runId)).toEqual(expected);
      const { info, data } = await bench.stored(runId);
      expect([...(data.metrics ?? [])].sort((a, b) => (a.key < b.key ? -1 : 1))).toMatchObject(expected);
      expect(tagsOf({ info, data })).toEqual({
        'mlflow.runName': 'trainer',
        'lezea_monitor.status': 'FAILED',
        'lezea_monitor.reason': outcome.reason,
        'lezea_monitor.run_id': 'demo',
        'lezea_monitor.node': 'node-a',
        'lezea_monitor.attempt': '1',
        'lezea_monitor.summary_sha256': run.files[0]!.sha256,
      });
      for (const { path } of run.files) {
        expect(bench.server.artifact(runId, path)).toEqual(await run.readFile(run, path));
      }
      expect(bench.server.artifact(runId, `lezea-monitor/${SUMMARY}`)).toBeUndefined();
      // Whoever ended it knew how it came out.
      expect(info).toMatchObject({ status: 'FINISHED', end_time: 77 });
    }
  });

  it('has each of a run’s attempts at its step', async () => {
    const runId = await bench.startRun();
    for (const attempt of [1, 2]) {
      const run = endedRun({ attempt, endedAtMs: 1_700_000_000_000 + attempt, scopes: [] });
      await deliver(bench.sinkFor(run), run, targetOf(bench.server.address, runId));
    }
    const rows = bench.server.metricRows(runId).filter(({ key }) => key === 'resources/total/cpu_seconds');
    expect(rows.map(({ step }) => step)).toEqual([1, 2]);
    expect(tagsOf(await bench.stored(runId))['lezea_monitor.attempt']).toBe('2');
  });

  it('takes 1000 scopes with every column in as few requests as it can take', async () => {
    const runId = await bench.startRun();
    const run = endedRun({ scopes: manyScopes(1000) });
    const expected = bench.plannedMetrics(run, runId);
    const before = { wallMs: performance.now(), cpu: bench.server.cpuSeconds(), own: process.cpuUsage() };
    const requests = await deliver(bench.sinkFor(run), run, targetOf(bench.server.address, runId));
    const wall = ((performance.now() - before.wallMs) / 1000).toFixed(1);
    const cpu = (bench.server.cpuSeconds() - before.cpu).toFixed(1);
    const own = process.cpuUsage(before.own);
    const ownCpu = ((own.user + own.system) / 1e6).toFixed(1);
    // What the machine is doing beside decides the time; the budget is judged where it is idle.
    const spent = `${wall} s, ${cpu} s of the server's CPU, ${ownCpu} s of ours`;
    console.log(
      `MLflow ${major}: ${expected.length} figures, ${requests} requests, ${spent}; budget ${budgetSeconds} s`,
    );
    expect(bench.server.metricRows(runId)).toEqual(expected);
    expect(requests).toBeLessThan(expected.length / together + 8);
  }, 300_000);
  thousandCases(bench, expected);
}
