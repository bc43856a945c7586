// The GPUs in the environment document's words. Reads what nvidia-smi said; owns nothing.

import { setTimeout as delay } from 'node:timers/promises';
import type { Described } from '../inventory/document.js';
import { known } from '../inventory/hardware.js';
import type { NvidiaSmi } from './nvidia-smi-poller.js';

/** Longest that a document waits for nvidia-smi, which is given more time than that, milliseconds. */
const WAIT_MS = 2_000;

/** Undefined where there are none to be described. Throws where nvidia-smi fails, or does not answer in time. */
export async function describeGpus(nvidiaSmi: NvidiaSmi): Promise<Described['gpus']> {
  const waited = new AbortController();
  const late = delay(WAIT_MS, undefined, { signal: waited.signal }).catch(() => undefined);
  await Promise.race([nvidiaSmi.refresh(), late]);
  waited.abort();
  const { report, source } = nvidiaSmi;
  if (!report && source.state === 'unavailable') throw new Error(source.reason);
  if (!report && nvidiaSmi.isAsking)
    throw new Error(`${source.reason}; it is waited for ${WAIT_MS / 1000} s`);
  if (!report) return undefined;
  return {
    source: report.source,
    ...known('driver', report.driverVersion),
    ...known('cuda', report.cudaVersion),
    devices: report.devices.map((device) => ({
      uuid: device.uuid,
      ...known('model', device.model),
      ...known('serial', device.serial),
      ...known('vbios', device.vbios),
      ...known('bus', device.pciBusId),
      ...known('memory_total_bytes', device.memoryTotalBytes),
      ...known('persistence_mode', device.persistenceMode),
      ...known('compute_mode', device.computeMode),
      ...known('mig_mode', device.migMode),
    })),
  };
}
