// Property: whatever bit of the state database is changed, wherever it is cut, the agent starts, says what it found, and
// nothing that it goes on with or sends is other than it was written.

import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import BetterSqlite3 from 'better-sqlite3';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Run } from '../../../src/attribution/model.js';
import {
  type Bench,
  callerOf,
  openRequest,
  processOf,
  startBench,
  temporaryFolder,
} from '../support/bench.js';

const ME = callerOf(100);
const TRACKER = { mlflow_tracking_uri: 'http://tracker:5000', mlflow_run_id: 'abc' };
const OFFLINE = { offline: true };

let folder: ReturnType<typeof temporaryFolder>;
/** The files as a killed agent left them, and what was in them. */
const files = new Map<string, Buffer>();
/** By run: every state that was ever committed. What the log lost at its end makes an earlier one the last. */
const truth = new Map<string, Set<string>>();
const bodies = new Set<string>();
/** Where deliveries go, and whose they are. */
const places = new Set<string>();
let tries = 0;
const kept = { runs: 0, items: 0, places: 0 };

function figuresOf(run: Run): string {
  const scopes = [...run.scopes()].map(({ path, self }) => [path, self.toColumns()]);
  const figures = { totals: run.totals.toColumns(), unattributed: run.unattributed.toColumns(), scopes };
  return JSON.stringify(figures);
}

function itemsOf(bench: Bench): string[] {
  const found: string[] = [];
  for (const { id } of bench.outbox.deliveries({ all: true })) {
    bench.outbox.deliveries({ id });
    for (const item of bench.outbox.nextForClient(id, 1000)) found.push(item.body);
  }
  return found;
}

function placesOf(bench: Bench): string[] {
  return bench.outbox.deliveries({ all: true }).map(({ sink, target, run, owner, origin }) => {
    const ownerText = `${owner.uid}:${owner.pidNamespace}`;
    return JSON.stringify({ sink, target, run, origin, owner: ownerText });
  });
}

function checkpointFile(path: string): void {
  const db = new BetterSqlite3(path);
  db.pragma('wal_checkpoint(TRUNCATE)');
  db.close();
}

/** Three runs: one lives, two have ended and wait to be delivered by a client. */
beforeAll(async () => {
  folder = temporaryFolder();
  const from = join(folder.path, 'from');
  mkdirSync(from);
  const bench = startBench(from, {}, undefined, {
    ...OFFLINE,
    rules: () => ({ mode: 'system', addresses: [], hasCredentials: false }),
  });
  const { commands, store } = bench.attribution;
  const note = (run: Run) => truth.set(run.runId, (truth.get(run.runId) ?? new Set()).add(figuresOf(run)));
  store.on('committed', () => [...store.recent()].forEach(note));
  for (const [n, runId] of ['done-1', 'done-2', 'live'].entries()) {
    const me = callerOf(100 + n);
    commands.start(me, { runId, tracker: TRACKER });
    const session = await commands.openSession(me, openRequest(runId, 100 + n));
    const scopes = Array.from({ length: 40 }, (_, i) => ({
      id: i + 1,
      parent: i,
      level: 'layer',
      name: `l${i}`,
    }));
    commands.defineScopes(session, scopes.slice(0, 12));
    bench.sampler.spend(processOf(100 + n), 1_234_567_891n + BigInt(n));
    await bench.checkpoint();
    if (runId !== 'live') await commands.end(me, { runId, status: 'FINISHED', all: true });
    // The first run is in the file itself, the others in its log.
    if (n === 0) checkpointFile(join(from, 'state.db'));
  }
  const killed = join(folder.path, 'killed');
  bench.crash(killed);
  for (const name of readdirSync(killed)) files.set(name, readFileSync(join(killed, name)));
  const again = join(folder.path, 'again');
  mkdirSync(again);
  for (const name of files.keys()) copyFileSync(join(killed, name), join(again, name));
  const intact = startBench(again, {}, undefined, OFFLINE);
  for (const body of itemsOf(intact)) bodies.add(body);
  for (const place of placesOf(intact)) places.add(place);
  intact.close();
  expect(places.size).toBe(2);
  expect(bodies.size).toBeGreaterThan(2);
});

