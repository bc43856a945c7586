// The GPUs as a command sees them that asks by itself: with the defaults of the configuration, and the rights of whoever asks.

import { configSchema } from '../config/schema.js';
import type { GpuReport } from '../gpu/device.js';
import { Gpus } from '../gpu/gpus.js';
import { loadAddon } from '../native/addon.js';

/** nvidia-smi is given as long, milliseconds. */
const WAIT_MS = 30_000;

/** Once they have been asked. To be closed. */
export async function probedGpus(): Promise<Gpus> {
  const settings = configSchema.parse({}).gpu;
  const gpus = new Gpus({ addon: loadAddon(), settings, nowMs: Date.now });
  await gpus.settled(WAIT_MS);
  return gpus;
}

/** Undefined where nobody says anything of GPUs. Throws where who knows them does not answer. */
export async function askGpus(): Promise<GpuReport | undefined> {
  const gpus = await probedGpus();
  try {
    const { report, source } = gpus;
    if (!report && source.state === 'unavailable') throw new Error(source.reason);
    return report;
  } finally {
    gpus.close();
  }
}
