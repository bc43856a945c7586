// What is shown of every machine of test/fixtures/nvml at moments of its story: lezea_gpu_* and the inventory's GPUs, from the library
// to the text, as test/golden/nvml has them (`npx vitest run FILE --update` writes them anew). Each machine is a copy of the double
// beside its scenario, whose clock stands at the moment that a file says.

import { copyFileSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, describe, expect, it } from 'vitest';
import { describeGpus } from '../../../src/gpu/describe.js';
import type { GpuDevice, GpuReport } from '../../../src/gpu/device.js';
import { Gpus } from '../../../src/gpu/gpus.js';
import { gpuFamilies } from '../../../src/metrics/gpus.js';
import { loadAddon } from '../../../src/native/addon.js';
import { temporaryFolder } from '../support/bench.js';
import { nvmlDouble } from '../support/nvml-double.js';

const FIXTURES = join(import.meta.dirname, '../../fixtures/nvml');
const GOLDEN = join(import.meta.dirname, '../../golden/nvml');
/** Often enough to see every reading, of which there is one a second. */
const LOOK_MS = 50;
const LONGEST_MS = 45_000;

const GPU = 'GPU-00000000-1111-2222-3333-444444444444';
const MIG = 'MIG-00000000-aaaa-bbbb-cccc-000000000001';
const MIG_OF_THIRD = 'MIG-00000002-aaaa-bbbb-cccc-000000000001';

interface Moment {
  ms: number;
  /** What a report has to show beside. */
  shows?: (report: GpuReport | undefined, gpus: Gpus) => boolean;
  /** Readings that began before count, too. */
  older?: true;
  /** Which readings of a GPU count. */
  isWhole?: (gpu: GpuDevice) => boolean;
}

const read = (...moments: number[]): Moment[] => moments.map((ms) => ({ ms }));
const some = (match: (gpu: GpuDevice) => boolean) => (report: GpuReport | undefined) =>
  report?.devices.some(match) ?? false;
const isRead = some(({ readAtMs }) => readAtMs !== undefined);
/** With what these GPUs' own counters tell: a reading that came just after the one before has none of it. */
const counted = (uuids: string[], ...moments: number[]): Moment[] =>
  moments.map((ms) => ({
    ms,
    isWhole: ({ uuid, smActiveRatio }) => !uuids.includes(uuid) || smActiveRatio !== undefined,
  }));
const lost = some(({ isLost }) => isLost === true);
const xid = (code: number, count: number) => some(({ xids }) => xids?.[code] === count);
const nothing = (report: GpuReport | undefined) => report === undefined;
const stuck = (_: unknown, gpus: Gpus) => gpus.isStuck === true;

/** Ratios of counters are of the time since the moment before. */
const STORIES: Record<string, Moment[]> = {
  clock_domain_boot: read(1000, 2000),
  comes_and_goes: read(13_000, 20_000),
  counter_reset: read(4000, 6000),
  driver_reload: [{ ms: 4000 }, { ms: 6000, shows: nothing }, { ms: 9000 }],
  gpm: counted([GPU, MIG_OF_THIRD], 1000, 2000),
  gpm_lost: [...counted([GPU], 1000, 2000), { ms: 4000, shows: lost }],
  gpm_mig_change: [
    ...counted([MIG], 18_000, 19_000),
    { ms: 21_000, shows: some(({ uuid }) => uuid.endsWith('2')) },
  ],
  gpm_mig_same: [
    ...counted([MIG], 18_000, 19_000),
    { ms: 21_000, shows: some(({ memoryTotalBytes }) => memoryTotalBytes === 2 ** 35) },
  ],
  gpm_refused: counted([GPU], 1000, 2000),
  gpm_reload: [
    ...counted([GPU], 3000),
    { ms: 6000, shows: nothing },
    ...read(9000),
    ...counted([GPU], 10_000),
  ],
  gpu_lost: [{ ms: 1000 }, { ms: 3000, shows: lost }],
  h200x8: read(10_000),
  // The reading that hung is told; the next one is due when the time that it took is within the budget again.
  hang: [{ ms: 2000 }, { ms: 4000, shows: stuck }, { ms: 11_000, older: true, shows: isRead }],
  hang_init: read(7000),
  many_processes: read(0),
  mig: read(2500),
  mig_change: [{ ms: 18_000 }, { ms: 21_000, shows: (report) => report?.devices.length === 2 }],
  no_energy_counter: read(1200),
  not_supported: read(2000),
  old_utilization: read(1000, 2000),
  r535_layout: read(1000),
  real_time: read(2000),
  reset_required: [{ ms: 1000 }, { ms: 3000, shows: lost }],
  short_lists: read(1000, 2000),
  two_tenants: read(10_000),
  version_mismatch: [{ ms: 1000 }, { ms: 3000, shows: nothing }, { ms: 6000 }],
  xid_reload: [...read(0, 500), { ms: 1500, shows: xid(79, 5) }],
  xid_storm: [...read(0, 500), { ms: 3000, shows: xid(999, 1) }],
  // The wait that failed is tried again a second later.
  xid_unknown: read(1500),
};
/** Begins before its driver does. */
const WITHOUT_BEGINNING = new Set(['hang_init']);

