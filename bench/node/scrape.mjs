// SERIES SECONDS: CPU milliseconds of rendering that many series of scopes, all of which changed since the scrape
// before, in turns with prom-client rendering the same names, labels and number of series.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import prom from 'prom-client';
import { loadConfig } from '../../dist/config/load.js';
import { Metrics } from '../../dist/metrics/metrics.js';
import { runWithScopes, timed } from './attribution.mjs';

const state = () => ({
  version: 'bench',
  mode: 'user',
  startedAtMs: 0,
  snapshot: undefined,
  tickBucketsNs: [],
  sampling: { intervalMs: 100, cpuBudgetRatio: 0 },
  sources: [],
  nvml: { calls: [], stuck: undefined },
  runsLive: 1,
  sessions: 1,
  connections: 1,
  unidentified: 0,
  refusals: new Map(),
  waits: new Map(),
  requests: { handled: 0, errors: new Map() },
  conservationViolations: 0,
  decreasedTotals: 0,
  checkpoints: { commits: 0, failures: 0, totalMs: 0 },
  droppedExits: 0,
  droppedRollups: 0,
  limitsTold: { warned: 0, exceeded: 0 },
  droppedNotifications: 0,
  sinks: [],
});

/** Families that one scope has a series in, unless configured otherwise. */
const FAMILIES = 5;

function theirRegistry(scopes) {
  const registry = new prom.Registry();
  for (let family = 0; family < FAMILIES; family++) {
    const counter = new prom.Counter({
      name: `lezea_scope_column_${family}_total`,
      help: 'a column',
      labelNames: ['run', 'level', 'scope'],
      registers: [registry],
    });
    for (let i = 1; i <= scopes; i++)
      counter.inc({ run: 'bench', level: 'layer', scope: `layer:fc${i}` }, i * 1234.567);
  }
  return registry;
}

const [series, seconds] = process.argv.slice(2).map(Number);
const folder = mkdtempSync(join(tmpdir(), 'lezea-bench-'));
try {
  const scopes = Math.floor(series / FAMILIES);
  const { attribution, close } = await runWithScopes(folder, scopes);
  const flags = { set: ['agent.mode=user', `state.dir=${folder}`, 'metrics.max_series=1000000'] };
  const { config } = loadConfig({ flags, env: { HOME: folder }, uid: 1000 });
  const metrics = new Metrics({
    config: () => config,
    store: attribution.store,
    showNames: true,
    state,
    nodeFigures: () => [],
    gpus: () => undefined,
    gpuBooks: () => [],
    now: () => Date.now(),
  });
  const theirs = theirRegistry(scopes);
  const figures = { ours: [], theirs: [] };
  const until = performance.now() + seconds * 1000;
  for (let round = 0; round < 10 || performance.now() < until; round++) {
    await attribution.checkpoint.request();
    let text = '';
    const ours = await timed(async () => {
      text = await metrics.render('text');
    });
    const their = await timed(() => theirs.metrics());
    if (round < 3) continue; // warming up
    figures.ours.push(ours);
    figures.theirs.push(their);
    const shown = text.toString().match(/^lezea_scope_/gm).length;
    if (shown < series) throw new Error(`${shown} series were rendered, expected ${series}`);
  }
  process.stdout.write(JSON.stringify(figures));
  close();
} finally {
  rmSync(folder, { recursive: true, force: true });
}
