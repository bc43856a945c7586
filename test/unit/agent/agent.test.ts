// The whole agent in this process, with the real sampler on the real kernel. The workload is a child: the agent's own process
// is in no run.

import type { ChildProcess } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Agent } from '../../../src/agent/agent.js';
import { loadConfig } from '../../../src/config/load.js';
import { figuresOfSummary, metricsText } from '../../../src/files/metrics-document.js';
import { loadAddon } from '../../../src/native/addon.js';
import { silent, temporaryFolder } from '../support/bench.js';
import { startBurner } from '../support/burner.js';
import { Client } from '../support/ipc-bench.js';
import { recomputed } from '../support/prices.js';

let folder: ReturnType<typeof temporaryFolder>;
const agents: Agent[] = [];
const workloads: ChildProcess[] = [];
const addon = loadAddon();

beforeEach(() => {
  folder = temporaryFolder();
});

afterEach(async () => {
  for (const workload of workloads.splice(0)) workload.kill();
  for (const agent of agents.splice(0)) await agent.stop();
  folder.remove();
});

function config(more: Record<string, string> = {}) {
  const set = Object.entries({ 'agent.mode': 'user', ...more }).map(([key, value]) => `${key}=${value}`);
  const flags = {
    listen: '127.0.0.1:0',
    socket: join(folder.path, 's', 'agent.sock'),
    stateDir: join(folder.path, 'state'),
    set,
  };
  return loadConfig({ flags, env: { HOME: folder.path }, uid: process.getuid!() }).config;
}

async function start(more: Record<string, string> = {}): Promise<Agent> {
  const current = config(more);
  const agent = await Agent.start({ addon, config: () => current, log: silent, now: Date.now });
  agents.push(agent);
  return agent;
}

async function stop(agent: Agent): Promise<void> {
  agents.splice(agents.indexOf(agent), 1);
  await agent.stop();
}

async function startWorkload(): Promise<{ pid: number; burn: (ms: number) => Promise<number> }> {
  const { child, burn } = await startBurner();
  workloads.push(child);
  return { pid: child.pid!, burn };
}

const clock = () => Number(addon.monotonicNs());

