// A whole agent on a node with a GPU of which only the driver is a double: what processes of two runs, a stranger and one in
// another PID namespace have of it, in metrics, answers and documents, with books that balance.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, expect, it } from 'vitest';
import { temporaryFolder } from '../support/bench.js';
import { MortalAgent } from '../support/mortal-agent.js';
import { nvmlDouble } from '../support/nvml-double.js';

const UUID = 'GPU-00000000-1111-2222-3333-444444444444';
const children: ChildProcess[] = [];
const folder = temporaryFolder();
let agent: MortalAgent | undefined;

afterAll(() => folder.remove());

afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  await agent?.stop();
  agent = undefined;
});

const sleeper = (): number => {
  const child = spawn('sleep', ['600'], { stdio: 'ignore' });
  children.push(child);
  return child.pid as number;
};

const TENANT = `
import os, sys, time
sys.path.insert(0, sys.argv[1])
import lezea_monitor as lm
while not os.path.exists(sys.argv[2]):
    time.sleep(0.05)
os.environ["LEZEA_MONITOR_SOCKET"] = open(sys.argv[2]).read()
run = lm.start_run(run_id="b")
with run.layer("y"):
    time.sleep(600)
`;

/** A client of an agent that is yet to come, the first process of its PID namespace; `pid` is its number in ours. */
const tenantInOtherNamespace = async (socketFile: string): Promise<number> => {
  const python = ['python3', '-c', TENANT, join(import.meta.dirname, '../../../python'), socketFile];
  const child = spawn('unshare', ['--pid', '--fork', '--kill-child', ...python], { stdio: 'ignore' });
  children.push(child);
  const inner = () => {
    const list = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8');
    return Number(list.trim().split(' ')[0]);
  };
  await expect.poll(inner, { timeout: 10_000 }).toBeGreaterThan(0);
  return inner();
};

const start = async (processes: string[]) => {
  agent = await MortalAgent.start(['--set', `gpu.nvml_library=${nvmlDouble()}`], {
    LEZEA_NVML_SCENARIO: scenarioFile(processes),
  });
  return agent;
};

let scenarios = 0;
const writtenFile = (path: string, text: string): string => {
  writeFileSync(path, text);
  return path;
};

const scenarioFile = (processes: string[]): string => {
  scenarios += 1;
  const lines = ['clock real', 'driver 575.57.08', `gpu uuid=${UUID}`, ...processes, ''];
  return writtenFile(join(folder.path, `scenario-${scenarios}`), lines.join('\n'));
};

const clock = () => Number(process.hrtime.bigint());

async function bind(running: MortalAgent, run: string, pid: number, scope: string): Promise<void> {
  await running.client.result('run.start', { run_id: run });
  const where = { birth_scope: scope, t_ns: clock() };
  await running.client.result('session.open', { run_id: run, pid, ...where });
}

async function scrape(running: MortalAgent): Promise<string> {
  const { http } = JSON.parse(readFileSync(join(running.folder, 'state', 'agent.json'), 'utf8')) as {
    http: string;
  };
  return (await fetch(`http://${http}/metrics`)).text();
}

/** Series of a family by their labels. */
function series(exposition: string, family: string): Record<string, number> {
  const lines = exposition.matchAll(new RegExp(`^${family}\\{(.*)\\} (\\S+)$`, 'gm'));
  return Object.fromEntries([...lines].map(([, labels, value]) => [labels as string, Number(value)]));
}

interface Summary {
  totals: Record<string, { value: number; method: string; source: string }>;
  scopes: { path: string; self: Record<string, number>; by_gpu?: Record<string, Record<string, number>> }[];
  gpus: { uuid: string; totals: Record<string, number> }[];
  conservation: Record<string, { residual: string }>;
}

async function summaryOf(running: MortalAgent, run: string): Promise<Summary> {
  const file = { run_id: run, file: 'resources/summary.json', offset: 0 };
  const { data } = (await running.client.result('run.get', file)) as { data: string };
  return JSON.parse(Buffer.from(data, 'base64').toString()) as Summary;
}

const canUnshare = spawnSync('unshare', ['--pid', '--fork', 'true']).status === 0;

