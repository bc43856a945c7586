// The whole exposition: golden text in both formats, validity, names, attempts, lingering.

import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadConfig } from '../../../src/config/load.js';
import type { GpuReport } from '../../../src/gpu/device.js';
import { Metrics } from '../../../src/metrics/metrics.js';
import type { NodeFigure } from '../../../src/native/addon.js';
import { GPU_REPORT } from '../support/gpu-report.js';
import { FakeStore, totals } from './fake-runs.js';
import { fakeState } from './fake-state.js';
import { parseExposition, type Sample } from './parse-exposition.js';

const GOLDEN = new URL('../../golden/', import.meta.url).pathname;

let folder: string;
let store: FakeStore;
let nowMs: number;
let gpus: GpuReport | undefined;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lezea-metrics-'));
  store = new FakeStore();
  nowMs = 1_700_000_100_000;
  gpus = GPU_REPORT;
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

function metrics(...set: string[]): Metrics {
  return metricsThat({ showNames: true }, ...set);
}

function metricsThat({ showNames }: { showNames: boolean }, ...set: string[]): Metrics {
  const flags = { set: ['agent.mode=user', `state.dir=${folder}`, ...set] };
  const { config } = loadConfig({ flags, env: { HOME: folder }, uid: 1000 });
  return new Metrics({
    config: () => config,
    store,
    showNames,
    state: () => fakeState(),
    nodeFigures: (): NodeFigure[] => [
      { name: 'cpu_seconds_total', labels: { cpu: '0', mode: 'user' }, value: 12.34, kind: 'counter' },
      { name: 'memory_MemTotal_bytes', labels: {}, value: 8e9, kind: 'gauge' },
      { name: 'cpu_seconds_total', labels: { cpu: '1', mode: 'user' }, value: 1, kind: 'counter' },
    ],
    gpus: () => gpus,
    gpuBooks: () => [],
    now: () => nowMs,
  });
}

async function scrape(from: Metrics, format: 'text' | 'openmetrics' = 'text'): Promise<Sample[]> {
  return parseExposition((await from.render(format)).toString(), format).samples;
}

function find(samples: Sample[], name: string, labels: Record<string, string> = {}): string | undefined {
  const fits = (sample: Sample) =>
    sample.name === name && Object.entries(labels).every(([key, value]) => sample.labels[key] === value);
  return samples.find(fits)?.value;
}

/** A run with nesting, a hostile name, unknown columns and values past 2^53. */
function exampleRun(): void {
  const run = store.add({ runId: 'demo', experiment: 'a "quoted"\nexperiment', name: 'first' });
  run.spend(null, { cpu_seconds: 250_000_000, io_read_bytes: 0, memory_bytes: 1 << 20 });
  run.spend('builder:b0', { cpu_seconds: 1_500_000_001, io_read_bytes: 2n ** 60n, memory_bytes: 4096 });
  run.spend('builder:b0/tasker:t"0\\', { cpu_seconds: 7n * 10n ** 18n, memory_byte_seconds: 2n ** 90n });
  run.define('builder:fresh');
}

describe('golden', () => {
  // What depends on the machine or the moment is cut out.
  const stable = (text: string): string =>
    text
      .split('\n')
      .filter((line) => !line.includes('lezea_agent_scrape_seconds') && !line.includes('lezea_agent_build'))
      .join('\n');

  it.each([
    ['metrics.txt', 'text'],
    ['metrics.openmetrics.txt', 'openmetrics'],
  ] as const)('%s', async (name, format) => {
    exampleRun();
    const from = metrics(
      'metrics.columns=cpu_seconds,memory_byte_seconds,io_read_bytes,memory_bytes,memory_peak_bytes',
      'metrics.inclusive=true',
      'metrics.created=true',
    );
    const text = (await from.render(format)).toString();
    parseExposition(text, format);
    if (process.env.UPDATE_GOLDEN === '1') writeFileSync(join(GOLDEN, name), stable(text));
    expect(stable(text)).toBe(readFileSync(join(GOLDEN, name), 'utf8'));
  });
});

