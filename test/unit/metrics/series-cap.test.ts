// The series cap under random lives of runs: sums are kept, nothing that was admitted goes before its run, nothing
// folded comes out, no counter goes back.

import fc from 'fast-check';
import { expect, it } from 'vitest';
import { ExpositionWriter } from '../../../src/metrics/encoder.js';
import { shownColumns } from '../../../src/metrics/figures.js';
import { PLAIN_NAMES } from '../../../src/metrics/names.js';
import { type OtherRunsStore, otherRunsFile } from '../../../src/metrics/other-runs.js';
import { seriesPerRun, writeRunFamilies } from '../../../src/metrics/runs.js';
import { seriesPerScope, writeScopeFamilies } from '../../../src/metrics/scopes.js';
import { SeriesTable } from '../../../src/metrics/series.js';
import { temporaryFolder } from '../support/bench.js';
import { type FakeRun, FakeStore } from './fake-runs.js';
import { parseExposition, type Sample } from './parse-exposition.js';

const SHOWN = shownColumns(['cpu_seconds', 'io_read_bytes', 'memory_peak_bytes', 'memory_bytes']);
const PLAIN = { inclusive: false, created: false };

class Scraped {
  readonly byName = new Map<string, Map<string, Sample>>();

  constructor(samples: Sample[]) {
    for (const sample of samples) {
      const family = this.byName.get(sample.name) ?? new Map<string, Sample>();
      family.set(JSON.stringify(sample.labels), sample);
      this.byName.set(sample.name, family);
    }
  }

  /** Exact sum, in units of the ninth decimal. */
  sum(name: string, run?: string): bigint {
    let sum = 0n;
    for (const { labels, value } of this.byName.get(name)?.values() ?? []) {
      if (run !== undefined && labels.run !== run) continue;
      const [whole = '0', fraction = ''] = value.split('.');
      sum += BigInt(whole) * 1_000_000_000n + BigInt(fraction.padEnd(9, '0'));
    }
    return sum;
  }
}

function harness(maxSeries: number, store = new FakeStore(), memory?: OtherRunsStore) {
  const table = new SeriesTable(
    store,
    {
      shown: SHOWN,
      inclusive: false,
      seriesPerScope: seriesPerScope(SHOWN, PLAIN),
      seriesPerGpu: 0,
      seriesPerLimit: 2,
      seriesPerRun: seriesPerRun(SHOWN, PLAIN),
      maxSeries,
      lingerMs: () => 1000,
      names: PLAIN_NAMES,
    },
    () => 0,
    memory,
  );
  const scrape = (): Scraped => {
    table.sync();
    const writer = new ExpositionWriter('text');
    writeRunFamilies(writer, table, PLAIN);
    writeScopeFamilies(writer, table, PLAIN);
    return new Scraped(parseExposition(writer.finish().toString(), 'text').samples);
  };
  return { store, table, scrape };
}

const step = fc.oneof(
  fc.record({
    kind: fc.constant('spend' as const),
    run: fc.nat(5),
    scope: fc.nat(12),
    cpu: fc.maxSafeNat(),
    bytes: fc.nat(),
  }),
  fc.record({ kind: fc.constant('unattributed' as const), run: fc.nat(5), cpu: fc.nat() }),
  fc.record({ kind: fc.constant('again' as const), run: fc.nat(5) }),
  fc.record({ kind: fc.constant('gone' as const), run: fc.nat(5) }),
  fc.record({ kind: fc.constant('scrape' as const) }),
);

/** What a run has spent over all its attempts, in ns. */
function spentBy(store: FakeStore, runId: string): bigint {
  return store.runs
    .filter((run) => run.runId === runId)
    .reduce((sum, run) => sum + (run.totals.native('cpu_seconds') ?? 0n), 0n);
}

function checkNothingWentBack(before: Scraped, after: Scraped, gone: ReadonlySet<string>): void {
  for (const [name, samples] of before.byName) {
    if (!name.endsWith('_total')) continue;
    for (const [identity, sample] of samples) {
      if (gone.has(sample.labels.run ?? '')) continue;
      const now = after.byName.get(name)?.get(identity);
      expect(now, `${name}${identity} went away`).toBeDefined();
      expect(Number(now?.value)).toBeGreaterThanOrEqual(Number(sample.value));
    }
  }
}

