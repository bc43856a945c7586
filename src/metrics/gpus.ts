// The families of the node's GPUs, lezea_gpu_*. One series a GPU says who it is; the others have its UUID alone. Reads a GpuReport.

import type { GpuDevice, GpuReport } from '../gpu/device.js';
import type { FamilyHeader } from './encoder.js';
import type { Figure } from './registry.js';

interface GpuFamily extends FamilyHeader {
  figures(device: GpuDevice): Record<string, number | undefined> | number | undefined;
}

const GPU = ['gpu'];

function family(
  type: 'counter' | 'gauge',
  name: string,
  help: string,
  figures: GpuFamily['figures'],
  label?: string,
): GpuFamily {
  return { name: `lezea_gpu_${name}`, type, help, labels: label ? [...GPU, label] : GPU, figures };
}

const gauge = (name: string, help: string, figures: GpuFamily['figures'], label?: string) =>
  family('gauge', name, help, figures, label);
/** Since the driver was loaded: they begin anew with it. */
const counter = (name: string, help: string, figures: GpuFamily['figures'], label?: string) =>
  family('counter', `${name}_total`, help, figures, label);

/** One with a second label gives a figure by its value. */
const FAMILIES: readonly GpuFamily[] = [
  gauge(
    'up',
    'Whether the driver reaches it, as NVML says: 1, or 0 once it is lost (off the bus, or in need of a reset) and has no figures.',
    (gpu) => (gpu.isLost === undefined ? undefined : Number(!gpu.isLost)),
  ),
  gauge('utilization_ratio', 'Share of time in which any kernel ran, 0 to 1.', (gpu) => gpu.utilizationRatio),
  gauge(
    'memory_busy_ratio',
    'Share of time in which its memory was read or written, 0 to 1; not how full it is.',
    (gpu) => gpu.memoryBusyRatio,
  ),
  gauge(
    'sm_active_ratio',
    'Of its multiprocessors, the mean of those that had work, 0 to 1, as its counters say (Hopper and later).',
    (gpu) => gpu.smActiveRatio,
  ),
  gauge(
    'sm_occupancy_ratio',
    'Of the warps that its multiprocessors can hold, the mean of those that were there, 0 to 1 (Hopper and later).',
    (gpu) => gpu.smOccupancyRatio,
  ),
  gauge(
    'memory_bandwidth_ratio',
    'Of the greatest bandwidth of its memory, what was used, 0 to 1 (Hopper and later).',
    (gpu) => gpu.memoryBandwidthRatio,
  ),
  gauge('memory_total_bytes', 'Memory of the GPU.', (gpu) => gpu.memoryTotalBytes),
  gauge('memory_reserved_bytes', 'Memory that the driver keeps.', (gpu) => gpu.memoryReservedBytes),
  gauge(
    'memory_used_bytes',
    'Memory that is used, without what the driver keeps.',
    (gpu) => gpu.memoryUsedBytes,
  ),
  gauge('memory_free_bytes', 'Memory that is free.', (gpu) => gpu.memoryFreeBytes),
  gauge(
    'power_watts',
    'Power that it draws: the driver’s average, of GPUs that have none what it is at the moment.',
    (gpu) => gpu.powerWatts,
  ),
  gauge(
    'instant_power_watts',
    'Power that it drew at the moment of reading.',
    (gpu) => gpu.instantPowerWatts,
  ),
  gauge('power_limit_watts', 'Power that it may draw.', (gpu) => gpu.powerLimitWatts),
  gauge('temperature_celsius', 'Temperature of the chip.', (gpu) => gpu.temperatureCelsius),
  gauge('memory_temperature_celsius', 'Temperature of its memory.', (gpu) => gpu.memoryTemperatureCelsius),
  gauge('fan_speed_ratio', 'Speed of its fan, 1 as the greatest.', (gpu) => gpu.fanSpeedRatio),
  gauge(
    'clock_hertz',
    'Clocks as they are.',
    (gpu) => ({ graphics: gpu.graphicsClockHertz, sm: gpu.smClockHertz, memory: gpu.memoryClockHertz }),
    'clock',
  ),
  gauge(
    'read_time_seconds',
    'When its figures were read, seconds since 1970.',
    (gpu) => gpu.readAtMs && gpu.readAtMs / 1000,
  ),
  counter('energy_joules', 'Energy that it took since the driver was loaded.', (gpu) => gpu.energyJoules),
  counter(
    'throttle_seconds',
    'Time in which its clocks were held down, by the reason.',
    (gpu) => gpu.throttleSeconds,
    'reason',
  ),
  counter('nvlink_bytes', 'Bytes over all its NVLinks.', (gpu) => gpu.nvlinkBytes, 'direction'),
  counter('pcie_bytes', 'Bytes over PCIe.', (gpu) => gpu.pcieBytes, 'direction'),
  counter('ecc_errors', 'Errors of its memory since the driver was loaded.', (gpu) => gpu.eccErrors, 'kind'),
  gauge('remapped_rows', 'Rows of its memory that were replaced.', (gpu) => gpu.remappedRows, 'kind'),
  gauge(
    'row_remapping',
    'Whether a replacement of rows waits for a reset, or failed: 1 or 0.',
    (gpu) => gpu.rowRemapping,
    'state',
  ),
  counter('xid_errors', 'XID errors since the agent began, by code.', (gpu) => gpu.xids, 'code'),
];

