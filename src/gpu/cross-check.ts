// Whether NVML and nvidia-smi say the same of this node's GPUs. Pure.

import type { Described } from '../inventory/document.js';
import type { SourceStatus } from '../native/addon.js';
import type { GpuReport } from './device.js';

const NAME = 'gpu_cross_check';
const MIB = 1024 * 1024;
const HOW =
  'after an update of the driver what was loaded before stays in use until its processes, or the machine, are restarted';

/** What one of the two says of the GPUs as wholes; what it does not say is absent. */
export interface SaidOfGpus {
  driver?: string | undefined;
  /** Bytes of memory by UUID. */
  memory: ReadonlyMap<string, number | undefined>;
}

/** nvidia-smi lists no MIG instances beside the GPUs. */
export function saidInReport({ driverVersion, devices }: GpuReport): SaidOfGpus {
  const memory = new Map<string, number | undefined>();
  for (const { uuid, parentUuid, memoryTotalBytes } of devices)
    if (parentUuid === undefined) memory.set(uuid, memoryTotalBytes);
  return { driver: driverVersion, memory };
}

export function saidInDescription({ driver, devices }: NonNullable<Described['gpus']>): SaidOfGpus {
  const memory = new Map<string, number | undefined>();
  for (const { uuid, mig_parent, memory_total_bytes } of devices)
    if (uuid !== undefined && mig_parent === undefined) memory.set(uuid, memory_total_bytes);
  return { driver, memory };
}

/** For doctor. */
export function crossCheck(nvml: SaidOfGpus, smi: SaidOfGpus): SourceStatus {
  const differing = differences(nvml, smi);
  if (differing.length > 0) {
    return { name: NAME, state: 'unavailable', reason: differing.join('; '), how: HOW };
  }
  const reason = `NVML and nvidia-smi agree: driver ${nvml.driver ?? 'unknown'}, ${counted(nvml)}, their UUIDs and memory`;
  return { name: NAME, state: 'ok', reason, how: '' };
}

/** For doctor, where one of the two does not answer. */
export function notCrossChecked(reason: string, how: string): SourceStatus {
  return { name: NAME, state: 'fallback', reason: `NVML was not compared with nvidia-smi: ${reason}`, how };
}

function differences(nvml: SaidOfGpus, smi: SaidOfGpus): string[] {
  const said: string[] = [];
  if (nvml.driver !== undefined && smi.driver !== undefined && nvml.driver !== smi.driver)
    said.push(`driver ${nvml.driver} by NVML, ${smi.driver} by nvidia-smi`);
  if (nvml.memory.size !== smi.memory.size)
    said.push(`${counted(nvml)} by NVML, ${counted(smi)} by nvidia-smi`);
  for (const uuid of nvml.memory.keys()) if (!smi.memory.has(uuid)) said.push(`only NVML has ${uuid}`);
  for (const uuid of smi.memory.keys()) if (!nvml.memory.has(uuid)) said.push(`only nvidia-smi has ${uuid}`);
  for (const [uuid, ours] of nvml.memory) {
    const theirs = smi.memory.get(uuid);
    // nvidia-smi says whole MiB.
    if (ours === undefined || theirs === undefined || Math.abs(ours - theirs) < MIB) continue;
    said.push(`${uuid} has ${mib(ours)} of memory by NVML, ${mib(theirs)} by nvidia-smi`);
  }
  return said;
}

function counted({ memory: { size } }: SaidOfGpus): string {
  return size === 1 ? '1 GPU' : `${size} GPUs`;
}

function mib(bytes: number): string {
  return `${Math.round(bytes / MIB)} MiB`;
}