describe('figures', () => {
  it('begins new series at 0, leaves unknown ones out, never says NaN', async () => {
    exampleRun();
    const from = metrics();
    const samples = await scrape(from);
    expect(find(samples, 'lezea_scope_cpu_seconds_total', { scope: 'builder:fresh' })).toBe('0');
    expect(find(samples, 'lezea_scope_io_read_bytes_total', { scope: 'builder:fresh' })).toBe('0');
    expect(find(samples, 'lezea_scope_io_write_bytes_total', { scope: 'builder:fresh' })).toBeUndefined();
    expect(find(samples, 'lezea_scope_memory_peak_bytes', { scope: 'builder:fresh' })).toBeUndefined();
    const odd = 'builder:b0/tasker:t"0\\';
    expect(find(samples, 'lezea_scope_io_read_bytes_total', { scope: odd })).toBeUndefined();
    expect(find(samples, 'lezea_scope_cpu_seconds_total', { scope: odd })).toBe('7000000000');
    expect(find(samples, 'lezea_scope_memory_bytes', { scope: 'unattributed' })).toBe('1048576');
    expect(samples.some((sample) => sample.value === 'NaN')).toBe(false);
  });

  it('shows the same figures again when nothing has changed, and new ones when something has', async () => {
    exampleRun();
    const from = metrics();
    await scrape(from);
    store.runs[0]?.spend('builder:b0', { cpu_seconds: 1 });
    const samples = await scrape(from);
    expect(find(samples, 'lezea_scope_cpu_seconds_total', { scope: 'builder:b0' })).toBe('1.500000002');
    expect(find(samples, 'lezea_run_cpu_seconds_total', { run: 'demo' })).toBe('7000000001.750000002');
  });

  it('says of GPUs what is known of each, and nothing where nobody says anything', async () => {
    const samples = await scrape(metrics());
    const [known, other, lost] = GPU_REPORT.devices.map(({ uuid }) => ({ gpu: uuid }));
    expect(find(samples, 'lezea_gpu_info', { ...known, source: 'nvml', driver: '570.124.06' })).toBe('1');
    expect(find(samples, 'lezea_gpu_memory_used_bytes', known)).toBe('0');
    expect(find(samples, 'lezea_gpu_utilization_ratio', known)).toBe('0');
    expect(find(samples, 'lezea_gpu_clock_hertz', { ...known, clock: 'memory' })).toBe('2619000000');
    expect(find(samples, 'lezea_gpu_temperature_celsius', other)).toBe('30');
    expect(samples.filter(({ labels }) => labels.gpu === other?.gpu).map(({ name }) => name)).toEqual([
      'lezea_gpu_info',
      'lezea_gpu_temperature_celsius',
      'lezea_gpu_read_time_seconds',
    ]);
    expect(find(samples, 'lezea_gpu_up', known)).toBe('1');
    expect(find(samples, 'lezea_gpu_up', lost)).toBe('0');
    expect(find(samples, 'lezea_gpu_info', lost)).toBe('1');
    gpus = undefined;
    expect((await scrape(metrics())).some(({ name }) => name.startsWith('lezea_gpu_'))).toBe(false);
  });

  it('has inclusive families only where they are asked for', async () => {
    exampleRun();
    expect((await scrape(metrics())).some((sample) => sample.name.includes('inclusive'))).toBe(false);
    const samples = await scrape(metrics('metrics.inclusive=true'));
    expect(find(samples, 'lezea_scope_inclusive_cpu_seconds_total', { scope: 'builder:b0' })).toBe(
      '7000000001.500000001',
    );
    expect(
      find(samples, 'lezea_scope_inclusive_cpu_seconds_total', { scope: 'unattributed' }),
    ).toBeUndefined();
  });

  it('shows limits as far as they are known, under their names or the hashes of them', async () => {
    exampleRun();
    const [run] = store.runs;
    if (!run) throw new Error('no run');
    run.limits = [
      { limit: 'core_hours', value: 4, used: 2, remaining: 2, ratio: 0.5, state: 'ok' },
      { limit: 'steps', scope: 'tasker:t', value: 10, used: 9, remaining: 1, ratio: 0.9, state: 'warned' },
      { limit: 'cost', experiment: 'e', value: 3, state: 'unknown' },
    ];
    const samples = await scrape(metrics(), 'openmetrics');
    expect(find(samples, 'lezea_run_limit_value', { run: 'demo', limit: 'core_hours' })).toBe('4');
    expect(
      find(samples, 'lezea_run_limit_used_ratio', { run: 'demo', limit: 'steps', scope: 'tasker:t' }),
    ).toBe('0.9');
    expect(find(samples, 'lezea_run_limit_value', { limit: 'cost', experiment: 'e' })).toBe('3');
    expect(find(samples, 'lezea_run_limit_used_ratio', { limit: 'cost' })).toBeUndefined();
    expect(find(samples, 'lezea_agent_limit_events_total', { event: 'limit_exceeded' })).toBe('0');
    const hidden = await scrape(metricsThat({ showNames: false }));
    const scope = hidden.find(
      ({ name, labels }) => name === 'lezea_run_limit_value' && labels.limit === 'steps',
    )?.labels.scope;
    expect(scope).toMatch(/^tasker:[0-9a-f]{16}$/);
  });

  it('shows no limit that there is no room for', async () => {
    exampleRun();
    const [run] = store.runs;
    if (!run) throw new Error('no run');
    run.limits = Array.from({ length: 200 }, (_, i) => ({
      ...{
        limit: 'steps' as const,
        scope: `tasker:t${i}`,
        value: 1,
        used: 0,
        remaining: 1,
        ratio: 0,
        state: 'ok' as const,
      },
    }));
    const from = metrics('metrics.max_series=100');
    const shown = async () =>
      (await scrape(from)).filter(({ name }) => name.startsWith('lezea_run_limit_')).length;
    const first = await shown();
    expect(first).toBeGreaterThan(0);
    expect(first).toBeLessThan(100);
    expect(await shown()).toBe(first);
  });

  it('shows the agent itself and the node', async () => {
    const samples = await scrape(metrics(), 'openmetrics');
    expect(find(samples, 'lezea_node_cpu_seconds_total', { cpu: '1', mode: 'user' })).toBe('1');
    expect(find(samples, 'lezea_agent_cpu_seconds_total')).toBe('1.5');
    expect(find(samples, 'lezea_agent_source_success', { source: 'taskstats' })).toBe('0');
    expect(find(samples, 'lezea_agent_tick_duration_seconds_bucket', { le: '+Inf' })).toBe('7');
    expect(find(samples, 'lezea_agent_refusals_total', { limit: 'sessions' })).toBe('3');
  });
});

