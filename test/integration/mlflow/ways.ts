// What lies between the agent and a real MLflow server: a path prefix, and connections that break after the commit.

import { expect, it } from 'vitest';
import { endedRun, manyScopes } from '../../unit/support/ended-run.js';
import { type Bench, refusal, SUMMARY } from './bench.js';
import { deliver, deliveryOf, itemsOf, never, targetOf } from './courier.js';
import { failed, startProxy } from './proxy.js';

export function waysCases(bench: Bench): void {
  it('has the same when something between commits what it is sent and drops the connection', async () => {
    const runId = await bench.startRun();
    await bench.end(runId, 'FINISHED');
    const run = endedRun({ scopes: manyScopes(30) });
    const proxy = await startProxy(bench.server.address, { dropEvery: 2 });
    const sink = bench.sinkFor(run);
    const target = targetOf(proxy.address, runId);
    const delivery = deliveryOf(run, target);
    for (const item of itemsOf(sink, run, target)) {
      while (await failed(sink.send(delivery, [item], never))) expect(proxy.dropped()).toBeLessThan(500);
    }
    await proxy.close();
    expect(proxy.dropped()).toBeGreaterThan(5);
    expect(bench.server.metricRows(runId)).toEqual(bench.plannedMetrics(run, runId));
    expect(bench.server.artifact(runId, SUMMARY)).toEqual(await run.readFile(run, SUMMARY));
    expect(bench.server.artifact(runId, `lezea-monitor/${SUMMARY}`)).toBeUndefined();
  });

  it('is reached through a path prefix', async () => {
    const runId = await bench.startRun();
    await bench.end(runId, 'FINISHED');
    const run = endedRun();
    const proxy = await startProxy(bench.server.address, { prefix: '/team/ml' });
    await deliver(bench.sinkFor(run), run, targetOf(`${proxy.address}/team/ml`, runId));
    const wrong = await refusal(deliver(bench.sinkFor(run), run, targetOf(`${proxy.address}/other`, runId)));
    await proxy.close();
    expect(bench.server.metricRows(runId)).toEqual(bench.plannedMetrics(run, runId));
    expect(bench.server.artifact(runId, SUMMARY)).toEqual(await run.readFile(run, SUMMARY));
    expect(wrong).toMatchObject({
      verdict: 'refused',
      message: expect.stringContaining('there is no MLflow at this address'),
    });
  });
}