describe('the agent', () => {
  it('says where it is, and measures a process by its scopes', async () => {
    const agent = await start({
      'cost.cpu_per_core_hour': '0.05',
      'cost.ram_per_gb_hour': '0.004',
      'cost.io_per_gb': '0.01',
      'cost.gpu_per_hour': '2',
    });
    const told = JSON.parse(readFileSync(join(folder.path, 'state', 'agent.json'), 'utf8'));
    expect(told).toEqual({ pid: process.pid, ...agent.addresses });
    expect(statSync(told.socket).mode & 0o777).toBe(0o600);
    const client = await Client.connect(told.socket);
    await client.result('run.start', { run_id: 'self' });
    const { pid, burn } = await startWorkload();
    const where = { birth_scope: 'builder:b0/tasker:t0', t_ns: clock() };
    await client.result('session.open', { run_id: 'self', pid, ...where });
    const used = await burn(300);
    const usage = await client.result('run.usage', { run_id: 'self', fresh: true });
    expect((usage.inclusive as Record<string, number>).cpu_seconds).toBeGreaterThan(used * 0.95);
    const scope = await client.result('run.usage', { run_id: 'self', scope: 'builder:b0' });
    expect((scope.inclusive as Record<string, number>).cpu_seconds).toBeGreaterThan(used * 0.6);
    const metrics = await (await fetch(`http://${told.http}/metrics`)).text();
    expect(metrics).toMatch(/lezea_scope_cpu_seconds_total\{.*scope="builder:b0\/tasker:t0"/);
    const end = await client.result('run.end', { run_id: 'self', status: 'FINISHED' });
    expect(end).toMatchObject({ final: true, status: 'FINISHED' });
    const state = await client.result('run.get', { run_id: 'self' });
    expect(state.files).toContain('resources/summary.json');
    const document = await client.result('run.get', { run_id: 'self', file: 'resources/summary.json' });
    const summary = JSON.parse(Buffer.from(document.data as string, 'base64').toString());
    expect(summary.run.status).toBe('FINISHED');
    expect(summary.conservation.cpu_seconds.residual).toBe('0');
    const node = await client.result('node.inventory');
    const ranOn = await client.result('run.get', { run_id: 'self', file: 'environment/full.json' });
    const environment = JSON.parse(Buffer.from(ranOn.data as string, 'base64').toString());
    expect(environment.hardware).toEqual(node.hardware);
    expect(summary.environment).toEqual({
      fingerprint: environment.fingerprint.stable,
      run_fingerprint: environment.run.fingerprint.sha256,
    });
    const bill = await client.result('run.get', {
      run_id: 'self',
      file: 'business/cost_analysis_summary.json',
    });
    const cost = Buffer.from(bill.data as string, 'base64').toString();
    expect(recomputed(JSON.stringify(summary), cost)).toBe('');
    const flat = await client.result('run.get', { run_id: 'self', file: 'metrics.json' });
    expect(Buffer.from(flat.data as string, 'base64').toString()).toBe(
      [...metricsText(figuresOfSummary(summary))].join(''),
    );
    expect(JSON.parse(cost)).toMatchObject({ rates_eur: { gpu_hour_eur: 2 } });
    expect(JSON.parse(cost).unpriced).toContain('gpu_hours');
    expect(JSON.parse(cost).total_eur).toBeGreaterThan(0);
    expect(await client.result('agent.health')).toMatchObject({ status: 'ok' });
    client.close();
  });

  it('has, when all of a run is ended, what its processes used up to then', async () => {
    const agent = await start();
    const client = await Client.connect(agent.addresses.socket);
    await client.result('run.start', { run_id: 'r' });
    const { pid, burn } = await startWorkload();
    await client.result('session.open', { run_id: 'r', pid, t_ns: clock() });
    const used = await burn(60);
    const end = await client.result('run.end', { run_id: 'r', status: 'FINISHED', all: true });
    expect((end.totals as Record<string, number>).cpu_seconds).toBeGreaterThan(used * 0.99);
    const document = await client.result('run.get', { run_id: 'r', file: 'resources/summary.json' });
    const summary = JSON.parse(Buffer.from(document.data as string, 'base64').toString());
    const [process] = summary.processes;
    expect(process.totals.cpu_seconds).toBe(summary.totals.cpu_seconds.value);
    client.close();
  });

  it('goes on with a live run after a restart', async () => {
    const first = await start();
    const before = await Client.connect(first.addresses.socket);
    await before.result('run.start', { run_id: 'long' });
    const { pid, burn } = await startWorkload();
    await before.result('session.open', { run_id: 'long', pid, t_ns: clock() });
    const used = await burn(200);
    before.close();
    await stop(first);
    expect(existsSync(join(folder.path, 's', 'agent.sock'))).toBe(false);
    const missed = await burn(200);
    const second = await start();
    const after = await Client.connect(second.addresses.socket);
    const started = await after.result('run.start', { run_id: 'long' });
    expect(started).toEqual({ run_id: 'long', created: false });
    await after.result('session.open', { run_id: 'long', pid, t_ns: clock() });
    const usage = await after.result('run.usage', { run_id: 'long', fresh: true });
    const cpu = (usage.inclusive as Record<string, number>).cpu_seconds!;
    expect(cpu).toBeGreaterThan((used + missed) * 0.95);
    await after.result('run.end', { run_id: 'long', status: 'FINISHED' });
    after.close();
  });

  it('is well from the start, and counts its time whatever becomes of the wall clock', async () => {
    const current = config();
    let wall = Date.now();
    const agent = await Agent.start({ addon, config: () => current, log: silent, now: () => wall });
    agents.push(agent);
    const client = await Client.connect(agent.addresses.socket);
    await expect.poll(() => client.result('agent.health'), { timeout: 1500 }).toMatchObject({ status: 'ok' });
    wall -= 3_600_000;
    const { uptime_seconds: uptime } = await client.result('node.status');
    expect(uptime).toBeGreaterThan(0);
    expect(uptime).toBeLessThan(60);
    client.close();
  });

  it('leaves the ring socket of another agent in the same folder alone', async () => {
    await start();
    const other = config();
    const socket = { ...other.socket, path: join(folder.path, 's', 'other.sock') };
    const elsewhere = { ...other, socket, state: { ...other.state, dir: join(folder.path, 'other') } };
    const second = Agent.start({ addon, config: () => elsewhere, log: silent, now: Date.now });
    await expect(second).rejects.toThrow(/ring\.sock: an agent is listening there/);
    expect(existsSync(join(folder.path, 's', 'ring.sock'))).toBe(true);
  });

  it('refuses a second agent on the same state folder or socket', async () => {
    await start();
    await expect(start()).rejects.toMatchObject({ code: 'state' });
    const other = config();
    const elsewhere = { ...other, state: { ...other.state, dir: join(folder.path, 'other') } };
    const second = Agent.start({ addon, config: () => elsewhere, log: silent, now: Date.now });
    await expect(second).rejects.toThrow(/an agent is listening there/);
  });
});
