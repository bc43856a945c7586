// A machine that was rebooted in the middle of a run: who is asked says so, here and at the tracker.

import { join } from 'node:path';
import BetterSqlite3 from 'better-sqlite3';
import { expect, it } from 'vitest';
import type { Bench } from './bench.js';
import { WholeAgent } from './whole-agent.js';
import { expectThere } from './whole-run.js';

const REASON = 'the machine was rebooted';

export function rebootCases(bench: Bench): void {
  it('says of a run whose machine was rebooted that it is lost, and why', async () => {
    const agent = await WholeAgent.start();
    try {
      const mlflowRun = await bench.startRun();
      const runs = [{ id: 'rebooted', mlflowRun }];
      const trainer = agent.train({ runs, tracker: bench.server.address, hold: true });
      await trainer.says('held rebooted');
      // What is counted after the last checkpoint goes with the machine.
      const used = () =>
        agent.ask<{ inclusive: { cpu_seconds?: number } }>('run.usage', { run_id: 'rebooted' });
      await expect.poll(async () => (await used()).inclusive.cpu_seconds ?? 0).toBeGreaterThan(0);
      await agent.stop('SIGKILL');
      await trainer.kill();
      const db = new BetterSqlite3(join(agent.stateFolder, 'state.db'));
      const { changes } = db
        .prepare("UPDATE meta SET value = ? WHERE key = 'boot_id'")
        .run('of the boot before');
      db.close();
      expect(changes).toBe(1);
      await agent.start();
      const summary = await agent.ended('rebooted');
      expect(summary.run).toMatchObject({ status: 'LOST', reason: REASON });
      await agent.delivered('rebooted');
      await expectThere(bench, mlflowRun, summary);
      expect((await bench.stored(mlflowRun)).info).toMatchObject({
        status: 'FAILED',
        end_time: Date.parse(summary.run.ended_at!),
      });
      const shown = await agent.cli('show', 'rebooted');
      expect(shown).toMatchObject({ code: 0, stderr: '' });
      expect(shown.stdout).toMatch(new RegExp(`^rebooted  LOST: ${REASON}\n`));
      const { stdout } = await agent.cli('show', 'rebooted', '--json');
      expect(JSON.parse(stdout).run).toMatchObject({ id: 'rebooted', status: 'LOST', reason: REASON });
    } finally {
      await agent.remove();
    }
  });
}
