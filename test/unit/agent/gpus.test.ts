// A whole agent on a node that has GPUs: by NVML, which is the double of it, and without it by an nvidia-smi.

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { temporaryFolder } from '../support/bench.js';
import { fakeNvidiaSmi, smiXml, uuidOf } from '../support/fake-nvidia-smi.js';
import { MortalAgent } from '../support/mortal-agent.js';
import { nvmlDouble } from '../support/nvml-double.js';

let folder: ReturnType<typeof temporaryFolder>;
let agent: MortalAgent;

beforeEach(() => {
  folder = temporaryFolder();
});

afterEach(async () => {
  await agent.stop();
  folder.remove();
});

const start = async (xml: string, script = '') => {
  const program = fakeNvidiaSmi(folder.path, xml, script);
  const paths = [
    '--set',
    `gpu.nvidia_smi_path=${program}`,
    '--set',
    'gpu.nvml_library=/nowhere/libnvidia-ml.so.1',
  ];
  agent = await MortalAgent.start(paths);
};

/** On a machine that is this scenario. nvidia-smi is there too, and is not asked. */
const startNvml = async (scenario: string) => {
  const program = fakeNvidiaSmi(folder.path, smiXml([{}]));
  const library = nvmlDouble();
  const set = [`gpu.nvml_library=${library}`, `gpu.nvidia_smi_path=${program}`].flatMap((one) => [
    '--set',
    one,
  ]);
  const file = join(folder.path, 'scenario');
  writeFileSync(file, scenario);
  agent = await MortalAgent.start(set, { LEZEA_NVML_SCENARIO: file });
};

const UUID = 'GPU-00000000-1111-2222-3333-444444444444';
const BUSY = `clock real
gpu uuid=${UUID}
process 0 pid=1000 memory_mib=1000 busy_ms=1000
`;

/** A figure of the GPU; undefined where there is no such series. */
async function figure(name: string): Promise<number | undefined> {
  const [, value] = new RegExp(`^${name}\\{gpu="${UUID}"\\} (\\S+)$`, 'm').exec(await scrape()) ?? [];
  return value === undefined ? undefined : Number(value);
}

async function gpuSource(): Promise<{ state: string; reason: string }> {
  const { sources } = (await agent.client.result('node.status', {})) as {
    sources: { name: string; state: string; reason: string }[];
  };
  const found = sources.find(({ name }) => name === 'gpu');
  if (!found) throw new Error('no source of GPUs');
  return found;
}

it('reads NVML where there is one, and asks nobody else', { timeout: 60_000 }, async () => {
  await startNvml(BUSY);
  await expect.poll(() => figure('lezea_gpu_energy_joules_total'), { timeout: 20_000 }).toBeGreaterThan(0);
  const read = async () => {
    const exposition = await scrape();
    const value = (name: string) =>
      Number(new RegExp(`^lezea_gpu_${name}\\{.*\\} (\\S+)$`, 'm').exec(exposition)?.[1]);
    return { joules: value('energy_joules_total'), at: value('read_time_seconds') };
  };
  const first = await read();
  await expect.poll(async () => (await read()).at - first.at, { timeout: 20_000 }).toBeGreaterThan(2.5);
  const later = await read();
  // It takes 700 W, and its counter is brought up to date every 100 ms.
  const watts = (later.joules - first.joules) / (later.at - first.at);
  expect(watts).toBeGreaterThan(650);
  expect(watts).toBeLessThan(750);
  expect(await figure('lezea_gpu_utilization_ratio')).toBe(1);
  expect(await figure('lezea_gpu_memory_used_bytes')).toBe(1000 * 1024 * 1024);
  const exposition = await scrape();
  expect(exposition).toContain(`lezea_gpu_info{gpu="${UUID}",source="nvml",model="NVIDIA H200"`);
  expect(exposition).toMatch(/^lezea_agent_nvml_calls_total\{call="nvmlDeviceGetFieldValues"\} \d+$/m);
  expect(exposition).toContain('lezea_agent_nvml_stuck 0');
  expect(await gpuSource()).toMatchObject({
    state: 'ok',
    reason: expect.stringMatching(/^1 GPU by NVML .*driver 550/),
  });
  const { described } = (await agent.client.result('node.inventory', {})) as { described: { gpus: object } };
  expect(described.gpus).toMatchObject({ source: 'nvml', cuda: '12.4', devices: [{ uuid: UUID }] });
  expect(existsSync(join(folder.path, 'asked'))).toBe(false);
});