afterAll(() => folder.remove());

/** Where these texts lie in a file, byte by byte. */
function bytesOf(texts: readonly string[], bytes: Buffer): number[] {
  return texts.flatMap((text) => {
    const found: number[] = [];
    for (let at = bytes.indexOf(text); at >= 0; at = bytes.indexOf(text, at + 1))
      for (let n = 0; n < text.length; n += 1) found.push(at + n);
    return found;
  });
}

/** Where and how a file is damaged. */
const damage = fc.record({
  file: fc.constantFrom('state.db', 'state.db', 'state.db-wal'),
  at: fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
  how: fc.oneof(
    {
      weight: 5,
      arbitrary: fc.record({ flip: fc.integer({ min: 0, max: 7 }), bytes: fc.constantFrom(1, 1, 1, 40) }),
    },
    { weight: 1, arbitrary: fc.constant('cut' as const) },
  ),
});

it('a damaged database never says anything else than what was written', () => {
  fc.assert(
    fc.property(fc.array(damage, { minLength: 1, maxLength: 2 }), (damages) => {
      tries += 1;
      const into = join(folder.path, `try-${tries}`);
      mkdirSync(into);
      const copies = new Map([...files].map(([name, bytes]) => [name, Buffer.from(bytes)]));
      for (const { file, at, how } of damages) {
        const bytes = copies.get(file)!;
        const offset = Math.floor(at * bytes.length);
        if (how === 'cut') copies.set(file, bytes.subarray(0, offset));
        else
          for (let i = offset; i < Math.min(offset + how.bytes, bytes.length); i += 1)
            bytes[i]! ^= 1 << how.flip;
      }
      for (const [name, bytes] of copies) if (!name.endsWith('-shm')) writeFileSync(join(into, name), bytes);
      const bench = startBench(into, {}, undefined, OFFLINE);
      try {
        for (const { runId } of bench.attribution.store.list(10)) {
          const run = bench.attribution.store.get(ME.owner, runId);
          if (!run || !truth.has(runId)) continue;
          expect(truth.get(runId), runId).toContain(figuresOf(run));
          kept.runs += 1;
        }
        for (const place of placesOf(bench)) {
          expect(places).toContain(place);
          kept.places += 1;
        }
        for (const body of itemsOf(bench)) {
          expect(bodies).toContain(body);
          kept.items += 1;
        }
      } finally {
        bench.close();
      }
    }),
    {
      numRuns: Number(process.env.LEZEA_DAMAGES ?? 150),
      ...(process.env.SEED ? { seed: Number(process.env.SEED) } : {}),
    },
  );
  // Most of what is not hit is kept: of 150, some 240 runs (215 to 270 seen) and 850 items.
  console.log(
    `${tries} damaged databases: ${kept.runs} of ${3 * tries} runs, ${kept.items} of ${bodies.size * tries} items, ` +
      `${kept.places} of ${places.size * tries} deliveries kept`,
  );
  expect(kept.runs).toBeGreaterThan(1.2 * tries);
  expect(kept.items).toBeGreaterThan(0.45 * bodies.size * tries);
});

it('a bit of where deliveries go, or whose they are, changes nothing about that', () => {
  const whole = join(folder.path, 'again', 'state.db');
  checkpointFile(whole);
  const intact = readFileSync(whole);
  const targets = bytesOf(['http://tracker:5000', '"uid":1000', '"runId":"done-1"', '"done-2"'], intact);
  expect(targets.length).toBeGreaterThan(100);
  let found = 0;
  fc.assert(
    fc.property(fc.constantFrom(...targets), fc.integer({ min: 0, max: 7 }), (offset, bit) => {
      tries += 1;
      const into = join(folder.path, `try-${tries}`);
      mkdirSync(into);
      const bytes = Buffer.from(intact);
      bytes[offset]! ^= 1 << bit;
      writeFileSync(join(into, 'state.db'), bytes);
      const bench = startBench(into, {}, undefined, OFFLINE);
      try {
        for (const place of placesOf(bench)) expect(places).toContain(place);
        found += placesOf(bench).length;
      } finally {
        bench.close();
      }
    }),
    { numRuns: 100 },
  );
  expect(found).toBeGreaterThan(80);
});
