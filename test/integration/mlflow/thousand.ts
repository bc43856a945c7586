// A real Python program that enters 1 000 scopes, a real agent and a real server: how long after the end all of it is there.

import { join, resolve } from 'node:path';
import { expect, it } from 'vitest';
import type { Bench, Expected } from './bench.js';
import { run, WholeAgent } from './whole-agent.js';
import { expectThere } from './whole-run.js';

const REPOSITORY = resolve(import.meta.dirname, '../../..');

export function thousandCases(
  bench: Bench,
  { major, budgetSeconds }: Pick<Expected, 'major' | 'budgetSeconds'>,
): void {
  it('has all of a program of 1000 scopes soon after its end', async () => {
    const agent = await WholeAgent.start();
    try {
      const mlflowRun = await bench.startRun();
      const before = bench.server.cpuSeconds();
      const env = [
        ...['-u', 'LEZEA_RUN_ID', `PYTHONPATH=${join(REPOSITORY, 'python')}`, 'PYTHONDONTWRITEBYTECODE=1'],
        ...[`LEZEA_MONITOR_SOCKET=${agent.process.socket}`, `MLFLOW_TRACKING_URI=${bench.server.address}`],
        `MLFLOW_RUN_ID=${mlflowRun}`,
      ];
      const program = join(import.meta.dirname, 'thousand.py');
      const { code, stdout } = await run('env', [...env, 'python3', program, 'thousand']);
      expect(code).toBe(0);
      const summary = await agent.ended('thousand');
      expect(summary.scopes).toHaveLength(1000);
      const { delivered_at: at } = await agent.delivered('thousand');
      const seconds = Date.parse(at!) / 1000 - Number(stdout);
      const figures = bench.server.metricRows(mlflowRun).length;
      const cpu = (bench.server.cpuSeconds() - before).toFixed(1);
      // What the machine is doing beside decides the time; the budget is judged where it is idle.
      console.log(
        `MLflow ${major}: 1000 scopes of a program, ${figures} figures, there ${seconds.toFixed(1)} s after its end, ` +
          `${cpu} s of the server's CPU; budget ${budgetSeconds} s`,
      );
      await expectThere(bench, mlflowRun, summary);
    } finally {
      await agent.remove();
    }
  });
}