it('keeps sums and never lets a series go back', () => {
  fc.assert(
    fc.property(fc.integer({ min: 20, max: 120 }), fc.array(step, { maxLength: 80 }), (maxSeries, steps) => {
      const { store, table, scrape } = harness(maxSeries);
      const current = new Map<number, FakeRun>();
      const runOf = (number: number): FakeRun => {
        const known = current.get(number) ?? store.add({ runId: `r${number}.${store.runs.length}` });
        current.set(number, known);
        return known;
      };
      let last = scrape();
      let gone = new Set<string>();
      for (const action of [...steps, { kind: 'scrape' as const }]) {
        if (action.kind === 'spend') {
          const values = { cpu_seconds: action.cpu, io_read_bytes: action.bytes, memory_bytes: 1 };
          runOf(action.run).spend(`tasker:t${action.scope}`, values);
        } else if (action.kind === 'unattributed') {
          runOf(action.run).spend(null, { cpu_seconds: action.cpu });
        } else if (action.kind === 'again') {
          const ended = runOf(action.run);
          ended.end(0);
          current.set(action.run, store.add({ runId: ended.runId, attempt: ended.attempt + 1 }));
        } else if (action.kind === 'gone') {
          const ended = current.get(action.run);
          if (ended === undefined) continue;
          // A run is seen once more before it goes: nothing lives shorter than a scrape's linger.
          last = scrape();
          for (const attempt of store.runs) if (attempt.runId === ended.runId) store.hide(attempt);
          gone.add(ended.runId);
          current.delete(action.run);
        } else {
          const next = scrape();
          checkNothingWentBack(last, next, gone);
          last = next;
          gone = new Set();
          checkSums(store, current, next);
          expect(table.counts.used).toBeLessThanOrEqual(maxSeries);
        }
      }
    }),
    { numRuns: 300 },
  );
});

function checkSums(store: FakeStore, current: Map<number, FakeRun>, scraped: Scraped): void {
  const shown = new Set([...(scraped.byName.get('lezea_run_info')?.values() ?? [])].map((s) => s.labels.run));
  let folded = 0n;
  for (const { runId } of current.values()) {
    const spent = spentBy(store, runId);
    if (!shown.has(runId)) {
      folded += spent;
      continue;
    }
    expect(scraped.sum('lezea_scope_cpu_seconds_total', runId)).toBe(spent);
    expect(scraped.sum('lezea_run_cpu_seconds_total', runId)).toBe(spent);
  }
  // run="(other)" keeps what folded runs that are gone have left.
  expect(scraped.sum('lezea_scope_cpu_seconds_total', '(other)')).toBeGreaterThanOrEqual(folded);
  expect(scraped.sum('lezea_run_cpu_seconds_total', '(other)')).toBe(
    scraped.sum('lezea_scope_cpu_seconds_total', '(other)'),
  );
}

it('folds what finds no room, says how much, and takes in new runs when room is free again', () => {
  const perScope = seriesPerScope(SHOWN, PLAIN);
  const perRun = seriesPerRun(SHOWN, PLAIN) + 2 * perScope;
  const { store, table, scrape } = harness(perRun + 2 * perScope);
  const first = store.add({ runId: 'first' });
  for (const name of ['a', 'b', 'c', 'd']) first.spend(`tasker:${name}`, { cpu_seconds: 1_000_000_000 });
  const second = store.add({ runId: 'second' });
  second.spend('tasker:x', { cpu_seconds: 5_000_000_000 });
  const before = scrape();
  const scopes = [...(before.byName.get('lezea_scope_cpu_seconds_total')?.values() ?? [])];
  expect(scopes.map(({ labels, value }) => [labels.run, labels.scope, value])).toEqual([
    ['first', 'unattributed', '0'],
    ['first', 'tasker:a', '1'],
    ['first', 'tasker:b', '1'],
    ['first', '(other)', '2'],
    ['(other)', '(other)', '5'],
  ]);
  expect(before.byName.get('lezea_scope_memory_peak_bytes')).toBeUndefined();
  expect(table.counts).toEqual({ used: perRun + 2 * perScope, dropped: 2 * perScope + perRun });

  store.hide(first);
  store.add({ runId: 'third' }).spend('tasker:z', { cpu_seconds: 7_000_000_000 });
  second.spend('tasker:x', { cpu_seconds: 1_000_000_000 });
  const after = scrape();
  expect(after.sum('lezea_scope_cpu_seconds_total', 'third')).toBe(7_000_000_000n);
  expect(after.sum('lezea_scope_cpu_seconds_total', '(other)')).toBe(6_000_000_000n);
  expect(after.sum('lezea_scope_cpu_seconds_total', 'second')).toBe(0n);
});

