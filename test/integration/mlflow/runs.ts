// The MLflow run itself at a real server: closed where nobody else will, made once, and what is said when it is no more.

import { expect, it } from 'vitest';
import { endedRun } from '../../unit/support/ended-run.js';
import { type Bench, type Expected, refusal, type StoredRun, tagsOf } from './bench.js';
import { deliver, deliveryOf, itemsOf, never, targetOf } from './courier.js';

export function runsCases(bench: Bench, { major }: Expected): void {
  it('closes a run that is still running, once', async () => {
    const runId = await bench.startRun();
    const run = endedRun({ outcome: { status: 'INTERRUPTED' } });
    await deliver(bench.sinkFor(run), run, targetOf(bench.server.address, runId));
    expect((await bench.stored(runId)).info).toMatchObject({ status: 'KILLED', end_time: run.endedAtMs });
    const later = { ...run, endedAtMs: run.endedAtMs + 5, outcome: { status: 'FAILED' } as const };
    await deliver(bench.sinkFor(run), later, targetOf(bench.server.address, runId));
    expect((await bench.stored(runId)).info).toMatchObject({ status: 'KILLED', end_time: run.endedAtMs });
  });

  it('leaves a run whose processes live as it is', async () => {
    const runId = await bench.startRun();
    const run = endedRun({ allDead: false });
    await deliver(bench.sinkFor(run), run, targetOf(bench.server.address, runId));
    expect((await bench.stored(runId)).info.status).toBe('RUNNING');
  });

  it('says that a run was deleted, or never was', async () => {
    const runId = await bench.startRun();
    const run = endedRun();
    const target = targetOf(bench.server.address, runId);
    const delivery = deliveryOf(run, target);
    const sink = bench.sinkFor(run);
    const items = itemsOf(sink, run, target);
    await sink.send(delivery, items.slice(0, 1), never);
    await bench.server.call('POST', 'mlflow/runs/delete', { run_id: runId });
    // What was known of it a moment ago does not help.
    const error = await refusal(sink.send(delivery, items.slice(0, 1), never));
    expect(error).toMatchObject({ verdict: 'gone', message: expect.stringContaining('deleted') });
    for (const kind of ['artifact', 'tags', 'end']) {
      const item = items.find((one) => one.kind === kind)!;
      expect((await refusal(bench.sinkFor(run).send(delivery, [item], never))).verdict).toBe('gone');
    }
    const nowhere = targetOf(bench.server.address, 'f'.repeat(32));
    expect((await refusal(deliver(bench.sinkFor(run), run, nowhere))).verdict).toBe('gone');
  });

  it('says of a refused figure that it will never take it', async () => {
    const runId = await bench.startRun();
    const run = endedRun();
    const body = JSON.stringify({ metrics: [{ key: 'a//b', value: 1, timestamp: 1, step: 1 }] });
    const item = { id: 1, stage: 1, kind: 'metrics', body };
    const target = targetOf(bench.server.address, runId);
    const error = await refusal(bench.sinkFor(run).send(deliveryOf(run, target), [item], never));
    expect(error).toMatchObject({ verdict: 'poison', message: expect.stringContaining('a//b') });
  });

  it('is given one run, also when the sink that made it is another now', async () => {
    const run = endedRun({ key: `key-${major}`, name: 'made here', outcome: { status: 'FINISHED' } });
    const experiment = `made ${Math.random()}`;
    const settings = { mlflow_create: 'true', mlflow_experiment: experiment };
    const target = { kind: 'mlflow', address: bench.server.address, settings } as const;
    for (let n = 0; n < 3; n++) await deliver(bench.sinkFor(run), run, target);
    const { experiment: made } = await bench.server.call<{ experiment: { experiment_id: string } }>(
      'GET',
      `mlflow/experiments/get-by-name?experiment_name=${encodeURIComponent(experiment)}`,
    );
    const search = { experiment_ids: [made.experiment_id], run_view_type: 'ALL' };
    const { runs } = await bench.server.call<{ runs: StoredRun[] }>('POST', 'mlflow/runs/search', search);
    expect(runs).toHaveLength(1);
    expect(runs[0]!.info).toMatchObject({
      run_name: 'made here',
      status: 'FINISHED',
      start_time: run.startedAtMs,
      end_time: run.endedAtMs,
    });
    expect(bench.server.metricRows(runs[0]!.info.run_id)).toEqual(bench.plannedMetrics(run, 'x'));
    // What another agent imported of it goes there too, though its folder has another key.
    const own = deliveryOf(run, target);
    const imported = { ...own, run: { ...own.run, key: 'imported', measuredAs: run.key } };
    const tags = { tags: [{ key: 'imported', value: 'yes' }] };
    await bench
      .sinkFor(run)
      .send(imported, [{ id: 1, stage: 3, kind: 'tags', body: JSON.stringify(tags) }], never);
    expect(tagsOf(await bench.stored(runs[0]!.info.run_id))).toMatchObject({ imported: 'yes' });
    await bench.server.call('POST', 'mlflow/runs/delete', { run_id: runs[0]!.info.run_id });
    expect((await refusal(deliver(bench.sinkFor(run), run, target))).verdict).toBe('gone');
  });
}
