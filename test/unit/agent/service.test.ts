// The agent as a service: what its manager is told, by a real socket, from its start to its end; and that a sampling thread
// that hangs is not said to be alive.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AgentProcess } from '../support/agent-process.js';
import { temporaryFolder } from '../support/bench.js';
import { Client } from '../support/ipc-bench.js';
import { holdThread, NotifySocket, threadsOf } from '../support/service-bench.js';

let folder: ReturnType<typeof temporaryFolder>;
let manager: NotifySocket;
let agent: AgentProcess | undefined;

beforeEach(async () => {
  folder = temporaryFolder();
  manager = await NotifySocket.at(address());
});

afterEach(() => {
  agent?.child.kill('SIGKILL');
  agent = undefined;
  manager.stop();
  folder.remove();
});

const address = () => join(folder.path, 'notify');

function start(args: string[] = []): AgentProcess {
  agent = new AgentProcess(folder.path, { env: { NOTIFY_SOCKET: address() }, args });
  return agent;
}

describe('the service manager', () => {
  it('is told READY once the sockets accept, by the agent itself, and STOPPING before the end', async () => {
    const { pid, child, exit, socket } = start();
    const ready = await manager.message();
    expect(ready).toMatchObject({ pid, fields: { READY: '1' } });
    expect(ready.fields.STATUS).toMatch(/^0 runs, 0 sessions; /);
    const client = await Client.connect(socket);
    expect(await client.result('run.list', {})).toMatchObject({ runs: [] });
    client.close();
    child.kill('SIGTERM');
    expect((await manager.message()).fields).toMatchObject({ STOPPING: '1' });
    expect((await exit).code).toBe(0);
  });

  it('is told of a reload from its begin to its end, and of one that was refused', async () => {
    const file = join(folder.path, 'config.yaml');
    writeFileSync(file, 'log:\n  level: info\n');
    const { child } = start(['--config', file]);
    await manager.withField('READY');
    const reload = async (text: string) => {
      writeFileSync(file, text);
      const before = process.hrtime.bigint() / 1000n;
      child.kill('SIGHUP');
      const begin = await manager.withField('RELOADING');
      const at = BigInt(begin.MONOTONIC_USEC ?? '0');
      expect(at >= before && at <= process.hrtime.bigint() / 1000n).toBe(true);
      return manager.withField('READY');
    };
    const refused = await reload('log:\n  level: loud\n');
    expect(refused.STATUS).toMatch(/an earlier one is in force: log\.level .*"loud"/);
    const taken = await reload('log:\n  level: debug\n');
    expect(taken.STATUS).not.toContain('in force');
  });
});

describe('the journal', () => {
  const said = (line: RegExp) => agent?.said(({ msg }) => line.test(msg));

  it('is told the priority of each line, where standard error is its own', async () => {
    const through = ['bash', '-c', 'JOURNAL_STREAM=$(stat -Lc %d:%i /proc/self/fd/2) exec "$0" "$@"'];
    const file = join(folder.path, 'config.yaml');
    writeFileSync(file, '{}');
    agent = new AgentProcess(folder.path, { through, args: ['--config', file] });
    await said(/^<6>\{"level":"info".*"ready"\}$/);
    writeFileSync(file, 'log:\n  level: loud\n');
    agent.child.kill('SIGHUP');
    await said(/^<3>\{"level":"error".*stays in force"\}$/);
  });

  it('is another stream than this one: lines are as ever', async () => {
    agent = new AgentProcess(folder.path, { env: { JOURNAL_STREAM: '1:1' } });
    expect((await agent.ready()).level).toBe('info');
  });
});

describe('the watchdog', () => {
  it('is fed while both the event loop and the sampling thread move, and not when the latter hangs', async ({
    skip,
  }) => {
    // Told by PID, as systemd does; the shell has the number that the agent will have.
    const through = ['/bin/sh', '-c', 'WATCHDOG_PID=$$ exec "$0" "$@"'];
    const env = { NOTIFY_SOCKET: address(), WATCHDOG_USEC: '400000' };
    agent = new AgentProcess(folder.path, { env, through });
    await manager.withField('WATCHDOG');
    await manager.withField('WATCHDOG');
    const sampling = threadsOf(agent.pid).filter(({ name }) => name === 'lezea-sampler');
    expect(sampling).toHaveLength(1);
    const held = await holdThread(sampling[0]?.tid as number);
    if ('refused' in held) return skip(`this machine lets nobody trace a process: ${held.refused}`);
    const hangs = (times: number) =>
      agent?.said(
        () => agent?.lines.filter(({ msg }) => msg.startsWith('the sampling thread hangs')).length === times,
      );
    await hangs(1);
    agent.child.kill('SIGHUP');
    await manager.withField('RELOADING');
    await hangs(3);
    agent.child.kill('SIGHUP');
    const between: string[] = [];
    for (let names: string[] = []; !names.includes('RELOADING'); between.push(...names)) {
      names = Object.keys((await manager.message()).fields);
    }
    expect(between).toEqual(['READY', 'STATUS', 'RELOADING', 'MONOTONIC_USEC']);
    held.release();
    await manager.withField('WATCHDOG');
  });
});
