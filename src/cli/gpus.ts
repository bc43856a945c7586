// The GPUs as a command sees them that has no agent to ask: with the defaults of the configuration, and the rights of whoever asks.

import { Gpus } from '../gpu/gpus.js';
import { loadAddon } from '../native/addon.js';

/** nvidia-smi is given as long, milliseconds. */
const WAIT_MS = 30_000;

/** Once they have been asked. To be closed. */
export async function probedGpus(): Promise<Gpus> {
  const settings = {
    nvml: true,
    nvml_library: 'libnvidia-ml.so.1',
    nvml_disabled_symbols: [],
    nvidia_smi: true,
    nvidia_smi_path: null,
  };
  const gpus = new Gpus({ addon: loadAddon(), settings, nowMs: Date.now });
  await gpus.settled(WAIT_MS);
  return gpus;
}