it('says nvml_stuck and shows nothing of GPUs while a call hangs, samples on, and comes back by itself', {
  timeout: 60_000,
}, async () => {
  await startNvml(`${BUSY}hang nvmlDeviceGetFieldValues from_ms=3000 until_ms=12000\n`);
  await expect.poll(() => figure('lezea_gpu_utilization_ratio'), { timeout: 20_000 }).toBe(1);
  await expect.poll(async () => (await gpuSource()).reason, { timeout: 20_000 }).toContain('nvml_stuck');
  const ticks = async () => Number(/^lezea_agent_ticks_total (\d+)$/m.exec(await scrape())?.[1]);
  const before = await ticks();
  const exposition = await scrape();
  expect(exposition).not.toContain('lezea_gpu_');
  expect(exposition).toContain('lezea_agent_nvml_stuck 1');
  await expect.poll(ticks, { timeout: 20_000 }).toBeGreaterThan(before);
  await expect.poll(() => figure('lezea_gpu_utilization_ratio'), { timeout: 30_000 }).toBe(1);
  expect((await gpuSource()).state).toBe('ok');
});

it('says of a GPU that is lost that it is, keeps its name and shows no figures, of the others all', {
  timeout: 60_000,
}, async () => {
  const other = 'GPU-00000001-1111-2222-3333-444444444444';
  const lost = `gpu uuid=${other}\nfail * 15 gpu=1 from_ms=3000 until_ms=3600000\n`;
  await startNvml(BUSY + lost);
  await expect.poll(() => figure('lezea_gpu_up'), { timeout: 20_000 }).toBe(1);
  await expect.poll(scrape, { timeout: 20_000 }).toContain(`lezea_gpu_up{gpu="${other}"} 0`);
  const exposition = await scrape();
  expect(exposition).toContain(`lezea_gpu_up{gpu="${UUID}"} 1`);
  expect(exposition).toContain(`lezea_gpu_info{gpu="${other}",source="nvml"`);
  expect(exposition).toContain(`lezea_gpu_energy_joules_total{gpu="${UUID}"}`);
  expect(exposition).not.toContain(`lezea_gpu_energy_joules_total{gpu="${other}"}`);
  expect(exposition).not.toContain(`lezea_gpu_read_time_seconds{gpu="${other}"}`);
  expect((await gpuSource()).reason).toMatch(/^2 GPUs \(1 lost\) by NVML/);
});

it('says that there is no driver where nothing is there', async () => {
  agent = await MortalAgent.start(['--set', 'gpu.nvml_library=/nowhere', '--set', 'gpu.nvidia_smi=false']);
  expect(await scrape()).not.toContain('lezea_gpu_');
  expect((await gpuSource()).state).toBe('disabled');
});

async function scrape(): Promise<string> {
  const { http } = JSON.parse(readFileSync(join(agent.folder, 'state', 'agent.json'), 'utf8'));
  return (await fetch(`http://${http}/metrics`)).text();
}

it('shows what it says, asked once, and describes them in the inventory', async () => {
  await start(smiXml([{}, {}]));
  await expect.poll(scrape, { timeout: 20_000 }).toContain('lezea_gpu_info');
  const exposition = await scrape();
  expect(exposition).toContain(`lezea_gpu_memory_used_bytes{gpu="${uuidOf(1)}"} 1049624576`);
  expect(exposition).toContain('source="nvidia_smi"');
  const { described } = (await agent.client.result('node.inventory', {})) as {
    described: { gpus: object };
  };
  expect(described.gpus).toMatchObject({
    source: 'nvidia_smi',
    driver: '570.124.06',
    devices: [{ uuid: uuidOf(0), serial: '165002300', memory_total_bytes: 81559 * 1024 * 1024 }, {}],
  });
  const { sources } = (await agent.client.result('node.status', {})) as { sources: object[] };
  expect(sources).toContainEqual(
    expect.objectContaining({
      name: 'gpu',
      state: 'fallback',
      reason: expect.stringContaining('2 GPUs'),
    }),
  );
  expect(readFileSync(join(folder.path, 'asked'), 'utf8')).toBe('-q -x\n');
});

it('samples and answers while it hangs, says nothing of GPUs, and takes it along when it stops', {
  timeout: 60_000,
}, async () => {
  const pidFile = join(folder.path, 'pid');
  await start('', `echo $$ > '${pidFile}.new'; mv '${pidFile}.new' '${pidFile}'; sleep 1000`);
  const isAsked = async () => (await scrape()) !== '' && existsSync(pidFile);
  await expect.poll(isAsked, { timeout: 20_000 }).toBe(true);
  const ticks = async () => Number(/^lezea_agent_ticks_total (\d+)$/m.exec(await scrape())?.[1]);
  const before = await ticks();
  await expect.poll(ticks, { timeout: 20_000 }).toBeGreaterThan(before);
  expect(await scrape()).not.toContain('lezea_gpu_');
  const { status } = await agent.client.result('agent.health', {});
  expect(status).toBe('ok');
  const { problems } = (await agent.client.result('node.inventory', {})) as { problems: string[] };
  expect(problems).toContainEqual(expect.stringMatching(/no answer yet; it is waited for 2 s$/));
  await agent.kill('SIGTERM');
  const pid = readFileSync(pidFile, 'utf8').trim();
  await expect.poll(() => existsSync(`/proc/${pid}/exe`)).toBe(false);
});
