// What is known of this node's GPUs: what NVML says, and where there is no NVML what nvidia-smi does. Owns both.

import { setTimeout as delay } from 'node:timers/promises';
import type { Addon, GpuPoller, NvmlCall, NvmlSnapshot, SourceStatus } from '../native/addon.js';
import type { GpuReport } from './device.js';
import { NvidiaSmi } from './nvidia-smi-poller.js';
import { reportOfNvml } from './nvml.js';

/** NVML is read once a second; a snapshot is made of hundreds of figures. */
const TAKE_EVERY_MS = 100;

export interface GpuSettings {
  nvml: boolean;
  nvml_library: string;
  nvml_disabled_symbols: readonly string[];
  nvidia_smi: boolean;
  nvidia_smi_path: string | null;
}

export interface GpusOptions {
  addon: Pick<Addon, 'GpuPoller' | 'monotonicNs'>;
  settings: GpuSettings;
  /** Wall clock, milliseconds since 1970. */
  nowMs: () => number;
}

export class Gpus {
  readonly #o: GpusOptions;
  readonly #poller: GpuPoller | undefined;
  readonly #nvidiaSmi: NvidiaSmi;
  #taken: { nvml: NvmlSnapshot | undefined; at: number } | undefined;

  constructor(options: GpusOptions) {
    const { addon, settings, nowMs } = options;
    this.#o = options;
    if (settings.nvml) {
      const disabledSymbols = settings.nvml_disabled_symbols;
      this.#poller = new addon.GpuPoller({ library: settings.nvml_library, disabledSymbols });
    }
    const { nvidia_smi: enabled, nvidia_smi_path: program } = settings;
    this.#nvidiaSmi = new NvidiaSmi({ enabled, program, nowMs });
  }

  /** Undefined: nobody says anything of GPUs. */
  get report(): GpuReport | undefined {
    const nvml = this.#nvml();
    if (nvml?.state === 'running') {
      return reportOfNvml(nvml, { nowMs: this.#o.nowMs(), monotonicNs: this.#o.addon.monotonicNs() });
    }
    return isAbsent(nvml) ? this.#nvidiaSmi.report : undefined;
  }

  /** What the calls of NVML took; empty where there are none. */
  get calls(): readonly NvmlCall[] {
    return this.#nvml()?.calls ?? [];
  }

  /** Whether a call of NVML does not return; undefined without NVML. */
  get isStuck(): boolean | undefined {
    const nvml = this.#nvml();
    return isAbsent(nvml) ? undefined : nvml?.state === 'stuck';
  }

  /** nvidia-smi has not answered yet. */
  get isAsking(): boolean {
    return this.#nvidiaSmi.isAsking;
  }

  /** For doctor and the agent's own metrics. */
  get source(): SourceStatus {
    const name = 'gpu';
    const nvml = this.#nvml();
    if (nvml?.state === 'running') {
      const gpus = nvml.devices.length === 1 ? '1 GPU' : `${nvml.devices.length} GPUs`;
      const [driver, version] = [nvml.driverVersion ?? 'unknown', nvml.nvmlVersion ?? 'unknown'];
      return { name, state: 'ok', reason: `${gpus} by NVML ${version}, driver ${driver}`, how: '' };
    }
    if (nvml?.state === 'stuck') {
      const how = 'the driver does not answer; it is read again once it does';
      return { name, state: 'unavailable', reason: `nvml_stuck: ${nvml.reason}`, how };
    }
    if (nvml?.state === 'starting')
      return { name, state: 'fallback', reason: 'NVML is being opened', how: '' };
    const said = { ...this.#nvidiaSmi.source, name };
    return nvml?.state === 'no_driver' && said.state === 'disabled'
      ? { name, state: 'disabled', reason: `no NVIDIA driver: ${nvml.reason}`, how: '' }
      : said;
  }

  /** Has nvidia-smi asked where that is due. */
  refresh(): void {
    if (isAbsent(this.#nvml())) void this.#nvidiaSmi.refresh();
  }

  /** Ends when somebody has said something, or after so many milliseconds. Never rejects. */
  async settled(mostMs: number): Promise<void> {
    const until = performance.now() + mostMs;
    while (this.#nvml()?.state === 'starting' && performance.now() < until) await delay(TAKE_EVERY_MS);
    if (!isAbsent(this.#nvml())) return;
    const stop = new AbortController();
    const late = delay(Math.max(0, until - performance.now()), undefined, { signal: stop.signal });
    await Promise.race([this.#nvidiaSmi.refresh(), late.catch(() => undefined)]);
    stop.abort();
  }

  /** One answer for all that a scrape asks. */
  #nvml(): NvmlSnapshot | undefined {
    const now = performance.now();
    if (!this.#taken || now - this.#taken.at > TAKE_EVERY_MS) {
      this.#taken = { nvml: this.#poller?.snapshot(), at: now };
    }
    return this.#taken.nvml;
  }

  close(): void {
    this.#poller?.stop();
    this.#nvidiaSmi.close();
  }
}

function isAbsent(nvml: NvmlSnapshot | undefined): boolean {
  return nvml === undefined || nvml.state === 'no_library' || nvml.state === 'no_driver';
}
