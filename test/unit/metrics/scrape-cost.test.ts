// What a scrape of 10 000 series costs beside prom-client's own rendering of the same series, in one run. Only printed:
// the budget is checked by the benchmarks, on a quiet machine.

import { Counter, Registry } from 'prom-client';
import { expect, it } from 'vitest';
import { ExpositionWriter } from '../../../src/metrics/encoder.js';
import { shownColumns } from '../../../src/metrics/figures.js';
import { PLAIN_NAMES } from '../../../src/metrics/names.js';
import { writeScopeFamilies } from '../../../src/metrics/scopes.js';
import { SeriesTable } from '../../../src/metrics/series.js';
import { FakeStore } from './fake-runs.js';
import { parseExposition } from './parse-exposition.js';

const SCOPES = 2000;
const COLUMNS = [
  'cpu_seconds',
  'cpu_user_seconds',
  'io_read_bytes',
  'io_write_bytes',
  'memory_byte_seconds',
] as const;
const ROUNDS = 5;

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1] ?? 0;
}

it('renders 10 000 series much cheaper than prom-client', async () => {
  const shown = shownColumns(COLUMNS);
  const store = new FakeStore();
  const run = store.add({ runId: 'bench-20261121-104312-3fa9c1' });
  const options = {
    inclusive: false,
    seriesPerScope: 5,
    seriesPerGpu: 0,
    seriesPerLimit: 2,
    seriesPerRun: 5,
    maxSeries: 100_000,
  };
  const table = new SeriesTable(store, { ...options, shown, lingerMs: () => 0, names: PLAIN_NAMES }, () => 0);
  const registry = new Registry();
  const counters = COLUMNS.map(
    (name) =>
      new Counter({
        name: `${name}_total`,
        help: name,
        labelNames: ['run', 'level', 'scope'],
        registers: [registry],
      }),
  );
  const paths = Array.from(
    { length: SCOPES },
    (_, i) => `builder:b${i % 4}/tasker:t${i % 50}/network:policy-${i}`,
  );
  for (const path of paths) run.define(path);

  const ours: number[] = [];
  const theirs: number[] = [];
  let size = 65_536;
  for (let round = 0; round < ROUNDS; round++) {
    for (const path of paths) {
      const cpu = 1_234_567_891 + round;
      run.spend(path, { cpu_seconds: cpu, cpu_user_seconds: cpu, io_read_bytes: 4096 });
      run.spend(path, { io_write_bytes: 123_456, memory_byte_seconds: 2n ** 60n });
      for (const counter of counters)
        counter.inc({ run: run.runId, level: 'network', scope: path }, 1.234567891);
    }
    let begun = performance.now();
    table.sync();
    const writer = new ExpositionWriter('text', size);
    writeScopeFamilies(writer, table, { inclusive: false, created: false });
    const exposition = writer.finish();
    ours.push(performance.now() - begun);
    size = exposition.length + 4096;

    begun = performance.now();
    await registry.metrics();
    theirs.push(performance.now() - begun);
    if (round === 0)
      expect(parseExposition(exposition.toString(), 'text').samples.length).toBeGreaterThan(10_000);
  }
  const [a, b] = [median(ours), median(theirs)];
  console.log(
    `10 000 series, every one changed: ${a.toFixed(2)} ms, prom-client ${b.toFixed(2)} ms, ratio ${(b / a).toFixed(1)}`,
  );
});
