// What nvidia-smi says of this node's GPUs. Checks every field; owns nothing.

import { access, constants } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { FIXED_PATH, runFenced } from '../inventory/fenced-child.js';
import { known } from '../inventory/hardware.js';
import type { GpuDevice, GpuReport } from './device.js';

const SCRIPT = fileURLToPath(new URL('./nvidia-smi-child.js', import.meta.url));
/** It takes seconds where a node has many GPUs. */
export const TIMEOUT_MS = 30_000;
const MOST_BYTES = 4_000_000;
const MOST_GPUS = 256;

const MIB = 1024 * 1024;

const text = z
  .string()
  .max(256)
  .transform((said) => said.trim())
  .refine(
    (said) =>
      said !== '' && !/^\[?(N\/A|Not Supported|Not Found|Unknown Error|Insufficient Permissions)/i.test(said),
  )
  .optional()
  .catch(undefined);

/** A number with this unit behind it. */
function amount(unit: RegExp, native: (value: number) => number) {
  const form = new RegExp(`^(\\d{1,9}(?:\\.\\d{1,9})?) ?${unit.source}$`);
  return z
    .string()
    .max(64)
    .transform((said) => form.exec(said.trim())?.[1])
    .transform((digits) => (digits === undefined ? undefined : native(Number(digits))))
    .optional()
    .catch(undefined);
}

const bytes = amount(/MiB/, (mib) => Math.round(mib * MIB));
const ratio = amount(/%/, (percent) => percent / 100);
const watts = amount(/W/, (value) => value);
const celsius = amount(/C/, (value) => value);
const hertz = amount(/MHz/, (mhz) => mhz * 1e6);

/** A part of the answer; where it is none its fields are unknown. */
function part<Shape extends z.ZodRawShape>(shape: Shape) {
  const object = z.object(shape);
  return object.catch(object.parse({}));
}

// It has changed its names with the drivers: power_readings before 535, one figure before there was an average, which some GPUs
// do not have.
const power = part({
  power_draw: watts,
  average_power_draw: watts,
  instant_power_draw: watts,
  power_limit: watts,
  current_power_limit: watts,
  gpu_ceiling_power_limit: part({ current_power_limit: watts }),
});

const gpu = z.object({
  uuid: z.string().regex(/^GPU-[0-9a-fA-F-]{36}$/),
  product_name: text,
  serial: text,
  vbios_version: text,
  pci: part({ pci_bus_id: text }),
  fb_memory_usage: part({ total: bytes, reserved: bytes, used: bytes, free: bytes }),
  utilization: part({ gpu_util: ratio, memory_util: ratio }),
  gpu_power_readings: power,
  power_readings: power,
  temperature: part({ gpu_temp: celsius, memory_temp: celsius }),
  fan_speed: ratio,
  clocks: part({ graphics_clock: hertz, sm_clock: hertz, mem_clock: hertz }),
  persistence_mode: text,
  compute_mode: text,
  mig_mode: part({ current_mig: text }),
});

const answered = z.union([
  z.object({ failed: z.string() }),
  z.object({
    log: z.object({
      driver_version: text,
      cuda_version: text,
      // None is nothing, one is an object, several are an array.
      gpu: z
        .unknown()
        .optional()
        .transform((said) => (said === undefined ? [] : Array.isArray(said) ? said : [said]))
        .pipe(z.array(z.unknown()).max(MOST_GPUS)),
    }),
  }),
]);

/** The first nvidia-smi of the fixed PATH; undefined: there is none. */
export async function findNvidiaSmi(path = FIXED_PATH): Promise<string | undefined> {
  for (const folder of path.split(':')) {
    const file = `${folder}/nvidia-smi`;
    const found = await access(file, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (found) return file;
  }
  return undefined;
}

/** Throws where it does not answer in time, or says that it cannot. `program` is an absolute path. */
export async function askNvidiaSmi(
  program: string,
  nowMs: number,
  { timeoutMs = TIMEOUT_MS, signal }: { timeoutMs?: number; signal?: AbortSignal } = {},
): Promise<GpuReport> {
  const fence = { timeoutMs, mostBytes: MOST_BYTES, ...(signal && { signal }) };
  return reportOf(JSON.parse(await runFenced([process.execPath, SCRIPT, program], fence)), nowMs);
}

/** What the child printed. A GPU without an identity is left out, nothing could be said of it; so is one that is listed again. */
export function reportOf(answer: unknown, nowMs: number): GpuReport {
  const said = answered.parse(answer);
  if ('failed' in said) throw new Error(said.failed);
  const { driver_version, cuda_version, gpu: listed } = said.log;
  const devices = new Map<string, GpuDevice>();
  for (const one of listed) {
    const { success, data } = gpu.safeParse(one);
    if (success && !devices.has(data.uuid)) devices.set(data.uuid, { ...deviceOf(data), readAtMs: nowMs });
  }
  return {
    source: 'nvidia_smi',
    ...known('driverVersion', driver_version),
    ...known('cudaVersion', cuda_version),
    devices: [...devices.values()],
  };
}

function deviceOf(said: z.output<typeof gpu>): GpuDevice {
  const { pci, fb_memory_usage: memory, utilization, temperature, clocks, mig_mode } = said;
  const { gpu_power_readings: now, power_readings: before } = said;
  const ceiling = now.gpu_ceiling_power_limit.current_power_limit;
  return {
    uuid: said.uuid,
    ...known('model', said.product_name),
    ...known('serial', said.serial),
    ...known('vbios', said.vbios_version),
    ...known('pciBusId', pci.pci_bus_id),
    ...known('memoryTotalBytes', memory.total),
    ...known('memoryReservedBytes', memory.reserved),
    ...known('memoryUsedBytes', memory.used),
    ...known('memoryFreeBytes', memory.free),
    ...known('utilizationRatio', utilization.gpu_util),
    ...known('memoryBusyRatio', utilization.memory_util),
    ...known(
      'powerWatts',
      now.average_power_draw ?? now.power_draw ?? now.instant_power_draw ?? before.power_draw,
    ),
    ...known('powerLimitWatts', ceiling ?? now.current_power_limit ?? before.power_limit),
    ...known('temperatureCelsius', temperature.gpu_temp),
    ...known('memoryTemperatureCelsius', temperature.memory_temp),
    ...known('fanSpeedRatio', said.fan_speed),
    ...known('graphicsClockHertz', clocks.graphics_clock),
    ...known('smClockHertz', clocks.sm_clock),
    ...known('memoryClockHertz', clocks.mem_clock),
    ...known('persistenceMode', said.persistence_mode),
    ...known('computeMode', said.compute_mode),
    ...known('migMode', mig_mode.current_mig),
  };
}
