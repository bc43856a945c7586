// What is known of this node's GPUs: what NVML says, and where there is no NVML what nvidia-smi does. Owns both.

import { setTimeout as delay } from 'node:timers/promises';
import type { Addon, GpuPoller, NvmlCall, NvmlSnapshot, SourceStatus } from '../native/addon.js';
import type { GpuReport } from './device.js';
import { NvidiaSmi } from './nvidia-smi-poller.js';
import { reportOfNvml } from './nvml.js';

/** NVML is read once a second; a snapshot is made of hundreds of figures. */
const TAKE_EVERY_MS = 100;
/** How long the end of a run waits for its last reading: of eight GPUs it takes some milliseconds. */
const READ_WITHIN_MS = 250;

export interface GpuSettings {
  nvml: boolean;
  nvml_library: string;
  nvml_disabled_symbols: readonly string[];
  nvidia_smi: boolean;
  nvidia_smi_path: string | null;
}

/** The inode that the kernel gives the first one (PROC_PID_INIT_INO, include/linux/proc_ns.h). */
const INITIAL_PID_NAMESPACE = 0xeffffffcn;
const OTHER_NUMBERS =
  'this is a PID namespace of its own: of processes on GPUs only those count that the driver tells in its numbers; run the agent ' +
  'in the host’s (docs/meaning.md, rule 13)';

export interface GpusOptions {
  addon: Pick<Addon, 'GpuPoller' | 'monotonicNs' | 'processIdentity'>;
  settings: GpuSettings;
  /** Wall clock, milliseconds since 1970. */
  nowMs: () => number;
}

export class Gpus {
  readonly #o: GpusOptions;
  readonly #poller: GpuPoller | undefined;
  /** This process is in the host's PID namespace: what a driver numbers are the same processes here. */
  readonly #sharesNumbers: boolean;
  readonly #nvidiaSmi: NvidiaSmi;
  #reading: Promise<void> | undefined;
  /** The one that begins when that has ended. */
  #nextReading: Promise<void> | undefined;
  #taken: { nvml: NvmlSnapshot | undefined; at: number } | undefined;

  constructor(options: GpusOptions) {
    const { addon, settings, nowMs } = options;
    this.#o = options;
    this.#sharesNumbers = addon.processIdentity(process.pid)?.pidNamespace === INITIAL_PID_NAMESPACE;
    if (settings.nvml) {
      const disabledSymbols = settings.nvml_disabled_symbols;
      this.#poller = new addon.GpuPoller({ library: settings.nvml_library, disabledSymbols });
    }
    const { nvidia_smi: enabled, nvidia_smi_path: program } = settings;
    this.#nvidiaSmi = new NvidiaSmi({ enabled, program, nowMs });
  }

  /** Where the sampler takes its readings from; null: NVML is not wanted. */
  get poller(): GpuPoller | null {
    return this.#poller ?? null;
  }

  /** Has NVML read everything at once, and waits for it a moment; undefined: no driver answers. Never rejects. */
  read(): Promise<void> | undefined {
    const nvml = this.#nvml();
    const poller = this.#poller;
    if (!poller || nvml?.state !== 'running' || nvml.devices.length === 0) return undefined;
    // One at a time, and one after it for all that come meanwhile: each holds a thread that samples are waited for on.
    if (!this.#reading) return this.#refresh(poller);
    this.#nextReading ??= this.#reading.then(() => {
      this.#nextReading = undefined;
      return this.#refresh(poller);
    });
    return this.#nextReading;
  }

  #refresh(poller: GpuPoller): Promise<void> {
    const reading = poller.refresh(READ_WITHIN_MS).then(() => {
      this.#reading = undefined;
    });
    this.#reading = reading;
    return reading;
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
      const lost = nvml.devices.filter((device) => device.lost).length;
      const gpus = `${nvml.devices.length} GPU${nvml.devices.length === 1 ? '' : 's'}${lost ? ` (${lost} lost)` : ''}`;
      const [driver, version] = [nvml.driverVersion ?? 'unknown', nvml.nvmlVersion ?? 'unknown'];
      const reason = `${gpus} by NVML ${version}, driver ${driver}`;
      return { name, state: 'ok', reason, how: this.#sharesNumbers ? '' : OTHER_NUMBERS };
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
