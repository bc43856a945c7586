// Scopes by GPU in /metrics: a series for each device that a scope used, sums that stay the run's, over the cap and attempts.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { loadConfig } from '../../../src/config/load.js';
import { Metrics } from '../../../src/metrics/metrics.js';
import { FakeStore, totals } from './fake-runs.js';
import { fakeState } from './fake-state.js';
import { parseExposition } from './parse-exposition.js';

let folder: string;
let store: FakeStore;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lezea-gpu-series-'));
  store = new FakeStore();
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

function metrics(...set: string[]): Metrics {
  const flags = { set: ['agent.mode=user', `state.dir=${folder}`, ...set] };
  const { config } = loadConfig({ flags, env: { HOME: folder }, uid: 1000 });
  return new Metrics({
    config: () => config,
    store,
    showNames: true,
    state: () => fakeState(),
    nodeFigures: () => [],
    gpus: () => undefined,
    gpuBooks: () => [
      {
        gpu: 1,
        uuid: 'GPU-1',
        runs: { energyUj: 7_500_000n },
        others: { energyUj: 0n },
        nobody: { energyUj: 1n },
      },
    ],
    now: () => 1_700_000_100_000,
  });
}

const ENERGY = 'lezea_scope_gpu_energy_joules_total';

async function energies(from: Metrics): Promise<Record<string, number>> {
  const { samples } = parseExposition((await from.render('text')).toString(), 'text');
  const found = samples.filter(({ name }) => name === ENERGY);
  return Object.fromEntries(
    found.map(({ labels, value }) => [`${labels.scope} ${labels.gpu ?? '-'}`, Number(value)]),
  );
}

const joules = (uj: number) => totals({ gpu_energy_joules: uj });

it('each GPU that a scope used has its own series, and the run the sum', async () => {
  const run = store.add({ runId: 'demo' });
  run.spend('layer:a', { cpu_seconds: 1, gpu_energy_joules: 5_000_000 });
  run.spend(null, { gpu_energy_joules: 2_500_000 });
  run.scope('layer:a')!.byGpu = new Map([
    ['GPU-1', joules(2_000_000)],
    ['GPU-2', joules(3_000_000)],
  ]);
  run.unattributedByGpu = new Map([['GPU-1', joules(2_500_000)]]);
  run.define('layer:unused');
  const shown = metrics();
  expect(await energies(shown)).toEqual({
    'layer:a GPU-1': 2,
    'layer:a GPU-2': 3,
    'unattributed GPU-1': 2.5,
  });
  const text = (await shown.render('text')).toString();
  expect(text).toContain('lezea_run_gpu_energy_joules_total{run="demo"} 7.5');
  expect(text).toContain('lezea_gpu_attributed_energy_joules_total{gpu="GPU-1",to="runs"} 7.5');
  expect(text).toContain('lezea_gpu_attributed_energy_joules_total{gpu="GPU-1",to="nobody"} 0.000001');
  expect(text).not.toContain('lezea_gpu_attributed_active_seconds_total');
});

it('what finds no room is in gpu="(other)", and stays there; nothing is lost, over attempts too', async () => {
  const uuids = Array.from({ length: 120 }, (_, i) => `GPU-${i}`);
  const attempt = (number: number, each: number) => {
    const run = store.add({ runId: 'demo', attempt: number });
    run.spend('layer:a', { cpu_seconds: 1, gpu_energy_joules: uuids.length * each });
    run.scope('layer:a')!.byGpu = new Map(uuids.map((uuid) => [uuid, joules(each)]));
  };
  const sum = (by: Record<string, number>) => Object.values(by).reduce((all, one) => all + one, 0);
  attempt(1, 1_000_000);
  const shown = metrics('metrics.columns=gpu_energy_joules', 'metrics.max_series=100');
  const before = await energies(shown);
  const folded = uuids.length - (Object.keys(before).length - 1);
  expect(folded).toBeGreaterThan(20);
  expect(before['layer:a GPU-0']).toBe(1);
  expect(before['layer:a (other)']).toBe(folded);
  expect(sum(before)).toBe(120);
  attempt(2, 500_000);
  const after = await energies(shown);
  expect(Object.keys(after)).toEqual(Object.keys(before));
  expect(after['layer:a (other)']).toBe(folded * 1.5);
  expect(sum(after)).toBe(180);
});

it('counts _created against the cap', async () => {
  const run = store.add({ runId: 'demo' });
  run.spend('layer:a', { cpu_seconds: 1, gpu_energy_joules: 120 });
  run.scope('layer:a')!.byGpu = new Map(Array.from({ length: 120 }, (_, i) => [`GPU-${i}`, joules(1)]));
  const shown = metrics(
    'metrics.columns=gpu_energy_joules',
    'metrics.max_series=100',
    'metrics.created=true',
  );
  const { samples } = parseExposition((await shown.render('openmetrics')).toString(), 'openmetrics');
  const ofScopes = samples.filter(({ name }) => name.startsWith('lezea_scope_gpu_energy_joules'));
  expect(ofScopes.filter(({ name }) => name.endsWith('_created')).length).toBe(ofScopes.length / 2);
  expect(ofScopes.length).toBeGreaterThan(80);
  expect(ofScopes.length).toBeLessThanOrEqual(100);
});
