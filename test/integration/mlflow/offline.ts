// An agent that is not to speak to anybody: what its kernel calls say; and its runs' totals at a real tracker all the same, by
// way of a bundle and another agent.

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { temporaryFolder } from '../../unit/support/bench.js';
import { type Bench, SUMMARY, tagsOf } from './bench.js';
import { WholeAgent } from './whole-agent.js';
import { expectThere } from './whole-run.js';

const CALLS = 'trace=connect,sendto,sendmsg,sendmmsg';

/** Why no process can be watched here; empty where one can. */
function untraced(): string {
  const { error, status, stderr } = spawnSync('strace', ['-f', '-e', CALLS, 'true'], { encoding: 'utf8' });
  if (error) return ` (skipped: strace: ${error.message})`;
  return status === 0 ? '' : ` (skipped: this machine lets nobody trace a process: ${stderr.trim()})`;
}

export function offlineCases(bench: Bench): void {
  const why = untraced();

  describe.skipIf(why !== '')(`an agent that is offline${why}`, () => {
    let folder: ReturnType<typeof temporaryFolder>;
    beforeEach(() => {
      folder = temporaryFolder();
    });
    afterEach(() => folder.remove());

    /** A command that watches the agent's whole life without standing between it and its parent. */
    const watched = (name: string) => [
      'strace',
      '-D',
      '-f',
      '--seccomp-bpf',
      '-o',
      join(folder.path, name),
      '-e',
      CALLS,
    ];
    const watch = async (agent: WholeAgent, name: string): Promise<string> => {
      const { pid } = agent.process;
      await agent.stop();
      const file = join(folder.path, name);
      const read = () => (existsSync(file) ? readFileSync(file, 'utf8') : '');
      await expect
        .poll(read, { timeout: 10_000 })
        .toMatch(new RegExp(`^${pid} +\\+\\+\\+ exited with 0`, 'm'));
      return read();
    };

    it('makes no connection in its whole life, and what it has arrives by a bundle, once', async () => {
      const runs = [
        { id: 'off-1', mlflowRun: await bench.startRun() },
        { id: 'off-2', mlflowRun: await bench.startRun() },
      ];
      const bundle = join(folder.path, 'b.lzo');
      const away = await WholeAgent.start({
        args: ['--set', 'tracker.mode=offline'],
        through: watched('away'),
      });
      const home = await WholeAgent.start({ through: watched('home') });
      try {
        const trainer = away.train({ runs, tracker: bench.server.address, builders: 3, layers: 4 });
        for (const { id } of runs) await trainer.says(`ended ${id}`);
        const summaries = [await away.ended('off-1'), await away.ended('off-2')];
        expect(await away.cli('outbox', 'export', bundle)).toMatchObject({ code: 0, stderr: '' });
        const calls = await watch(away, 'away');
        // Whom it spoke to: not even itself over a network.
        expect(calls).toMatch(/^\d+ +\+\+\+ exited with 0/m);
        expect(calls.split('\n').filter((line) => /AF_INET|sin6?_addr/.test(line))).toEqual([]);
        for (const { mlflowRun } of runs) expect(bench.server.metricRows(mlflowRun)).toEqual([]);

        const altered = readFileSync(bundle);
        altered[altered.length >> 1]! ^= 1;
        writeFileSync(`${bundle}-altered`, altered);
        const refused = await home.cli('outbox', 'import', `${bundle}-altered`);
        expect(refused).toMatchObject({ code: 1, stdout: '' });
        expect(refused.stderr).toContain('it was altered');
        expect(await home.ask('outbox.list', { all: true })).toMatchObject({ deliveries: [] });

        for (const imported of [2, 0, 0]) {
          const said = await home.cli('outbox', 'import', bundle, '--json');
          expect(JSON.parse(said.stdout)).toMatchObject({ imported, known: 2 - imported });
          for (const [n, { id, mlflowRun }] of runs.entries()) {
            await home.delivered(id);
            const summary = summaries[n]!;
            await expectThere(bench, mlflowRun, summary);
            const bytes = bench.server.artifact(mlflowRun, SUMMARY)!;
            expect(tagsOf(await bench.stored(mlflowRun))['lezea_monitor.summary_sha256']).toBe(
              createHash('sha256').update(bytes).digest('hex'),
            );
          }
        }
        // What is looked for is seen where it is.
        expect(await watch(home, 'home')).toContain(`sin_port=htons(${new URL(bench.server.address).port})`);
      } finally {
        await away.remove();
        await home.remove();
      }
    });
  });
}
