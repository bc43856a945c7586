// deploy/slurm/task-prolog.sh with the environment of a job, read as slurmstepd reads it; then the tasks of a job at a real
// agent.

import { execFileSync, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { MortalAgent } from '../support/mortal-agent.js';

const ROOT = join(import.meta.dirname, '../../..');
const JOB = { SLURM_JOB_ID: '4711', SLURM_PROCID: '0', PATH: process.env.PATH ?? '' };

let agent: MortalAgent | undefined;

afterEach(async () => {
  await agent?.stop();
  agent = undefined;
});

/** What a task has beside the job's environment: slurmstepd takes lines `export NAME=value`, and forwards `print …`. */
function exported(env: Record<string, string>): Record<string, string> {
  const prolog = join(ROOT, 'deploy/slurm/task-prolog.sh');
  const lines = execFileSync(prolog, { env, encoding: 'utf8' }).split('\n').slice(0, -1);
  return Object.fromEntries(
    lines.map((line) => {
      const [, name = '', value = ''] = /^export (\w+)=(.*)$/.exec(line) ?? expect.fail(line);
      return [name, value];
    }),
  );
}

it.each([
  ['a job', {}, { LEZEA_RUN_ID: 'slurm-4711' }],
  ['one whose user chose a run', { LEZEA_RUN_ID: 'mine' }, {}],
  ['one that another job submitted', { LEZEA_RUN_ID: 'slurm-4710' }, { LEZEA_RUN_ID: 'slurm-4711' }],
  ['no job', { SLURM_JOB_ID: '' }, {}],
  ['a number that is none', { SLURM_JOB_ID: '1;reboot' }, {}],
])('%s', (_, own, wanted) => {
  expect(exported({ ...JOB, ...own })).toEqual(wanted);
});

it('two steps of a job are one run of its user, the second its next attempt', async () => {
  agent = await MortalAgent.start();
  for (const step of ['0', '1']) {
    const env = { ...JOB, SLURM_STEP_ID: step, LEZEA_MONITOR_SOCKET: agent.socket };
    const command = [join(ROOT, 'bin/lezea-monitor.js'), 'run', '--quiet', '--', 'true'];
    const task = spawnSync(process.execPath, command, {
      env: { ...env, ...exported(env) },
      encoding: 'utf8',
    });
    expect([task.status, task.stderr]).toEqual([0, '']);
  }
  const { runs } = (await agent.client.result('run.list', {})) as { runs: Record<string, unknown>[] };
  expect(runs.map(({ run_id, attempt, status }) => [run_id, attempt, status])).toEqual([
    ['slurm-4711', 2, 'FINISHED'],
  ]);
});
