// The GPUs in the environment document's words. Reads what is said of them; owns nothing.

import type { Described } from '../inventory/document.js';
import { known } from '../inventory/hardware.js';
import type { Gpus } from './gpus.js';

/** Longest that a document waits for nvidia-smi, which is given more time than that, milliseconds. */
const WAIT_MS = 2_000;

/** Undefined where there are none to be described. Throws where who knows them does not answer. */
export async function describeGpus(gpus: Gpus): Promise<Described['gpus']> {
  await gpus.settled(WAIT_MS);
  const { report, source } = gpus;
  if (!report && source.state === 'unavailable') throw new Error(source.reason);
  if (!report && gpus.isAsking) throw new Error(`${source.reason}; it is waited for ${WAIT_MS / 1000} s`);
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
      ...known('mig_parent', device.parentUuid),
    })),
  };
}
