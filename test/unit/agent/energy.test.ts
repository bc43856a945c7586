// Energy of the CPU through the whole agent: the real sampler, on this machine's processes and a /sys of the test's own,
// whose counters say 100 W.

import type { ChildProcess } from 'node:child_process';
import { closeSync, mkdirSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Agent } from '../../../src/agent/agent.js';
import { loadConfig } from '../../../src/config/load.js';
import { loadAddon } from '../../../src/native/addon.js';
import { silent, temporaryFolder } from '../support/bench.js';
import { startBurner } from '../support/burner.js';
import { Client } from '../support/ipc-bench.js';

const WATTS = 100;
const CPUS = 2;
const addon = loadAddon();
let folder: ReturnType<typeof temporaryFolder>;
let agent: Agent | undefined;
let workload: ChildProcess | undefined;
let stopCounter: (() => void) | undefined;

beforeEach(() => {
  folder = temporaryFolder();
});

afterEach(async () => {
  workload?.kill();
  stopCounter?.();
  await agent?.stop();
  agent = undefined;
  folder.remove();
});

const sys = () => join(folder.path, 'sys');

/** A package whose counter goes on until the test is over. */
function makeCounter(): void {
  const zone = join(sys(), 'class/powercap/intel-rapl:0');
  mkdirSync(zone, { recursive: true });
  writeFileSync(join(zone, 'name'), 'package-0\n');
  writeFileSync(join(zone, 'max_energy_range_uj'), '262143328850\n');
  mkdirSync(join(sys(), 'devices/system/cpu'), { recursive: true });
  writeFileSync(join(sys(), 'devices/system/cpu/online'), `0-${CPUS - 1}\n`);
  const file = openSync(join(zone, 'energy_uj'), 'w');
  const begun = performance.now();
  // In place and always as long: a reader never sees half of it.
  const write = () =>
    writeSync(
      file,
      `${String(Math.round((performance.now() - begun) * 1000 * WATTS)).padStart(12, '0')}\n`,
      0,
    );
  write();
  const timer = setInterval(write, 2);
  stopCounter = () => {
    clearInterval(timer);
    closeSync(file);
    stopCounter = undefined;
  };
}

async function start(more: string[] = []): Promise<Agent> {
  const flags = {
    listen: '127.0.0.1:0',
    socket: join(folder.path, 's', 'agent.sock'),
    stateDir: join(folder.path, 'state'),
    set: ['agent.mode=user', ...more],
  };
  const { config } = loadConfig({ flags, env: { HOME: folder.path }, uid: process.getuid!() });
  const roots = { proc: '/proc', sys: sys() };
  agent = await Agent.start({ addon, config: () => config, log: silent, now: Date.now, roots });
  return agent;
}

/** What a run and its one scope are said to have used, by the socket and by /metrics. */
async function measure(running: Agent): Promise<{ columns: Record<string, number>; metrics: string }> {
  const client = await Client.connect(running.addresses.socket);
  await client.result('run.start', { run_id: 'r' });
  const { child, burn } = await startBurner();
  workload = child;
  const where = { birth_scope: 'builder:b0', t_ns: Number(addon.monotonicNs()) };
  await client.result('session.open', { run_id: 'r', pid: child.pid!, ...where });
  await burn(600);
  const usage = await client.result('run.usage', { run_id: 'r', fresh: true });
  const metrics = await (await fetch(`http://${running.addresses.http}/metrics`)).text();
  await client.result('run.end', { run_id: 'r', status: 'FINISHED', all: true });
  client.close();
  return { columns: usage.inclusive as Record<string, number>, metrics };
}

const source = async (running: Agent) => {
  const client = await Client.connect(running.addresses.socket);
  const { sources } = (await client.result('node.status')) as {
    sources: { name: string; state: string; reason: string }[];
  };
  client.close();
  return sources.find(({ name }) => name === 'cpu_energy');
};

describe('energy of the CPU', () => {
  it('is of a run what its CPU time is of all there was', async () => {
    makeCounter();
    const running = await start();
    expect(await source(running)).toMatchObject({ state: 'ok', reason: 'RAPL: package-0' });
    const { columns, metrics } = await measure(running);
    const { cpu_energy_joules: joules = 0, cpu_seconds: seconds = 0 } = columns;
    // At a power that does not change a second of one CPU is the same however long the run waits beside it.
    expect((joules * CPUS) / WATTS / seconds).toBeGreaterThan(0.8);
    expect((joules * CPUS) / WATTS / seconds).toBeLessThan(1.2);
    expect(metrics).toMatch(/^lezea_run_cpu_energy_joules_total\{.*\} \d+\.\d{1,6}$/m);
    expect(metrics).toMatch(/^lezea_scope_cpu_energy_joules_total\{.*scope="builder:b0".*\} \d/m);
    expect(metrics).toMatch(/^lezea_node_rapl_package_joules_total\{index="0",path=".*intel-rapl:0"\} \d/m);
  });

  it.each([
    ['there are no counters', [], /^no RAPL zones/],
    ['the operator said so', ['sampling.sources.rapl.enabled=false'], /^disabled by configuration/],
    ['a counter cannot be read', [], /^energy_uj: unsupported/],
  ])('is absent where %s, and doctor says so', async (why, settings, reason) => {
    if (why !== 'there are no counters') makeCounter();
    if (why === 'a counter cannot be read') rmSync(join(sys(), 'class/powercap/intel-rapl:0/energy_uj'));
    const running = await start(settings);
    expect((await source(running))?.reason).toMatch(reason);
    const { columns, metrics } = await measure(running);
    expect(columns.cpu_seconds).toBeGreaterThan(0.5);
    expect(columns.cpu_energy_joules).toBeUndefined();
    expect(metrics).not.toContain('joules');
  });
});
