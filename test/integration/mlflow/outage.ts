// A tracker that is not there while runs end: what waits is on the disk and not in memory, and when it comes all of it is
// there, once. LEZEA_OUTAGE_RUNS and LEZEA_OUTAGE_SCOPES make it bigger; what it took is printed.

import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { Bench } from './bench.js';
import { startProxy } from './proxy.js';
import { WholeAgent } from './whole-agent.js';
import { expectThere } from './whole-run.js';

const RUNS = Number(process.env.LEZEA_OUTAGE_RUNS ?? 40);
const SCOPES = Number(process.env.LEZEA_OUTAGE_SCOPES ?? 5);
const LAYERS = 4;
/** After so many the agent has been everywhere, and what it needs once it has. */
const WARM_RUNS = 10;
/** That memory may grow over all further runs, however many, MiB: as without a tracker, what V8 leaves lying about. */
const MOST_GROWTH_MIB = 32;

export function outageCases(bench: Bench): void {
  it.each(['refuses connections', 'takes them and says nothing'])(
    'a tracker that %s costs disk and no memory, and gets everything once when it is there',
    async (how) => {
      // Its port: nobody else's from here on.
      let proxy = await startProxy(bench.server.address, { stopAfter: 0 });
      const { address } = proxy;
      const port = Number(new URL(address).port);
      if (how === 'refuses connections') await proxy.close();
      // Ended runs are shown for a while, from memory, whether there is a tracker or not.
      const args = ['--set', 'metrics.linger_seconds=1', '--set', 'tracker.timeout_seconds=1'];
      const agent = await WholeAgent.start({ args });
      try {
        const runs: { id: string; mlflowRun: string }[] = [];
        for (let n = 0; n < RUNS; n++) runs.push({ id: `out-${n}`, mlflowRun: await bench.startRun() });
        const trainer = agent.train({
          runs,
          tracker: address,
          builders: SCOPES / (LAYERS + 1),
          layers: LAYERS,
        });
        const at: { runs: number; rssMib: number; bytes: number }[] = [];
        for (const [n, { id }] of runs.entries()) {
          await trainer.says(`ended ${id}`);
          if ((n + 1) % WARM_RUNS === 0)
            at.push({ runs: n + 1, rssMib: agent.process.memory().now, bytes: bytesOf(agent.stateFolder) });
        }
        const [first, last] = [at[0]!, at.at(-1)!];
        const perRun = (last.bytes - first.bytes) / (last.runs - first.runs);
        const rss = at.map((one) => `${one.runs}: ${one.rssMib.toFixed(1)}`).join(', ');
        console.log(
          `a tracker that ${how}, ${SCOPES} scopes: ${(perRun / 1e3).toFixed(1)} kB a run; MiB after ${rss}`,
        );
        expect(last.rssMib - first.rssMib).toBeLessThan(MOST_GROWTH_MIB);
        const waiting = await agent.ask<{ deliveries: { state: string }[] }>('outbox.list', {});
        expect(waiting.deliveries.filter(({ state }) => state === 'waiting')).toHaveLength(RUNS);

        await proxy.close();
        proxy = await startProxy(bench.server.address, { port });
        const began = performance.now();
        await agent.deliveredAll(600_000);
        const seconds = (performance.now() - began) / 1000;
        console.log(
          `delivered in ${seconds.toFixed(1)} s; ${agent.process.memory().now.toFixed(1)} MiB then`,
        );
        for (const { id, mlflowRun } of runs) await expectThere(bench, mlflowRun, await agent.ended(id));
      } finally {
        await agent.remove();
        await proxy.close();
      }
    },
    900_000,
  );
}

/** Without the database's log, which grows to some megabytes whatever there is, and is begun anew then. */
function bytesOf(folder: string): number {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !/-(wal|shm)$/.test(entry.name))
    .reduce((sum, entry) => sum + statSync(join(entry.parentPath, entry.name)).size, 0);
}
