// What Prometheus's own checker says of an exposition with everything in it: runs, scopes, folded ones, hostile names,
// node and agent; and LeZeA's alert rules on the series of metrics.lezea_compat, told high and low figures. Needs promtool
// (Debian: apt-get install prometheus).

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, it } from 'vitest';
import { loadConfig } from '../../src/config/load.js';
import { httpCounters } from '../../src/http/counters.js';
import { gpuFamilies } from '../../src/metrics/gpus.js';
import { LezeaCompat } from '../../src/metrics/lezea-compat.js';
import { Metrics } from '../../src/metrics/metrics.js';
import { COLUMN_LIST } from '../../src/native/frame.js';
import { FakeStore } from '../unit/metrics/fake-runs.js';
import { fakeState } from '../unit/metrics/fake-state.js';
import { GPU_REPORT } from '../unit/support/gpu-report.js';

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
  set.push('metrics.lezea_compat=true');
  const flags = { set: ['agent.mode=user', `state.dir=${folder}`, ...set] };
  const { config } = loadConfig({ flags, env: { HOME: folder }, uid: 1000 });
  const names = [
    'cpu_seconds_total',
    'memory_MemTotal_bytes',
    'memory_MemAvailable_bytes',
    'memory_Committed_AS_bytes',
    'load15',
    'procs_running',
  ];
  const metrics = new Metrics({
    config: () => config,
    store,
    showNames: true,
    state: () => fakeState(),
    nodeFigures: () =>
      names.map((name) => ({
        name,
        labels: {},
        value: 1,
        kind: name.endsWith('_total') ? 'counter' : 'gauge',
      })),
    gpus: () => GPU_REPORT,
    gpuBooks: () => [],
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
    expect(exposition.toString()).toContain('lezea_memory_total_bytes 1');
    const checked = spawnSync('promtool', ['check', 'metrics'], { input: exposition });
    expect(checked.stderr.toString() + checked.stdout.toString()).toBe('');
    expect(checked.status).toBe(0);
  },
);

const RULES = ['alerts.yml', 'gpu-alerts.yml'].map((name) =>
  fileURLToPath(new URL(`../fixtures/lezea/${name}`, import.meta.url)),
);

/** LeZeA's families as promtool's input: the agent's names and labels, with the figures of one state of the node. */
async function lezeaSeries(bad: boolean): Promise<{ series: string; values: string }[]> {
  const kept = bad ? 97 : 50;
  const space = [{ mountPoint: '/', totalBytes: 100, usedBytes: kept }];
  let now = 0;
  const compat = new LezeaCompat({ space: async () => space }, () => now);
  const figure = (name: string, value: number, labels = {}) => ({
    ...{ name, labels, value },
    kind: 'gauge' as const,
  });
  const node = (busy: number) => [
    figure('cpu_seconds_total', busy, { cpu: '0', mode: 'user' }),
    figure('cpu_seconds_total', 100 - busy + (now === 0 ? 0 : 100), { cpu: '0', mode: 'idle' }),
    figure('memory_MemTotal_bytes', 100),
    figure('memory_MemAvailable_bytes', 100 - kept),
    figure('network_receive_bytes_total', 0, { device: 'eth0' }),
    figure('network_transmit_bytes_total', 0, { device: 'eth0' }),
  ];
  const sinks = fakeState().sinks.map((sink) => ({ ...sink, failures: bad ? 3 : 0, deliveredMs: 1 }));
  await compat.families({ node: node(0), sinks, gpus: [] });
  now = 5000;
  const gpus = [
    {
      uuid: 'GPU-1',
      utilizationRatio: bad ? 0.99 : 0.5,
      memoryTotalBytes: 100,
      memoryUsedBytes: kept,
      temperatureCelsius: bad ? 90 : 50,
    },
  ];
  const families = [
    ...(await compat.families({ node: node(bad ? 99 : 10), sinks, gpus })),
    ...gpuFamilies({ source: 'nvidia_smi', devices: gpus }, true),
  ];
  return families.flatMap(({ header: { name, type }, figures }) =>
    figures.map(({ labels = {}, value }) => {
      const shown = Object.entries(labels).map(([label, text]) => `${label}="${text}"`);
      const step = bad ? 120 * 2 ** 20 * 60 : 1;
      return {
        series: `${name}{${shown.join(',')}}`,
        values: type === 'counter' ? `0+${step}x120` : `${value}x120`,
      };
    }),
  );
}

const ALERTS = [
  'HighCPU',
  'LowMemory',
  'LowDisk',
  'CriticalDisk',
  'ServiceDown',
  'HighNetwork',
  'DiskFullSoon',
  'HighGPU',
  'GPUMemory',
  'GPUHot',
];
const OPERANDS = [
  'lezea_cpu_utilization_percent',
  'lezea_memory_available_bytes / lezea_memory_total_bytes',
  'lezea_memory_used_bytes',
  'lezea_disk_used_bytes / lezea_disk_total_bytes',
  'rate(lezea_network_bytes_sent_total[5m]) + rate(lezea_network_bytes_received_total[5m])',
  'lezea_service_up{service_name="lezea-monitor"}',
  'lezea_gpu_utilization_percent',
  'lezea_gpu_memory_used_bytes / lezea_gpu_memory_total_bytes',
  'lezea_gpu_temperature_celsius',
];

it.skipIf(missing).each([true, false])(
  `LeZeA’s alert rules evaluate on our series, and fire only where they should: bad %s${missing ? ' (skipped: promtool is not installed)' : ''}`,
  async (bad) => {
    const input_series = await lezeaSeries(bad);
    // What no series answers would be silence that looks like health.
    const promql_expr_test = OPERANDS.map((expr) => ({
      expr: `count(${expr})`,
      eval_time: '100m',
      exp_samples: [{ labels: '{}', value: 1 }],
    }));
    const file = join(folder, 'rules');
    writeFileSync(
      file,
      JSON.stringify({
        rule_files: RULES,
        evaluation_interval: '1m',
        tests: [{ interval: '1m', input_series, promql_expr_test, alert_rule_test: silent(bad) }],
      }),
    );
    const tested = spawnSync('promtool', ['test', 'rules', file]);
    expect(tested.stdout.toString() + tested.stderr.toString()).toContain('SUCCESS');
    expect(tested.status).toBe(0);
  },
);

/** Of a node that is well: no alert. Of one that is not, every rule must have fired, whatever it says. */
function silent(bad: boolean) {
  return bad ? [] : ALERTS.map((alertname) => ({ alertname, eval_time: '100m', exp_alerts: [] }));
}

it.skipIf(missing)(
  `every one of LeZeA’s rules fires on a node that is not well${missing ? ' (skipped: promtool is not installed)' : ''}`,
  async () => {
    const input_series = await lezeaSeries(true);
    const promql_expr_test = ALERTS.map((name) => ({
      expr: `count(count by (alertname) (ALERTS{alertname="${name}",alertstate="firing"}))`,
      eval_time: '100m',
      exp_samples: [{ labels: '{}', value: 1 }],
    }));
    const file = join(folder, 'firing');
    const tests = [{ interval: '1m', input_series, promql_expr_test }];
    writeFileSync(file, JSON.stringify({ rule_files: RULES, evaluation_interval: '1m', tests }));
    const tested = spawnSync('promtool', ['test', 'rules', file]);
    expect(tested.stdout.toString() + tested.stderr.toString()).toContain('SUCCESS');
  },
);
