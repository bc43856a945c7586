// Whether NVML and nvidia-smi say the same, as `doctor` finds it: the command with the double of NVML and an nvidia-smi, by itself and
// with an agent.

import { spawn } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { crossCheck, saidInReport } from '../../../src/gpu/cross-check.js';
import type { GpuDevice } from '../../../src/gpu/device.js';
import { BIN } from '../support/agent-process.js';
import { temporaryFolder } from '../support/bench.js';
import { fakeNvidiaSmi, smiXml, uuidOf } from '../support/fake-nvidia-smi.js';
import { MortalAgent } from '../support/mortal-agent.js';
import { nvmlDouble } from '../support/nvml-double.js';

interface Line {
  name: string;
  state: string;
  reason: string;
  how: string;
}

let folder: ReturnType<typeof temporaryFolder>;
let agent: MortalAgent | undefined;

beforeEach(() => {
  folder = temporaryFolder();
});

afterEach(async () => {
  await agent?.stop();
  agent = undefined;
  folder.remove();
});

/** Two H100 as the fake nvidia-smi has them. */
const SAME = `driver 570.124.06
gpu uuid=${uuidOf(0)} memory_mib=81559
gpu uuid=${uuidOf(1)} memory_mib=81559
`;

function machine(scenario: string): Record<string, string> {
  const file = join(folder.path, 'scenario');
  writeFileSync(file, scenario);
  return { LEZEA_NVML_SCENARIO: file, LEZEA_MONITOR_GPU__NVML_LIBRARY: nvmlDouble() };
}

const asked = () => existsSync(join(folder.path, 'asked'));

async function doctor(env: Record<string, string>): Promise<{ code: number; ok: boolean; line?: Line }> {
  const socket = agent ? ['--socket', agent.socket] : [];
  const child = spawn(process.execPath, [BIN, 'doctor', '--json', ...socket], {
    env: { PATH: process.env.PATH, HOME: folder.path, XDG_RUNTIME_DIR: folder.path, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [said, code] = await Promise.all([
    text(child.stdout),
    new Promise<number>((resolve) => child.on('close', (status) => resolve(status ?? -1))),
  ]);
  const { ok, sources } = JSON.parse(said) as { ok: boolean; sources: Line[] };
  const line = sources.find(({ name }) => name === 'gpu_cross_check');
  return { code, ok, ...(line && { line }) };
}

const smi = (xml: string, script = '') => ({
  LEZEA_MONITOR_GPU__NVIDIA_SMI_PATH: fakeNvidiaSmi(folder.path, xml, script),
});

it('says in one line that they say the same', async () => {
  const { line } = await doctor({ ...machine(SAME), ...smi(smiXml([{}, {}])) });
  expect(line).toEqual({
    name: 'gpu_cross_check',
    state: 'ok',
    reason: 'NVML and nvidia-smi agree: driver 570.124.06, 2 GPUs, their UUIDs and memory',
    how: '',
  });
});

it('says what differs, and what each says; that is not fine', async () => {
  const scenario = SAME.replace('driver 570.124.06', 'driver 570.172.08').replace('81559', '40000');
  const { line, ok, code } = await doctor({ ...machine(scenario), ...smi(smiXml([{}, {}, {}])) });
  expect(line?.state).toBe('unavailable');
  expect(line?.reason.split('; ')).toEqual([
    'driver 570.172.08 by NVML, 570.124.06 by nvidia-smi',
    '2 GPUs by NVML, 3 GPUs by nvidia-smi',
    `only nvidia-smi has ${uuidOf(2)}`,
    `${uuidOf(0)} has 40000 MiB of memory by NVML, 81559 MiB by nvidia-smi`,
  ]);
  expect([ok, code]).toEqual([false, 1]);
});

it('compares what an agent reads by NVML', { timeout: 60_000 }, async () => {
  const { LEZEA_MONITOR_GPU__NVML_LIBRARY: library, ...scenario } = machine(SAME);
  const started = await MortalAgent.start(['--set', `gpu.nvml_library=${library}`], scenario);
  agent = started;
  const status = async () => {
    const { sources } = (await started.client.result('node.status', {})) as { sources: Line[] };
    return sources.find(({ name }) => name === 'gpu')?.state;
  };
  await expect.poll(status, { timeout: 20_000 }).toBe('ok');
  expect((await doctor(smi(smiXml([{}, {}])))).line?.state).toBe('ok');
  const other = await doctor(smi(smiXml([{}, { uuid: uuidOf(7) }])));
  expect(other.line?.reason).toBe(`only NVML has ${uuidOf(1)}; only nvidia-smi has ${uuidOf(7)}`);
});

it('says that nvidia-smi does not answer, which is no fault where NVML does', async () => {
  const { line } = await doctor({ ...machine(SAME), ...smi('', 'echo no driver; exit 9') });
  expect(line?.state).toBe('fallback');
  expect(line?.reason).toMatch(
    /^NVML was not compared with nvidia-smi: .*nvidia-smi: no driver \(exit status 9\)$/,
  );
});

it('asks no nvidia-smi that is switched off, and compares nothing without NVML', async () => {
  const off = { ...machine(SAME), ...smi(smiXml([{}, {}])), LEZEA_MONITOR_GPU__NVIDIA_SMI: 'false' };
  expect((await doctor(off)).line).toBeUndefined();
  expect(asked()).toBe(false);
  const alone = { ...smi(smiXml([{}])), LEZEA_MONITOR_GPU__NVML_LIBRARY: '/nowhere/libnvidia-ml.so.1' };
  expect((await doctor(alone)).line).toBeUndefined();
  expect(readFileSync(join(folder.path, 'asked'), 'utf8')).toBe('-q -x\n');
});

it('compares GPUs, not their MIG instances, in whole MiB, and nothing that one of them does not say', () => {
  const said = (devices: GpuDevice[], driverVersion?: string) =>
    saidInReport({ source: 'nvml', devices, ...(driverVersion && { driverVersion }) });
  const uuid = uuidOf(0);
  const nvml = said([
    { uuid, memoryTotalBytes: 85_899_345_920 - 700_000 },
    { uuid: 'MIG-1', parentUuid: uuid, memoryTotalBytes: 10 },
  ]);
  const smi = said([{ uuid, memoryTotalBytes: 85_899_345_920 }], '570');
  expect(crossCheck(nvml, smi).state).toBe('ok');
  expect(crossCheck(said([{ uuid }], '570'), smi).state).toBe('ok');
  expect(crossCheck(said([{ uuid, memoryTotalBytes: 80_000_000_000 }]), smi).state).toBe('unavailable');
});
