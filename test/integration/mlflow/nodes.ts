// One run on several nodes at a real MLflow server: each agent delivers its own, and what is shown is the sum of them all,
// whoever is last, however often anyone is sent again, and wherever one died.

import { expect, it } from 'vitest';
import { bodyOf } from '../../../src/delivery/mlflow/items.js';
import { metricBatches } from '../../../src/delivery/mlflow/plan.js';
import { mergedText, mergeSummaries } from '../../../src/files/merged-summary.js';
import { readNodeSummary } from '../../../src/files/node-summary.js';
import type { MergedSummary } from '../../../src/files/summary-document.js';
import { type NodeRun, nodeRun } from '../../unit/support/node-run.js';
import { type Bench, SUMMARY, tagsOf } from './bench.js';
import { deliver, deliveryOf, itemsOf, targetOf } from './courier.js';
import { startProxy } from './proxy.js';

const A = { node: 'node-a', endedAtMs: 1_700_000_060_500, cpus: 4, status: 'FINISHED' } as const;
const B = { node: 'node-b', endedAtMs: 1_700_000_060_200, cpus: 16, status: 'FAILED', reason: 'no' } as const;
const C = {
  node: 'node-c',
  endedAtMs: 1_700_000_059_000,
  status: 'FINISHED',
  bootId: 'boot of node-a',
} as const;

const merged = (runs: readonly NodeRun[]): MergedSummary =>
  mergeSummaries(
    runs.flatMap(({ documents }) => documents.map((text) => readNodeSummary(Buffer.from(text), 'demo')!)),
  );

const metricsOf = ({ run, totals, scopes }: MergedSummary) =>
  [
    ...metricBatches({
      attempt: run.attempt,
      endedAtMs: Date.parse(run.ended_at!),
      totals: Object.fromEntries(Object.entries(totals).map(([name, { value }]) => [name, value])),
      scopes: () => scopes,
    }),
  ].flatMap((item) => bodyOf(item, 'metrics').metrics);