it('goes on with run="(other)" where it was when the agent is started again, whoever has gone meanwhile', () => {
  const folder = temporaryFolder();
  const perRun = seriesPerRun(SHOWN, PLAIN) + 2 * seriesPerScope(SHOWN, PLAIN);
  const start = (store?: FakeStore) => harness(perRun, store, otherRunsFile(folder.path));
  const { store, scrape } = start();
  const first = store.add({ runId: 'first' });
  const folded = ['second', 'third', 'fourth'].map((runId) => store.add({ runId }));
  for (const run of folded) run.spend(null, { cpu_seconds: 2_000_000_000 });
  expect(scrape().sum('lezea_run_cpu_seconds_total', '(other)')).toBe(6_000_000_000n);
  store.hide(folded[0]!);
  expect(scrape().sum('lezea_run_cpu_seconds_total', '(other)')).toBe(6_000_000_000n);
  // While no agent runs another one goes, and so does the one that took all the room.
  store.hide(folded[1]!);
  store.hide(first);
  const again = start(store).scrape();
  expect(again.sum('lezea_run_cpu_seconds_total', '(other)')).toBe(6_000_000_000n);
  expect(again.sum('lezea_run_cpu_seconds_total', 'fourth')).toBe(0n);
  expect(start(store).scrape().sum('lezea_run_cpu_seconds_total', '(other)')).toBe(6_000_000_000n);
  folder.remove();
});

it('a run that comes back after it was folded and gone adds what is new, in the same agent and the next', () => {
  const folder = temporaryFolder();
  const start = (store?: FakeStore) => harness(0, store, otherRunsFile(folder.path));
  const { store, scrape } = start();
  const first = store.add({ runId: 'again' });
  first.spend(null, { cpu_seconds: 3_000_000_000 });
  const other = (scraped: Scraped) => scraped.sum('lezea_run_cpu_seconds_total', '(other)');
  expect(other(scrape())).toBe(3_000_000_000n);
  first.end(1);
  store.hide(first);
  expect(other(scrape())).toBe(3_000_000_000n);
  const second = store.add({ runId: 'again', attempt: 2 });
  second.spend(null, { cpu_seconds: 1_000_000_000 });
  expect(other(scrape())).toBe(4_000_000_000n);
  // With room for it, it is still where it was.
  const roomy = harness(10_000, store, otherRunsFile(folder.path)).scrape;
  expect(other(roomy())).toBe(4_000_000_000n);
  store.hide(second);
  expect(other(roomy())).toBe(4_000_000_000n);
  store.add({ runId: 'again', attempt: 3 }).spend(null, { cpu_seconds: 5_000_000_000 });
  const last = harness(10_000, store, otherRunsFile(folder.path)).scrape();
  expect(other(last)).toBe(9_000_000_000n);
  expect(last.sum('lezea_run_cpu_seconds_total')).toBe(9_000_000_000n);
  folder.remove();
});

it('a full disk ends no scrape: what is to be remembered is written at a later one', () => {
  let writes = 0;
  const memory: OtherRunsStore = {
    read: () => ({ folded: [], departed: {}, gone: {} }),
    write: () => {
      writes += 1;
      if (writes < 3) throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
    },
  };
  const { store, scrape } = harness(0, new FakeStore(), memory);
  store.add({ runId: 'folded' });
  for (let i = 0; i < 5; i += 1) scrape();
  expect(writes).toBe(3);
});