it('two runs, one of them in another PID namespace, and a stranger: each has its share, and the books balance', {
  timeout: 90_000,
}, async ({ skip }) => {
  if (!canUnshare) skip('unshare --pid is refused here');
  const socketFile = `${scenarioFile([])}.socket`;
  const [a, b, stranger] = [sleeper(), await tenantInOtherNamespace(socketFile), sleeper()];
  const running = await start([
    `process 0 pid=${a} memory_mib=1000 period_ms=1000 busy_ms=600`,
    `process 0 pid=${b} memory_mib=3000 period_ms=1000 busy_ms=300 phase_ms=600`,
    `process 0 pid=${stranger} memory_mib=1000`,
  ]);
  await bind(running, 'a', a, 'layer:x');
  renameSync(writtenFile(`${socketFile}.new`, running.socket), socketFile);
  const seconds = (exposition: string, run: string) =>
    series(exposition, 'lezea_run_gpu_allocated_seconds_total')[`run="${run}"`] ?? 0;
  let exposition = '';
  const wait = async () => {
    exposition = await scrape(running);
    return Math.min(seconds(exposition, 'a'), seconds(exposition, 'b'));
  };
  await expect.poll(wait, { timeout: 60_000, interval: 500 }).toBeGreaterThan(15);

  const energy = series(exposition, 'lezea_scope_gpu_energy_joules_total');
  const labels = (run: string, scope: string) =>
    `run="${run}",level="layer",scope="layer:${scope}",gpu="${UUID}"`;
  const [ofA, ofB] = [energy[labels('a', 'x')], energy[labels('b', 'y')]] as [number, number];
  // 0.9 of the time is busy; of the rest memory has 1/5 and 3/5. Who worked is sampled seven times a second.
  expect(ofA / (ofA + ofB)).toBeGreaterThan(0.6);
  expect(ofA / (ofA + ofB)).toBeLessThan(0.71);
  const active = series(exposition, 'lezea_scope_gpu_active_seconds_total');
  const [activeA, activeB] = [active[labels('a', 'x')], active[labels('b', 'y')]] as [number, number];
  expect(activeA / (activeA + activeB)).toBeGreaterThan(0.6);
  expect(activeA / (activeA + activeB)).toBeLessThan(0.73);

  await running.client.result('run.end', { run_id: 'a', status: 'FINISHED' });
  process.kill(b, 'SIGKILL');
  const hasEnded = async () => {
    exposition = await scrape(running);
    return 'run="b",status="KILLED"' in series(exposition, 'lezea_run_status');
  };
  await expect.poll(hasEnded, { timeout: 20_000 }).toBe(true);
  const books = series(exposition, 'lezea_gpu_attributed_energy_joules_total');
  const [runs, others, nobody] = ['runs', 'others', 'nobody'].map(
    (to) => books[`gpu="${UUID}",to="${to}"`] as number,
  ) as [number, number, number];
  const totals = series(exposition, 'lezea_run_gpu_energy_joules_total');
  expect((totals['run="a"'] as number) + (totals['run="b"'] as number)).toBeCloseTo(runs, 6);
  expect(others).toBeGreaterThan(0);
  expect(nobody).toBe(0);
  const counter = series(exposition, 'lezea_gpu_energy_joules_total')[`gpu="${UUID}"`] as number;
  expect(runs + others).toBeLessThanOrEqual(counter);

  const summary = await summaryOf(running, 'a');
  expect(summary.totals.gpu_energy_joules).toMatchObject({
    method: 'estimated',
    source: 'nvml_energy_counter',
    value: totals['run="a"'],
  });
  expect(summary.totals.gpu_memory_peak_bytes?.value).toBe(1000 * 2 ** 20);
  const [scope] = summary.scopes;
  expect(scope?.by_gpu?.[UUID]?.gpu_energy_joules).toBe(scope?.self.gpu_energy_joules);
  expect(summary.gpus).toEqual([
    { uuid: UUID, totals: expect.objectContaining({ gpu_energy_joules: scope?.self.gpu_energy_joules }) },
  ]);
  for (const { residual } of Object.values(summary.conservation)) expect(residual).toBe('0');
});

it('goes on after the agent was killed: nothing is taken back', {
  timeout: 90_000,
}, async () => {
  const pid = sleeper();
  const running = await start([`process 0 pid=${pid} memory_mib=1000 busy_ms=1000`]);
  await bind(running, 'long', pid, 'layer:x');
  const family = 'lezea_scope_gpu_energy_joules_total';
  const label = `run="long",level="layer",scope="layer:x",gpu="${UUID}"`;
  const joules = async () => series(await scrape(running), family)[label] ?? 0;
  await expect.poll(joules, { timeout: 30_000 }).toBeGreaterThan(700);
  await running.kill();
  await running.start();
  const before = await joules();
  expect(before).toBeGreaterThan(700);
  // The double's counter begins anew with the agent, as after a reload of the driver: less is no energy, and no harm.
  await expect.poll(joules, { timeout: 30_000 }).toBeGreaterThan(before + 700);
});
