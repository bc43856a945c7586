// What was said of a run as params and tags: named so that nothing of the program's is written over, and short enough.

import { describe, expect, it, test } from 'vitest';
import type { Facts } from '../../../../src/attribution/facts.js';
import { factDrafts, pythonText } from '../../../../src/delivery/mlflow/facts.js';
import { bodyOf } from '../../../../src/delivery/mlflow/items.js';
import { planRun } from '../../../../src/delivery/mlflow/plan.js';
import { endedRun } from '../../support/ended-run.js';
import { nodeRun } from '../../support/node-run.js';

function params(facts: Facts): Record<string, string> {
  const drafts = [...factDrafts({ facts, tags: {} })].filter(({ kind }) => kind === 'params');
  const all = drafts.flatMap((item) => bodyOf(item, 'params').params);
  return Object.fromEntries(all.map(({ key, value }) => [key, value]));
}

function tags(facts: Facts, own: Record<string, string> = {}): Record<string, string> {
  const drafts = [...factDrafts({ facts, tags: own })].filter(({ kind }) => kind === 'tags');
  const all = drafts.flatMap((item) => bodyOf(item, 'tags').tags);
  return Object.fromEntries(all.map(({ key, value }) => [key, value]));
}

// What Python's str() says of what json.loads() makes of it.
test.each([
  [1, '1'],
  [0.001, '0.001'],
  [0.00001, '1e-05'],
  [1.5e-7, '1.5e-07'],
  [123456.75, '123456.75'],
  [1e21, '1e+21'],
  [1e16, '1e+16'],
  [true, 'True'],
  [null, 'None'],
  ['adam', 'adam'],
  [[1, 'a', [0.5, false]], "[1, 'a', [0.5, False]]"],
  [["it's"], '["it\'s"]'],
])('%j is written %s', (value, text) => {
  expect(pythonText(value)).toBe(text);
});

describe('params', () => {
  it('are the hyperparameters, nested ones with a dot, as the client writes them', () => {
    const hyperparameters = { lr: 0.001, dropout: 0, optimizer: { name: 'adam', betas: [0.9, 0.999] } };
    expect(params({ hyperparameters, param_texts: { dropout: '0.0' } })).toEqual({
      dropout: '0.0',
      lr: '0.001',
      'optimizer.betas': '[0.9, 0.999]',
      'optimizer.name': 'adam',
    });
    expect(params({ hyperparameters: 'none' })).toEqual({});
    const later = { hyperparameters: { dropout: 1, name: 'x' }, param_texts: { dropout: '0.0', name: 'y' } };
    expect(params(later)).toEqual({ dropout: '1', name: 'x' });
  });

  it('have keys that every MLflow takes, and no value that one would cut', () => {
    const hyperparameters = { 'a b/c': 1, 'x#y': 2, '../z': 3, ['k'.repeat(251)]: 4, long: 'x'.repeat(501) };
    expect(params({ hyperparameters })).toEqual({ 'a b/c': '1', 'x.x23y': '2', '.x2e.x2e/z': '3' });
  });

  it('go in pieces that every server takes', () => {
    const many = Object.fromEntries(Array.from({ length: 3000 }, (_, i) => [`k${i}`, '\u0001'.repeat(400)]));
    const drafts = [...factDrafts({ facts: { hyperparameters: many }, tags: {} })];
    expect(drafts.flatMap((item) => bodyOf(item, 'params').params)).toHaveLength(1000);
    for (const { body } of drafts) expect(Buffer.byteLength(body)).toBeLessThan(40 * 1024);
  });
});

describe('tags', () => {
  it('are short facts and the run’s own, under names of ours', () => {
    const captured = { level: 'standard', code: { commit: 'abc', dirty: true }, packages: { torch: '2' } };
    const facts = {
      captured,
      dataset_version: 'v3',
      seeds: { torch: 1 },
      note: 'x'.repeat(251),
      hyperparameters: {},
    };
    expect(tags(facts, { team: 'nlp' })).toEqual({
      'lezea_monitor.fact.code.commit': 'abc',
      'lezea_monitor.fact.code.dirty': 'true',
      'lezea_monitor.fact.dataset_version': 'v3',
      'lezea_monitor.fact.seeds': '{"torch":1}',
      'lezea_monitor.tag.team': 'nlp',
    });
    expect([...factDrafts({ tags: {} })]).toEqual([]);
  });
});

describe('a plan', () => {
  const target = { kind: 'mlflow', address: 'http://t', settings: { mlflow_run_id: 'm' } } as const;
  const said = { facts: { hyperparameters: { lr: 1 }, seeds: 1 }, tags: {}, runFingerprint: 'f1' };
  const kinds = (run: Parameters<typeof planRun>[0]) =>
    [...planRun(run, target)].map(({ kind, body }) => [kind, body] as const);

  it('has them in the order of the stages, with the fingerprint', () => {
    const drafts = [...planRun({ ...endedRun(), ...said }, target)];
    expect(drafts.map(({ stage }) => stage)).toEqual(drafts.map(({ stage }) => stage).sort());
    const all = drafts
      .filter(({ kind }) => kind === 'tags')
      .map(({ body }) => body)
      .join();
    expect(all).toContain('"key":"lezea_monitor.run_fingerprint","value":"f1"');
    expect(all).toContain('lezea_monitor.fact.seeds');
    expect(drafts.filter(({ kind }) => kind === 'params')).toHaveLength(1);
  });

  it('has those of several nodes from the first rank’s, and every node’s own fingerprint', () => {
    const first = kinds({ ...nodeRun({ node: 'n 1' }, 1), ...said, rank: 0 });
    expect(first.filter(([kind]) => kind === 'params')).toHaveLength(1);
    const other = kinds({ ...nodeRun({ node: 'n 1' }, 1), ...said, rank: 8 });
    expect(other.filter(([kind]) => kind === 'params')).toEqual([]);
    const tag = { key: 'lezea_monitor.run_fingerprint.n.x201', value: 'f1' };
    expect(other.filter(([kind]) => kind === 'tags')).toEqual([['tags', JSON.stringify({ tags: [tag] })]]);
  });
});
