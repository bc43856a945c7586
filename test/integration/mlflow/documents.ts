// A run's documents at a real MLflow server: there, whole, and never in the place of somebody else's.

import { expect, it } from 'vitest';
import { endedRun } from '../../unit/support/ended-run.js';
import { type Bench, refusal, type StoredRun, SUMMARY, tagsOf } from './bench.js';
import { deliver, targetOf } from './courier.js';

export function documentsCases(bench: Bench): void {
  it('writes over nobody’s document, and says where ours is', async () => {
    const runId = await bench.startRun();
    await bench.put(runId, SUMMARY, 'of the trainer');
    await bench.put(runId, 'events.jsonl', 'x'.repeat(20));
    await bench.end(runId, 'FINISHED');
    const run = endedRun();
    const summary = await run.readFile(run, SUMMARY);
    for (let n = 0; n < 2; n++) {
      await deliver(bench.sinkFor(run), run, targetOf(bench.server.address, runId));
      expect(bench.server.artifact(runId, SUMMARY)?.toString()).toBe('of the trainer');
      expect(bench.server.artifact(runId, `lezea-monitor/${SUMMARY}`)).toEqual(summary);
      expect(bench.server.artifact(runId, 'events.jsonl')?.toString()).toBe('x'.repeat(20));
      expect(tagsOf(await bench.stored(runId))).toMatchObject({
        [`lezea_monitor.artifact.${SUMMARY}`]: `lezea-monitor/${SUMMARY}`,
        'lezea_monitor.artifact.events.jsonl': 'lezea-monitor/events.jsonl',
      });
    }
    // Another run's, in the same MLflow run.
    const other = endedRun({ key: 'k2', documents: { [SUMMARY]: 'of another run' } });
    await deliver(bench.sinkFor(other), other, targetOf(bench.server.address, runId));
    expect(bench.server.artifact(runId, `lezea-monitor/${SUMMARY}`)).toEqual(summary);
    expect(bench.server.artifact(runId, `lezea-monitor/k2/${SUMMARY}`)?.toString()).toBe('of another run');
  });

  it('has our documents also when a running trainer writes over them later', async () => {
    const runId = await bench.startRun();
    const run = endedRun({ allDead: false });
    const summary = await run.readFile(run, SUMMARY);
    await deliver(bench.sinkFor(run), run, targetOf(bench.server.address, runId));
    expect(bench.server.artifact(runId, SUMMARY)).toEqual(summary);
    await bench.put(runId, SUMMARY, 'of the trainer');
    await deliver(bench.sinkFor(run), run, targetOf(bench.server.address, runId));
    expect(bench.server.artifact(runId, SUMMARY)?.toString()).toBe('of the trainer');
    expect(bench.server.artifact(runId, `lezea-monitor/${SUMMARY}`)).toEqual(summary);
    expect(tagsOf(await bench.stored(runId))[`lezea_monitor.artifact.${SUMMARY}`]).toBe(
      `lezea-monitor/${SUMMARY}`,
    );
  });

  it('goes around a file where a folder has to be, an upload that was cut short, and an earlier attempt', async () => {
    const runId = await bench.startRun();
    await bench.end(runId, 'FINISHED');
    const run = endedRun({ documents: { [SUMMARY]: 'second', 'events.jsonl': 'all of it' } });
    await bench.put(runId, 'resources', 'a file');
    await bench.put(runId, 'events.jsonl', 'all of');
    await deliver(bench.sinkFor(run), run, targetOf(bench.server.address, runId));
    expect(bench.server.artifact(runId, 'resources')?.toString()).toBe('a file');
    expect(bench.server.artifact(runId, `lezea-monitor/${SUMMARY}`)?.toString()).toBe('second');
    expect(bench.server.artifact(runId, 'events.jsonl')?.toString()).toBe('all of it');
    const third = endedRun({ documents: { 'events.jsonl': 'new' } });
    const replaces = [run.files[1]!.sha256];
    const files = third.files.map((file) => ({ ...file, replaces }));
    await deliver(bench.sinkFor(third), { ...third, files }, targetOf(bench.server.address, runId));
    expect(bench.server.artifact(runId, 'events.jsonl')?.toString()).toBe('new');
  });

  it('says of artifacts that are elsewhere that the client has to bring them', async () => {
    const experiment = { name: `elsewhere ${Math.random()}`, artifact_location: 's3://user:pw@bucket/x' };
    const { experiment_id } = await bench.server.call<{ experiment_id: string }>(
      'POST',
      'mlflow/experiments/create',
      experiment,
    );
    const body = { experiment_id, start_time: 1 };
    const made = await bench.server.call<{ run: StoredRun }>('POST', 'mlflow/runs/create', body);
    const run = endedRun();
    const error = await refusal(
      deliver(bench.sinkFor(run), run, targetOf(bench.server.address, made.run.info.run_id)),
    );
    expect(error.verdict).toBe('elsewhere');
    expect(error.message).toContain('s3:');
    expect(error.message).not.toContain('pw');
    // The figures are there all the same.
    expect(bench.server.metricRows(made.run.info.run_id).length).toBeGreaterThan(0);
  });
}
