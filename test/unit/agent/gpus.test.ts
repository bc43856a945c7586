// A whole agent on a node that has an nvidia-smi.

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { temporaryFolder } from '../support/bench.js';
import { fakeNvidiaSmi, smiXml, uuidOf } from '../support/fake-nvidia-smi.js';
import { MortalAgent } from '../support/mortal-agent.js';

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
  agent = await MortalAgent.start(['--set', `gpu.nvidia_smi_path=${program}`]);
};

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
      name: 'nvidia-smi',
      state: 'fallback',
      reason: expect.stringContaining('2 GPUs'),
    }),
  );
  expect(readFileSync(join(folder.path, 'asked'), 'utf8')).toBe('-q -x\n');
});

it('samples and answers while it hangs, says nothing of GPUs, and takes it along when it stops', async () => {
  const pidFile = join(folder.path, 'pid');
  await start('', `echo $$ > '${pidFile}.new'; mv '${pidFile}.new' '${pidFile}'; sleep 1000`);
  await expect.poll(() => existsSync(pidFile), { timeout: 20_000 }).toBe(true);
  const ticks = async () => Number(/^lezea_agent_ticks_total (\d+)$/m.exec(await scrape())?.[1]);
  const before = await ticks();
  await expect.poll(ticks, { timeout: 20_000 }).toBeGreaterThan(before);
  expect(await scrape()).not.toContain('lezea_gpu_');
  const { status } = await agent.client.result('agent.health', {});
  expect(status).toBe('ok');
  const { problems } = (await agent.client.result('node.inventory', {})) as { problems: string[] };
  expect(problems).toContainEqual(
    expect.stringMatching(/^nvidia-smi: .*no answer yet; it is waited for 2 s$/),
  );
  await agent.kill('SIGTERM');
  const pid = readFileSync(pidFile, 'utf8').trim();
  await expect.poll(() => existsSync(`/proc/${pid}/exe`)).toBe(false);
});