export function nodesCases(bench: Bench): void {
  /** As an agent's courier: what is to be tried again is. */
  const bring = async (run: NodeRun, runId: string, address = bench.server.address): Promise<void> => {
    for (let tries = 0; ; tries++) {
      const error = await deliver(bench.sinkFor(run), run, targetOf(address, runId)).then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      if (error === undefined) return;
      expect(error).toMatchObject({ verdict: 'retry' });
      expect(tries).toBeLessThan(50);
    }
  };

  const expectMerged = async (runId: string, runs: readonly NodeRun[], place = SUMMARY): Promise<void> => {
    const all = merged(runs);
    expect(bench.server.artifact(runId, place)?.toString()).toBe(mergedText(all));
    const stored = await bench.stored(runId);
    const shown = (stored.data.metrics ?? []).filter(({ key }) => !key.startsWith('resources/nodes/'));
    const byKey = (a: { key: string }, b: { key: string }) => (a.key < b.key ? -1 : 1);
    expect(shown.sort(byKey)).toMatchObject(metricsOf(all).sort(byKey));
    expect(tagsOf(stored)).toMatchObject({
      'lezea_monitor.status': all.run.status,
      'lezea_monitor.node': [...new Set(runs.map(({ node }) => node))].sort().join(','),
      'lezea_monitor.attempt': String(all.run.attempt),
      'lezea_monitor.run_id': 'demo',
    });
    for (const run of runs) {
      const own = bench.server.artifact(runId, `resources/nodes/${run.node}/summary.json`);
      expect(own?.toString()).toBe(run.documents.at(-1));
    }
  };

  it('is the sum of its nodes, whichever is last, and each machine counts once', async () => {
    for (const order of [
      [A, B, C],
      [C, B, A],
    ]) {
      const runId = await bench.startRun();
      await bench.end(runId, 'FINISHED');
      const runs = order.map((parts, n) => nodeRun(parts, n));
      for (const [n, run] of runs.entries()) {
        await bring(run, runId);
        if (n > 0) await expectMerged(runId, runs.slice(0, n + 1));
        // One node's own, as it is, while no other is there.
        else expect(bench.server.artifact(runId, SUMMARY)?.toString()).toBe(run.documents[0]);
      }
      for (const run of [...runs, ...runs]) await bring(run, runId);
      await expectMerged(runId, runs);
      const { hosts } = JSON.parse(bench.server.artifact(runId, SUMMARY)!.toString()) as MergedSummary;
      expect(hosts).toMatchObject({ count: 2, cpus: 20 });
      expect(tagsOf(await bench.stored(runId))['lezea_monitor.reason']).toBe('node-b: no');
      expect(bench.server.artifact(runId, 'resources/nodes/node-b/events.jsonl')?.toString()).toBe(
        '{"seq":1}\n',
      );
      const keys = new Set(bench.server.metricRows(runId).map(({ key }) => key));
      expect(keys).toContain('resources/nodes/node-a/total/cpu_seconds');
      expect(bench.server.artifact(runId, `lezea-monitor/${SUMMARY}`)).toBeUndefined();
    }
  });

  it('is the same when the nodes end at once', async () => {
    for (let n = 0; n < 3; n++) {
      const runId = await bench.startRun();
      await bench.end(runId, 'FINISHED');
      const runs = [A, B, C].map((parts, seed) => nodeRun(parts, seed + n * 7));
      await Promise.all(runs.map((run) => bring(run, runId)));
      await expectMerged(runId, runs);
    }
  });

  it('is the same when one is killed at any request and sent again later', async () => {
    for (const requests of [3, 9, 15, 20, 24, 28, 32, 36, 40, 44]) {
      const runId = await bench.startRun();
      await bench.end(runId, 'FINISHED');
      const [a, b] = [nodeRun(A, requests), nodeRun(B, requests + 1)];
      const proxy = await startProxy(bench.server.address, { stopAfter: requests });
      const sink = bench.sinkFor(b);
      const target = targetOf(proxy.address, runId);
      const items = itemsOf(sink, b, target).sort((x, y) => x.stage - y.stage);
      const killed = new AbortController();
      const dying = (async () => {
        for (const item of items) await sink.send(deliveryOf(b, target), [item], killed.signal);
      })().catch(() => undefined);
      await Promise.race([proxy.stopped, dying]);
      await bring(a, runId);
      killed.abort();
      await dying;
      await proxy.close();
      await bring(b, runId);
      await expectMerged(runId, [a, b]);
    }
  }, 300_000);

  it('is shown as the merge of most, in whatever order merges come', async () => {
    const runs = [A, B, C].map((parts, seed) => nodeRun(parts, seed));
    const some = [[0], [1], [2], [0, 1], [0, 2], [1, 2], [0, 1, 2], [0], [1, 2]];
    const orders = [some, some.toReversed(), [...some.slice(4), ...some.slice(0, 5)]];
    for (const order of orders) {
      const runId = await bench.startRun();
      for (const which of order) {
        const metrics = metricsOf(merged(which.map((n) => runs[n]!)));
        for (let at = 0; at < metrics.length; at += 90) {
          const body = { run_id: runId, metrics: metrics.slice(at, at + 90) };
          await bench.server.call('POST', 'mlflow/runs/log-batch', body);
        }
      }
      const shown = (await bench.stored(runId)).data.metrics ?? [];
      const expected = metricsOf(merged(runs));
      expect(new Map(shown.map(({ key, value }) => [key, value]))).toEqual(
        new Map(expected.map(({ key, value }) => [key, value])),
      );
    }
  });

  it('leaves a foreign summary where it is, and says where the merge is', async () => {
    const runId = await bench.startRun();
    await bench.put(runId, SUMMARY, '{"schema":"lezea.resources/v1","of":"the trainer"}');
    await bench.end(runId, 'FINISHED');
    const runs = [nodeRun(A, 1), nodeRun(B, 2)];
    for (const run of [...runs, runs[0]!]) await bring(run, runId);
    expect(bench.server.artifact(runId, SUMMARY)?.toString()).toContain('the trainer');
    await expectMerged(runId, runs, `lezea-monitor/${SUMMARY}`);
    const tags = tagsOf(await bench.stored(runId));
    expect(tags[`lezea_monitor.artifact.${SUMMARY}`]).toBe(`lezea-monitor/${SUMMARY}`);
  });

  it('is merged too where no node said that there are others', async () => {
    for (const order of [
      [A, B],
      [B, A],
    ]) {
      const runId = await bench.startRun();
      await bench.end(runId, 'FINISHED');
      const runs = order.map((parts, n) => ({ ...nodeRun(parts, n), spansNodes: false }));
      await bring(runs[0]!, runId);
      expect(bench.server.artifact(runId, 'resources/nodes')).toBeUndefined();
      for (const run of [runs[1]!, ...runs]) {
        await bring(run, runId);
        await expectMerged(runId, runs);
      }
    }
  });

  it('has the attempts of each node, and their sum', async () => {
    const runId = await bench.startRun();
    await bench.end(runId, 'FINISHED');
    const first = nodeRun(A, 1);
    const other = nodeRun(B, 3);
    const second = nodeRun({ ...A, attempt: 2, endedAtMs: A.endedAtMs + 9000 }, 2, first);
    await bring(first, runId);
    await bring(other, runId);
    await bring(second, runId);
    await expectMerged(runId, [second, other]);
    await bring(other, runId);
    await expectMerged(runId, [second, other]);
    for (const [n, text] of second.documents.entries()) {
      const path = `resources/nodes/node-a/attempts/${n + 1}/summary.json`;
      expect(bench.server.artifact(runId, path)?.toString()).toBe(text);
    }
  });

  it('has a run’s attempts on one node beside the last one', async () => {
    const runId = await bench.startRun();
    await bench.end(runId, 'FINISHED');
    const first = { ...nodeRun(A, 1), spansNodes: false };
    const second = {
      ...nodeRun({ ...A, attempt: 2, endedAtMs: A.endedAtMs + 9000 }, 2, first),
      spansNodes: false,
    };
    for (const run of [first, second, second]) await bring(run, runId);
    expect(bench.server.artifact(runId, SUMMARY)?.toString()).toBe(second.documents[1]);
    expect(bench.server.artifact(runId, 'resources/attempts/1/summary.json')?.toString()).toBe(
      first.documents[0],
    );
    expect(bench.server.artifact(runId, 'resources/attempts/2/summary.json')?.toString()).toBe(
      second.documents[1],
    );
    expect(bench.server.artifact(runId, 'resources/attempts/2/events.jsonl')).toBeDefined();
    expect(bench.server.artifact(runId, 'resources/nodes')).toBeUndefined();
    expect(bench.server.artifact(runId, `lezea-monitor/${SUMMARY}`)).toBeUndefined();
  });
}
