// nvidia-smi as it answers, hangs, complains and says more than anybody asked: through node-nvidia-smi in its real child.

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { findNvidiaSmi, reportOf } from '../../../src/gpu/nvidia-smi.js';
import { temporaryFolder } from '../support/bench.js';
import { fakeNvidiaSmi, smiXml, uuidOf } from '../support/fake-nvidia-smi.js';

// The child is a built file.
const { askNvidiaSmi } = (await import(
  '../../../dist/gpu/nvidia-smi.js'
)) as typeof import('../../../src/gpu/nvidia-smi.js');

const MIB = 1024 * 1024;
let folder: ReturnType<typeof temporaryFolder>;

beforeEach(() => {
  folder = temporaryFolder();
});

afterEach(() => folder.remove());

const ask = (xml: string, script = '') => askNvidiaSmi(fakeNvidiaSmi(folder.path, xml, script), 1000);

const HANGS = 'sleep 1000 &\necho "$$ $!" > "$0.new"; mv "$0.new" "$(dirname "$0")/pids"\nwait';
const pids = () => readFileSync(join(folder.path, 'pids'), 'utf8').trim().split(' ');
const bothEnded = () =>
  vi.waitFor(() => expect(pids().filter((pid) => existsSync(`/proc/${pid}/exe`))).toEqual([]), {
    timeout: 10_000,
  });

const FIRST = {
  uuid: uuidOf(0),
  readAtMs: 1000,
  model: 'NVIDIA H100 80GB HBM3',
  serial: '165002300',
  vbios: '96.00.61.00.01',
  pciBusId: '00000000:00:00.0',
  memoryTotalBytes: 81559 * MIB,
  memoryReservedBytes: 551 * MIB,
  memoryUsedBytes: 1000 * MIB,
  memoryFreeBytes: 80007 * MIB,
  utilizationRatio: 0.37,
  memoryBusyRatio: 0.12,
  powerWatts: 212.5,
  powerLimitWatts: 700,
  temperatureCelsius: 41,
  memoryTemperatureCelsius: 48,
  graphicsClockHertz: 1980e6,
  smClockHertz: 1980e6,
  memoryClockHertz: 2619e6,
  persistenceMode: 'Enabled',
  computeMode: 'Default',
  migMode: 'Disabled',
};