const LIBRARY = nvmlDouble();
const LIBRARIES: Record<string, string> = { r535_layout: nvmlDouble('r535') };
const addon = loadAddon();
const folder = temporaryFolder();

afterAll(() => folder.remove());

class Machine {
  readonly #clock: string;
  readonly gpus: Gpus;

  constructor(name: string) {
    const home = join(folder.path, name);
    mkdirSync(home, { recursive: true });
    this.#clock = join(home, 'clock');
    this.#set(0);
    copyFileSync(join(FIXTURES, `${name}.scenario`), join(home, 'scenario'));
    const library = join(home, 'libnvidia-ml.so.1');
    copyFileSync(LIBRARIES[name] ?? LIBRARY, library);
    const settings = {
      nvml: true,
      nvml_library: library,
      nvml_disabled_symbols: [],
      nvidia_smi: false,
      nvidia_smi_path: null,
    };
    this.gpus = new Gpus({ addon, settings, nowMs: Date.now });
  }

  #set(ms: number): void {
    writeFileSync(this.#clock, `${ms}\n`);
  }

  /**
   * The first readings of the moment: a GPU whose calls took long is read again only when that is within the budget again, the
   * others in between.
   */
  async at({ ms, shows, older, isWhole = () => true }: Moment): Promise<GpuReport | undefined> {
    const [sinceMs, begun] = [older ? 0 : Date.now(), performance.now()];
    this.#set(ms);
    const first = new Map<string, GpuDevice>();
    for (;;) {
      const { report } = this.gpus;
      if (!shows || shows(report, this.gpus)) {
        if (shows && !report) return undefined;
        for (const gpu of report?.devices ?? [])
          if ((gpu.readAtMs ?? 0) > sinceMs && !first.has(gpu.uuid) && isWhole(gpu)) first.set(gpu.uuid, gpu);
        if (report?.devices.every(({ uuid, isLost }) => isLost || first.has(uuid)))
          return { ...report, devices: report.devices.map((gpu) => first.get(gpu.uuid) ?? gpu) };
      }
      if (performance.now() > begun + LONGEST_MS)
        throw new Error(`after ${ms} ms: ${this.gpus.source.reason}\n${textOf(report)}`);
      await delay(LOOK_MS);
    }
  }
}

/** As /metrics has it, but for when it was read. */
function textOf(report: GpuReport | undefined): string {
  if (!report) return '# nothing\n';
  const families = gpuFamilies(report, false).filter(
    ({ header }) => !header.name.endsWith('read_time_seconds'),
  );
  return families
    .flatMap(({ header, figures }) =>
      figures.map(({ labels, value }) => {
        const pairs = Object.entries(labels ?? {}).map(([label, text]) => `${label}="${text}"`);
        return `${header.name}{${pairs.join(',')}} ${value}\n`;
      }),
    )
    .join('');
}

async function story(name: string): Promise<string> {
  const machine = new Machine(name);
  try {
    // A reading in which the clock goes on is of no moment.
    if (!WITHOUT_BEGINNING.has(name)) await machine.at({ ms: 0, older: true, shows: isRead });
    const told: string[] = [];
    for (const moment of STORIES[name] ?? []) {
      const report = await machine.at(moment);
      told.push(`# after ${moment.ms} ms: ${machine.gpus.source.state}\n${textOf(report)}`);
    }
    const described = JSON.stringify(await describeGpus(machine.gpus), null, 2);
    return `${told.join('\n')}\n# inventory\n${described}\n`;
  } finally {
    machine.gpus.close();
  }
}

describe('the machines of test/fixtures/nvml', () => {
  it('all have a story', () => {
    const scenarios = readdirSync(FIXTURES).filter((file) => file.endsWith('.scenario'));
    expect(Object.keys(STORIES)).toEqual(scenarios.map((file) => file.replace('.scenario', '')).sort());
  });

  it.concurrent.for(Object.keys(STORIES))('%s', { timeout: 120_000 }, async (name, test) => {
    await test.expect(await story(name)).toMatchFileSnapshot(join(GOLDEN, `${name}.txt`));
  });
});