describe('runs', () => {
  it('keeps an ended run for linger_seconds, then drops all of it', async () => {
    exampleRun();
    const from = metrics('metrics.linger_seconds=60');
    store.runs[0]?.end(nowMs);
    nowMs += 60_000;
    expect(find(await scrape(from), 'lezea_run_status', { run: 'demo', status: 'FINISHED' })).toBe('1');
    nowMs += 1;
    expect((await scrape(from)).some((sample) => sample.labels.run !== undefined)).toBe(false);
  });

  it('marks the later of two owners runs of one id, for as long as it lasts', async () => {
    store.add({ runId: 'same', uid: 1001 }).spend(null, { cpu_seconds: 1 });
    store.add({ runId: 'same', uid: 1002, startedAtMs: 1_700_000_000_001 }).spend(null, { cpu_seconds: 2 });
    const from = metrics();
    await scrape(from);
    store.runs[0]?.end(nowMs);
    nowMs += 301_000;
    const samples = await scrape(from);
    expect(find(samples, 'lezea_run_cpu_seconds_total', { run: 'same~1002' })).toBe('0.000000002');
    expect(find(samples, 'lezea_run_cpu_seconds_total', { run: 'same' })).toBeUndefined();
  });

  it('goes on with a run at its next attempt: totals add up, what was held does not', async () => {
    const first = store.add({ runId: 'again' });
    first.spend('tasker:a', { cpu_seconds: 5_000_000_000, memory_bytes: 100, memory_peak_bytes: 900 });
    first.spend('tasker:only_first', { cpu_seconds: 1_000_000_000, memory_bytes: 7 });
    const from = metrics();
    await scrape(from);
    first.spend('tasker:a', { cpu_seconds: 1_000_000_000 });
    first.end(nowMs);
    const second = store.add({ runId: 'again', attempt: 2, startedAtMs: nowMs });
    second.spend('tasker:a', { cpu_seconds: 2_000_000_000, memory_bytes: 50, memory_peak_bytes: 60 });
    for (const restarted of [from, metrics()]) {
      const samples = await scrape(restarted);
      expect(find(samples, 'lezea_scope_cpu_seconds_total', { scope: 'tasker:a' })).toBe('8');
      expect(find(samples, 'lezea_scope_cpu_seconds_total', { scope: 'tasker:only_first' })).toBe('1');
      expect(find(samples, 'lezea_scope_memory_bytes', { scope: 'tasker:a' })).toBe('50');
      expect(find(samples, 'lezea_scope_memory_bytes', { scope: 'tasker:only_first' })).toBeUndefined();
      expect(find(samples, 'lezea_scope_memory_peak_bytes', { scope: 'tasker:a' })).toBe('900');
      expect(find(samples, 'lezea_run_cpu_seconds_total', { run: 'again' })).toBe('9');
      expect(find(samples, 'lezea_run_attempt', { run: 'again' })).toBe('2');
    }
  });

  it('goes on with a run whose attempts are numbered with gaps, however many there were', async () => {
    const from = metrics();
    for (let attempt = 1; attempt <= 80; attempt += 1) {
      const run = store.add({ runId: 'gaps', attempt });
      run.spend('tasker:a', { cpu_seconds: 1_000_000_000 });
      run.end(nowMs);
      await scrape(from);
    }
    store
      .add({ runId: 'gaps', attempt: 5000, startedAtMs: nowMs })
      .spend('tasker:a', { cpu_seconds: 500_000_000 });
    for (const each of [from, metrics()]) {
      const samples = await scrape(each);
      expect(find(samples, 'lezea_run_cpu_seconds_total', { run: 'gaps' })).toBe('80.5');
    }
  });

  it('shows hashes instead of names where it must, the same ones after a restart', async () => {
    exampleRun();
    store.add({ runId: 'demo', uid: 1001 }).spend('builder:b0', { cpu_seconds: 1 });
    const hidden = await scrape(metricsThat({ showNames: false }));
    const text = JSON.stringify(hidden);
    for (const name of ['demo', 'builder:b0/', 'quoted', 'first', 'fresh']) expect(text).not.toContain(name);
    expect(new Set(hidden.map((sample) => sample.labels.run)).size).toBe(3); // two runs, and no run
    expect(hidden.some((sample) => sample.labels.scope === 'unattributed')).toBe(true);
    const again = await scrape(metricsThat({ showNames: false }));
    const runs = (samples: Sample[]) => new Set(samples.map((sample) => sample.labels.run));
    expect(runs(again)).toEqual(runs(hidden));
    expect(statSync(join(folder, 'names.key')).mode & 0o777).toBe(0o600);
    const shown = await scrape(metrics());
    expect(find(shown, 'lezea_run_info', { run: 'demo' })).toBe('1');
  });

  it('reads totals that passed 2^53 while it watched', async () => {
    const run = store.add({ runId: 'big' });
    run.spend('tasker:a', { io_read_bytes: 2n ** 53n - 1n });
    const from = metrics();
    await scrape(from);
    run.spend('tasker:a', { io_read_bytes: 2 });
    expect(find(await scrape(from), 'lezea_scope_io_read_bytes_total', { scope: 'tasker:a' })).toBe(
      '9007199254740993',
    );
    expect(totals({ io_read_bytes: 2n ** 53n + 1n }).native('io_read_bytes')).toBe(2n ** 53n + 1n);
  });
});