describe('what nvidia-smi says', () => {
  it('of one GPU', async () => {
    const report = await ask(smiXml([{}]));
    expect(report).toEqual({
      source: 'nvidia_smi',
      driverVersion: '570.124.06',
      cudaVersion: '12.8',
      devices: [FIRST],
    });
    expect(readFileSync(join(folder.path, 'asked'), 'utf8')).toBe('-q -x\n');
  });

  it('of eight', async () => {
    const { devices } = await ask(smiXml(Array.from({ length: 8 }, () => ({}))));
    expect(devices.map(({ uuid }) => uuid)).toEqual(Array.from({ length: 8 }, (_, index) => uuidOf(index)));
    expect(devices[7]?.memoryUsedBytes).toBe(1007 * MIB);
  });

  it('of none', async () => {
    expect((await ask(smiXml([]))).devices).toEqual([]);
  });

  it('in more than 1 MiB, with processes whose names are shell and markup, and words on standard error', async () => {
    const planted = join(folder.path, 'planted');
    const name = `$(touch ${planted}); \`touch ${planted}\` &lt;uuid&gt;GPU-x&lt;/uuid&gt; &amp;&amp; touch ${planted}`;
    const row = `<process_info><pid>1</pid><process_name>${name}</process_name><used_memory>1 MiB</used_memory></process_info>`;
    const xml = smiXml([{}, {}], `<processes>${row.repeat(7000)}</processes>`);
    expect(xml.length).toBeGreaterThan(1.5 * MIB);
    const report = await ask(xml, 'echo "warning: infoROM is corrupted at gpu 0000:00:00.0" >&2');
    expect(report.devices[0]).toEqual(FIRST);
    expect(report.devices).toHaveLength(2);
    expect(existsSync(planted)).toBe(false);
  });

  it('of what it does not know is absent, never 0', async () => {
    const unknown = `
      <fan_speed>N/A</fan_speed><fb_memory_usage><total>[N/A]</total><used>Insufficient Permissions</used></fb_memory_usage>
      <utilization><gpu_util>N/A</gpu_util></utilization><gpu_power_readings><average_power_draw>Unknown Error</average_power_draw></gpu_power_readings>
      <temperature><gpu_temp>cold</gpu_temp></temperature><clocks>none</clocks>`;
    const { devices } = await ask(smiXml([{ elements: unknown }]));
    expect(Object.keys(devices[0] ?? {}).sort()).toEqual(
      [
        'computeMode',
        'migMode',
        'model',
        'pciBusId',
        'persistenceMode',
        'readAtMs',
        'serial',
        'uuid',
        'vbios',
      ].sort(),
    );
  });

  it.each([
    ['power_readings', 'power_draw', 'power_limit'],
    ['gpu_power_readings', 'power_draw', 'current_power_limit'],
    ['gpu_power_readings', 'average_power_draw', 'current_power_limit'],
    ['gpu_power_readings', 'instant_power_draw', 'current_power_limit'],
  ])('of power by the names of every driver: %s, %s', async (group, draw, limit) => {
    const none = '<average_power_draw>N/A</average_power_draw>';
    const elements = `<${group}>${draw === 'instant_power_draw' ? none : ''}<${draw}>75.50 W</${draw}><${limit}>300.00 W</${limit}></${group}>`;
    const { devices } = await ask(smiXml([{ elements }]));
    expect(devices[0]).toMatchObject({ powerWatts: 75.5, powerLimitWatts: 300 });
  });

  it('of a version that it does not find is absent', async () => {
    const xml = smiXml([{}]).replace('>12.8<', '>Not Found<');
    expect(await ask(xml)).not.toHaveProperty('cudaVersion');
  });

  it('counts, whatever its exit status; where it finds no device there is none', async () => {
    expect((await ask(smiXml([{}]), `cat '${folder.path}/answer.xml'; exit 14`)).devices).toEqual([FIRST]);
    expect((await ask('', 'echo "No devices were found"; exit 6')).devices).toEqual([]);
  });

  it('twice of one GPU counts once', async () => {
    const { devices } = await ask(smiXml([{ uuid: uuidOf(0) }, { uuid: uuidOf(0) }]));
    expect(devices).toEqual([FIRST]);
  });

  it('of a GPU without an identity is left out, and of the others not', async () => {
    const { devices } = await ask(smiXml([{ uuid: 'N/A' }, {}]));
    expect(devices.map(({ uuid }) => uuid)).toEqual([uuidOf(1)]);
  });
});

describe('an nvidia-smi that', () => {
  it('cannot reach its driver is quoted', async () => {
    const why = 'NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver.';
    await expect(ask('', `echo '${why}'; exit 9`)).rejects.toThrow(`${why} (exit status 9)`);
  });

  it.each([
    ['prints what is no XML', 'not at all', 'Non-whitespace before first tag'],
    ['prints another document', '<html></html>', 'expected'],
    ['prints nothing', '', 'expected'],
  ])('%s is an error', async (_, xml, why) => {
    await expect(ask(xml)).rejects.toThrow(why);
  });

  it('hangs is killed on time, with what it started', async () => {
    const program = fakeNvidiaSmi(folder.path, '', HANGS);
    const asking = askNvidiaSmi(program, 0, { timeoutMs: 5000 });
    await expect(asking).rejects.toThrow('ended by SIGKILL, perhaps after 5000 ms');
    await bothEnded();
  });

  it('hangs is killed when nobody wants it any more', async () => {
    const stop = new AbortController();
    const asking = askNvidiaSmi(fakeNvidiaSmi(folder.path, '', HANGS), 0, { signal: stop.signal });
    const ended = expect(asking).rejects.toThrow('ended by SIGKILL');
    await vi.waitFor(() => expect(pids()).toHaveLength(2), { timeout: 10_000 });
    stop.abort();
    await ended;
    await bothEnded();
  });

  it('is not there is found nowhere', async () => {
    expect(await findNvidiaSmi(folder.path)).toBeUndefined();
    const program = fakeNvidiaSmi(folder.path, '');
    expect(await findNvidiaSmi(`/nowhere:${folder.path}`)).toBe(program);
    await expect(askNvidiaSmi(join(folder.path, 'gone'), 0)).rejects.toThrow('ENOENT');
  });
});

it('is nothing that was expected: an error, and no figures', () => {
  for (const answer of [
    null,
    [],
    {},
    { log: 3 },
    { log: { gpu: Array.from({ length: 300 }, () => ({})) } },
  ]) {
    expect(() => reportOf(answer, 0)).toThrow();
  }
});
