// One run on two machines, each with an agent of its own that knows nothing of the other, and one MLflow run: whoever is
// last, and whoever dies before it has delivered, what is shown is the sum of both.

import { afterEach, describe, expect, it } from 'vitest';
import type { MergedSummary, SummaryDocument } from '../../../src/files/summary-document.js';
import { COLUMN_LIST } from '../../../src/native/frame.js';
import { type Bench, SUMMARY, tagsOf } from './bench.js';
import { noMachines, onMachine } from './namespaces.js';
import { WholeAgent } from './whole-agent.js';

export function twoAgentsCases(bench: Bench): void {
  const why = noMachines();

  describe.skipIf(why !== '')(`a run on two machines${why}`, () => {
    const agents: WholeAgent[] = [];
    const stopAll = async () => {
      for (const agent of agents.splice(0)) await agent.remove();
    };
    afterEach(stopAll);

    /** Ranks 0 and 1, each on its machine; `more`: further arguments, by rank. */
    const machines = (): { start(...args: string[]): Promise<void> }[] =>
      [0, 1].map((rank) => {
        const agent = new WholeAgent();
        agents.push(agent);
        const bootId = agent.write('boot_id', `0000000${rank}-1111-4222-8333-444444444444\n`);
        const through = onMachine(`node-${rank}`, bootId);
        return { start: (...args) => agent.start({ args, through }) };
      });

    const train = async (rank: number, id: string, mlflowRun: string) => {
      const runs = [{ id, mlflowRun }];
      const parts = { rank, worldSize: 2, builders: 2 + rank, layers: 3, hold: true };
      const trainer = agents[rank]!.train({ runs, tracker: bench.server.address, ...parts });
      await trainer.says(`held ${id}`);
      return trainer;
    };

    const expectSum = async (mlflowRun: string, parts: readonly SummaryDocument[]) => {
      const artifact = (path: string) => JSON.parse(String(bench.server.artifact(mlflowRun, path)));
      const merged = artifact(SUMMARY) as MergedSummary;
      for (const part of parts) {
        expect(artifact(`resources/nodes/${part.node.name}/summary.json`)).toEqual(part);
        const events = bench.server.artifact(mlflowRun, `resources/nodes/${part.node.name}/events.jsonl`);
        expect(events?.length).toBeGreaterThan(0);
      }
      const rows = bench.server.metricRows(mlflowRun);
      const shown = new Map(
        (await bench.stored(mlflowRun)).data.metrics!.map(({ key, value }) => [key, value]),
      );
      for (const { name, additive } of COLUMN_LIST) {
        const lines = parts.map(({ conservation }) => conservation[name]?.total);
        const values = parts.map(({ totals }) => totals[name]?.value ?? 0);
        const total = merged.totals[name]?.value ?? 0;
        const sum = values[0]! + values[1]!;
        if (additive) expect(Math.abs(total - sum), name).toBeLessThanOrEqual(Number.EPSILON * sum);
        else expect(total, name).toBe(Math.max(...values));
        // In the integers that the books are kept in there is nothing to be close to.
        if (lines.every((line) => line !== undefined))
          expect(merged.conservation[name]!.total, name).toBe(String(BigInt(lines[0]!) + BigInt(lines[1]!)));
        if (total !== 0) expect(shown.get(`resources/total/${name}`), name).toBe(total);
        for (const [n, { node }] of parts.entries()) {
          const own = rows.filter(({ key }) => key === `resources/nodes/${node.name}/total/${name}`);
          expect(own.map(({ value }) => value)).toEqual(values[n] === 0 ? [] : [values[n]]);
        }
      }
      expect(merged.nodes).toEqual(parts.map(({ node }) => node));
      const [{ node }] = parts as [SummaryDocument];
      expect(merged.hosts).toEqual({ count: 2, cpus: 2 * node.cpus, memory_bytes: 2 * node.memory_bytes });
      expect(merged.scopes.map(({ path }) => path)).toHaveLength(3 * 4);
      expect(tagsOf(await bench.stored(mlflowRun))).toMatchObject({
        'lezea_monitor.node': 'node-0,node-1',
        'lezea_monitor.status': 'FINISHED',
      });
    };

    it('is the sum of both, whichever ends last', async () => {
      for (const machine of machines()) await machine.start();
      for (const last of [0, 1]) {
        const [id, mlflowRun] = [`last-${last}`, await bench.startRun()];
        const trainers = [await train(0, id, mlflowRun), await train(1, id, mlflowRun)];
        const parts: SummaryDocument[] = [];
        for (const rank of [1 - last, last]) {
          trainers[rank]!.go();
          await trainers[rank]!.says(`ended ${id}`);
          parts[rank] = await agents[rank]!.ended(id);
          await agents[rank]!.deliveredAll();
        }
        await expectSum(mlflowRun, parts);
      }
    });

    it('is the sum of both where one was killed before it had delivered, whoever that is', async () => {
      for (const killed of [0, 1]) {
        const both = machines();
        for (const [rank, machine] of both.entries())
          await machine.start(...(rank === killed ? ['--set', 'tracker.mode=offline'] : []));
        const mlflowRun = await bench.startRun();
        const trainers = [await train(0, 'both', mlflowRun), await train(1, 'both', mlflowRun)];
        for (const trainer of trainers) trainer.go();
        for (const trainer of trainers) await trainer.says('ended both');
        const parts = [await agents[0]!.ended('both'), await agents[1]!.ended('both')];
        await agents[1 - killed]!.deliveredAll();
        await agents[killed]!.stop('SIGKILL');
        await both[killed]!.start();
        await agents[killed]!.deliveredAll();
        await expectSum(mlflowRun, parts);
        await stopAll();
      }
    });
  });
}
