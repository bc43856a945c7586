// Programs in containers (PID and user namespaces of their own) that talk to the mounted socket of the machine's agent: each
// is measured, and its run belongs to whom the machine says it is.

import { execFile, execFileSync } from 'node:child_process';
import { chmodSync, cpSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AgentProcess } from '../unit/support/agent-process.js';
import { temporaryFolder } from '../unit/support/bench.js';
import { Client } from '../unit/support/ipc-bench.js';
import { asUser, noAccounts } from '../unit/support/peer-process.js';

const run = promisify(execFile);
const PYTHON = resolve(import.meta.dirname, '../../python/lezea_monitor');
const USER = 54_321;
const PROGRAM = `
import sys, time
import lezea_monitor as lm
run = lm.start_run(run_id=sys.argv[1])
begun = time.process_time()
with run.tasker("t0"):
    while time.process_time() < begun + 0.2:
        pass
used = time.process_time() - begun
run.end()
print(used)
`;
const NAMESPACES = ['unshare', '--pid', '--fork', '--kill-child'];
const CONTAINERS = [
  ['an account', asUser(USER), USER],
  ['an account in a PID namespace', [...NAMESPACES, ...asUser(USER)], USER],
  ['root of a user and a PID namespace', [...asUser(USER), ...withUser('--map-root-user')], USER],
  ['nobody of a user and a PID namespace', [...asUser(USER), ...withUser()], USER],
  ['root in a PID namespace', NAMESPACES, 0],
] as const;

function withUser(...options: string[]): string[] {
  return ['unshare', '--user', ...options, ...NAMESPACES.slice(1)];
}

describe.skipIf(noAccounts)(`containers${noAccounts ? `: ${noAccounts}` : ''}`, () => {
  const folder = temporaryFolder();
  let agent: AgentProcess;
  let client: Client;

  beforeAll(async () => {
    chmodSync(folder.path, 0o755);
    // This checkout may be one that only root can read.
    cpSync(PYTHON, join(folder.path, 'lezea_monitor'), { recursive: true });
    execFileSync('chmod', ['-R', 'go+rX', join(folder.path, 'lezea_monitor')]);
    agent = new AgentProcess(folder.path, { mode: 'system' });
    await agent.ready();
    client = await Client.connect(agent.socket);
  });

  afterAll(async () => {
    client.close();
    agent.child.kill('SIGKILL');
    await agent.exit;
    folder.remove();
  });

  it.each(CONTAINERS)('%s has what it used, and its run', async (who, prefix, uid) => {
    const id = who.replaceAll(' ', '-');
    const [command, ...words] = [...prefix, '/usr/bin/python3', '-c', PROGRAM, id];
    const { stdout } = await run(command as string, words, {
      env: { PATH: '/usr/bin:/bin', LEZEA_MONITOR_SOCKET: agent.socket, PYTHONPATH: folder.path },
    });
    const own = Number(stdout);
    const ended = await client.result('run.get', { run_id: id });
    expect(ended).toMatchObject({ status: 'FINISHED', owner_uid: uid });
    const { inclusive } = (await client.result('run.usage', { run_id: id, scope: 'tasker:t0' })) as {
      inclusive: { cpu_seconds: number };
    };
    expect(own).toBeGreaterThanOrEqual(0.2);
    expect(Math.abs(inclusive.cpu_seconds - own)).toBeLessThan(0.01);
  });
});
