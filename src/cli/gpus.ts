// The GPUs as a command sees them that asks by itself: with the configuration that an agent of whoever asks would have, and the
// rights of whoever asks.

import { ConfigError, loadConfig } from '../config/load.js';
import { configSchema } from '../config/schema.js';
import { crossCheck, notCrossChecked, type SaidOfGpus, saidInReport } from '../gpu/cross-check.js';
import type { GpuReport } from '../gpu/device.js';
import { type GpuSettings, Gpus } from '../gpu/gpus.js';
import { NvidiaSmi } from '../gpu/nvidia-smi-poller.js';
import { loadAddon, type SourceStatus } from '../native/addon.js';

/** nvidia-smi is given as long, milliseconds. */
const WAIT_MS = 30_000;

/** Of a configuration that is not right, the defaults: what is asked about is the GPUs. */
function gpuSettings(): GpuSettings {
  try {
    return loadConfig({ flags: {}, env: process.env, uid: process.getuid?.() ?? -1 }).config.gpu;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return configSchema.parse({}).gpu;
  }
}

/** Once they have been asked. To be closed. */
export async function probedGpus(): Promise<Gpus> {
  const gpus = new Gpus({ addon: loadAddon(), settings: gpuSettings(), nowMs: Date.now });
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

/** Asks nvidia-smi whether it says the same as NVML did. Undefined where there is none, or it is switched off. */
export async function crossChecked(nvml: SaidOfGpus): Promise<SourceStatus | undefined> {
  const { nvidia_smi: enabled, nvidia_smi_path: program } = gpuSettings();
  const smi = new NvidiaSmi({ enabled, program, nowMs: Date.now });
  try {
    await smi.refresh();
    const { report, source } = smi;
    if (report) return crossCheck(nvml, saidInReport(report));
    return source.state === 'unavailable' ? notCrossChecked(source.reason, source.how) : undefined;
  } finally {
    smi.close();
  }
}
