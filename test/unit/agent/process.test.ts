// The agent as a process of its own: ready line, signals, exit status, and a start after SIGKILL.

import type { ChildProcess } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadAddon } from '../../../src/native/addon.js';
import { AgentProcess } from '../support/agent-process.js';
import { temporaryFolder } from '../support/bench.js';
import { Client } from '../support/ipc-bench.js';

let folder: ReturnType<typeof temporaryFolder>;
const children: ChildProcess[] = [];

beforeEach(() => {
  folder = temporaryFolder();
});

afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  folder.remove();
});

function startAgent(args: string[] = []): AgentProcess {
  const agent = new AgentProcess(folder.path, { args });
  children.push(agent.child);
  return agent;
}

const socketPath = () => join(folder.path, 's', 'agent.sock');
const agentFile = () => join(folder.path, 'state', 'agent.json');

describe('the agent process', () => {
  it('says it is ready, and ends with 0 at SIGTERM, leaving no socket', async () => {
    const agent = startAgent();
    const ready = await agent.ready();
    const told = JSON.parse(readFileSync(agentFile(), 'utf8'));
    expect(told).toEqual({ pid: agent.child.pid, socket: socketPath(), http: ready.http });
    expect((await fetch(`http://${told.http}/readyz`)).status).toBe(200);
    const client = await Client.connect(socketPath());
    await client.result('run.start', { run_id: 'r' });
    agent.child.kill('SIGTERM');
    expect(await agent.exit).toEqual({ code: 0, signal: null });
    await client.untilClosed();
    expect([socketPath(), agentFile()].map((path) => existsSync(path))).toEqual([false, false]);
  });

  it('reads the configuration again at SIGHUP, and keeps the old one if the new is invalid', async () => {
    const file = join(folder.path, 'config.yaml');
    writeFileSync(file, 'log:\n  level: info\n');
    const agent = startAgent(['--config', file]);
    await agent.ready();
    writeFileSync(file, 'log:\n  level: loud\n');
    agent.child.kill('SIGHUP');
    const kept = await agent.said((line) => line.level === 'error');
    expect(kept.msg).toMatch(/old one stays in force/);
    writeFileSync(file, 'log:\n  level: debug\n');
    agent.child.kill('SIGHUP');
    const applied = await agent.said((line) => line.applied !== undefined);
    expect(applied.applied).toEqual(['log.level']);
    agent.child.kill('SIGTERM');
    expect((await agent.exit).code).toBe(0);
  });

  it('ends with 2 and one line where the configuration is wrong', async () => {
    const agent = startAgent(['--set', 'metrics.max_series=few']);
    expect((await agent.exit).code).toBe(2);
    expect(agent.lines.map((line) => line.msg).join('\n')).toMatch(/metrics\.max_series.*few.*expected/);
  });

  it('starts over a killed one: stale sockets go, runs and figures come back', async () => {
    const addon = loadAddon();
    const first = startAgent();
    await first.ready();
    const before = await Client.connect(socketPath());
    await before.result('run.start', { run_id: 'r' });
    await before.result('session.open', { run_id: 'r', t_ns: Number(addon.monotonicNs()) });
    const seen = await before.result('run.usage', { run_id: 'r', fresh: true });
    first.child.kill('SIGKILL');
    await first.exit;
    expect(existsSync(socketPath())).toBe(true);
    const second = startAgent();
    await second.ready();
    const after = await Client.connect(socketPath());
    const first0 = await after.result('run.usage', { run_id: 'r' });
    const cpu = (usage: Record<string, unknown>) =>
      (usage.inclusive as Record<string, number>).cpu_seconds ?? 0;
    expect(cpu(first0)).toBeGreaterThanOrEqual(cpu(seen));
    expect(await after.result('run.start', { run_id: 'r' })).toEqual({ run_id: 'r', created: false });
    const end = await after.result('run.end', { run_id: 'r', status: 'FINISHED' });
    expect(end).toMatchObject({ final: true, status: 'FINISHED' });
    after.close();
    second.child.kill('SIGTERM');
    expect((await second.exit).code).toBe(0);
  });
});