const INFO: FamilyHeader = {
  name: 'lezea_gpu_info',
  type: 'info',
  labels: ['gpu', 'source', 'model', 'pci_bus_id', 'mig_parent', 'driver', 'cuda'],
  help: 'Which GPU it is, and who says what is said of it; the value is 1.',
};

export const GPU_FAMILIES: readonly FamilyHeader[] = [INFO, ...FAMILIES];

/** Which GPU a figure is of; with `lezea`, also in the labels that LeZeA's rules and dashboards read. */
function labelsOf(gpu: GpuDevice, lezea: boolean): Record<string, string> {
  return { gpu: gpu.uuid, ...(lezea && lezeaLabels(gpu)) };
}

export function lezeaLabels({ uuid, model = '' }: GpuDevice): Record<string, string> {
  return { gpu_id: uuid, gpu_name: model };
}

/** What is known of them; what is not has no series. `lezea`: three of the families are LeZeA's, too. */
export function gpuFamilies(
  report: GpuReport,
  lezea: boolean,
): { header: FamilyHeader; figures: Figure[] }[] {
  const info = report.devices.map((gpu) => ({
    labels: texts({
      gpu: gpu.uuid,
      source: report.source,
      model: gpu.model,
      pci_bus_id: gpu.pciBusId,
      mig_parent: gpu.parentUuid,
      driver: report.driverVersion,
      cuda: report.cudaVersion,
    }),
    value: 1,
  }));
  const families = FAMILIES.map((family) => ({
    header: family,
    figures: report.devices.flatMap((gpu) => figuresOf(family, gpu, lezea)),
  }));
  return [{ header: INFO, figures: info }, ...families].filter(({ figures }) => figures.length > 0);
}

function figuresOf({ labels, figures }: GpuFamily, gpu: GpuDevice, lezea: boolean): Figure[] {
  const said = figures(gpu);
  if (said === undefined) return [];
  if (typeof said === 'number') return [{ labels: labelsOf(gpu, lezea), value: said }];
  const label = labels?.[1] as string;
  return Object.entries(said).flatMap(([word, value]) =>
    value === undefined ? [] : [{ labels: { ...labelsOf(gpu, lezea), [label]: word }, value }],
  );
}

function texts(labels: Record<string, string | undefined>): Record<string, string> {
  return Object.fromEntries(Object.entries(labels).map(([name, text]) => [name, text ?? '']));
}
