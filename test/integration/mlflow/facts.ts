// What was said of a run at a real MLflow: params that the program logs itself are the same, others stay as they are, and the
// agent and the program's client leave the same.

import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { expect, it } from 'vitest';
import { endedRun } from '../../unit/support/ended-run.js';
import { type Bench, tagsOf } from './bench.js';
import { deliver, itemsOf, targetOf } from './courier.js';

const SCRIPT = join(import.meta.dirname, 'facts.py');
const PYTHON = join(import.meta.dirname, '../../../python');
/** As a program has them. */
const OWN = { lr: 1e-5, dropout: '0.0', amp: true, layers: 3, name: 'a b', betas: [0.9, 0.999], warmup: 5 };
const FACTS = {
  hyperparameters: {
    ...{ lr: 1e-5, dropout: 0, amp: true, layers: 3, name: 'a b', betas: [0.9, 0.999], warmup: 7 },
    optimizer: { 'weight decay': 0.01 },
    'odd#key': 'x',
    long: 'x'.repeat(500),
  },
  param_texts: { dropout: '0.0' },
  dataset_version: 'v3',
};

export function factsCases(bench: Bench, mlflow: string): void {
  const program = (run: string, own: object, items: [string, unknown][]) => {
    const input = JSON.stringify({ address: bench.server.address, run, own, items });
    const env = { PATH: process.env.PATH, PYTHONPATH: PYTHON, MLFLOW_DISABLE_TELEMETRY: 'true' };
    const done = spawnSync(join(dirname(mlflow), 'python'), [SCRIPT], { input, env, encoding: 'utf8' });
    expect([done.status, done.status === 0 ? '' : done.stderr]).toEqual([0, '']);
  };
  const stored = async (runId: string) => {
    const run = await bench.stored(runId);
    const ours = Object.entries(tagsOf(run)).filter(([key]) =>
      /^lezea_monitor\.(param|fact|tag)\./.test(key),
    );
    return { params: paramsOf(run), tags: Object.fromEntries(ours) };
  };

  it('has what was said of a run as params and tags, and no other program’s are touched', async () => {
    const run = endedRun({ allDead: false, documents: {}, scopes: [] });
    const said = { ...run, facts: FACTS, tags: { team: 'nlp' } };
    const [byAgent, byClient] = [await bench.startRun(), await bench.startRun()];
    const target = targetOf(bench.server.address, byAgent);
    const items = itemsOf(bench.sinkFor(run), said, target)
      .filter(({ kind }) => ['params', 'tags'].includes(kind))
      .map(({ kind, body }) => [kind, JSON.parse(body)] as [string, unknown]);
    program(byAgent, OWN, []);
    for (let n = 0; n < 2; n += 1) {
      await deliver(bench.sinkFor(run), said, target);
      program(byClient, n === 0 ? OWN : {}, items);
    }
    const found = await stored(byAgent);
    expect(found).toEqual({
      params: {
        ...{
          lr: '1e-05',
          dropout: '0.0',
          amp: 'True',
          layers: '3',
          name: 'a b',
          betas: '[0.9, 0.999]',
          warmup: '5',
        },
        ...{ 'optimizer.weight decay': '0.01', 'odd.x23key': 'x', long: 'x'.repeat(500) },
      },
      tags: {
        'lezea_monitor.fact.dataset_version': 'v3',
        'lezea_monitor.param.warmup': '7',
        'lezea_monitor.tag.team': 'nlp',
      },
    });
    expect(await stored(byClient)).toEqual(found);
  });
}

function paramsOf(run: { data: object }): Record<string, string> {
  const { params = [] } = run.data as { params?: { key: string; value: string }[] };
  return Object.fromEntries(params.map(({ key, value }) => [key, value]));
}
