// What Prometheus's own checker says of an exposition with everything in it: runs, scopes, folded ones, hostile names,
// node and agent. Needs promtool (Debian: apt-get install prometheus).

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { loadConfig } from '../../src/config/load.js';
import { httpCounters } from '../../src/http/counters.js';
import { Metrics } from '../../src/metrics/metrics.js';
import { COLUMN_LIST } from '../../src/native/frame.js';
import { FakeStore } from '../unit/metrics/fake-runs.js';
import { fakeState } from '../unit/metrics/fake-state.js';

const missing = spawnSync('promtool', ['--version']).error !== undefined;
const folder = mkdtempSync(join(tmpdir(), 'lezea-promtool-'));

afterAll(() => {
  rmSync(folder, { recursive: true });
});

function everything(): Metrics {
  const store = new FakeStore();
  for (let n = 0; n < 4; n++) {
    const run = store.add({ runId: `run${n}`, experiment: 'a "b"\\\nc', name: 'ü🙂' });
    for (let i = 0; i < 40; i++) {
      const values = {
        cpu_seconds: 1,
        memory_byte_seconds: 2n ** 70n,
        memory_bytes: 1,
        io_read_bytes: 2n ** 60n,
      };
      run.spend(`builder:b${i}/tasker:"}\\ 1`, { ...values, active_seconds: 5, memory_peak_bytes: 7 });
    }
  }
  const columns = [...COLUMN_LIST.map((column) => column.name), 'memory_bytes'].join(',');
  const set = [`metrics.columns=${columns}`, 'metrics.inclusive=true', 'metrics.max_series=2000'];
  const flags = { set: ['agent.mode=user', `state.dir=${folder}`, ...set] };
  const { config } = loadConfig({ flags, env: { HOME: folder }, uid: 1000 });
  const names = [
    'cpu_seconds_total',
    'memory_MemTotal_bytes',
    'memory_Committed_AS_bytes',
    'load15',
    'procs_running',
  ];
  const metrics = new Metrics({
    config: () => config,
    store,
    state: () => fakeState(),
    nodeFigures: () =>
      names.map((name) => ({
        name,
        labels: {},
        value: 1,
        kind: name.endsWith('_total') ? 'counter' : 'gauge',
      })),
    now: () => 1_700_000_100_000,
  });
  const { refusals, responses } = httpCounters(metrics.registry);
  refusals.inc({ reason: 'host' });
  responses.inc({ code: '200' });
  return metrics;
}

it.skipIf(missing)(
  `promtool check metrics has nothing to say${missing ? ' (skipped: promtool is not installed)' : ''}`,
  async () => {
    const exposition = await everything().render('text');
    expect(exposition.toString()).toContain('run="(other)"');
    const checked = spawnSync('promtool', ['check', 'metrics'], { input: exposition });
    expect(checked.stderr.toString() + checked.stdout.toString()).toBe('');
    expect(checked.status).toBe(0);
  },
);
