// What nvidia-smi said last. It is asked only while somebody reads that, at most once a minute, one at a time; of a driver whose
// nvidia-smi takes seconds, that is what a node can bear. Owns the answer.

import { messageOf } from '../errors.js';
import type { SourceStatus } from '../native/addon.js';
import type { GpuReport } from './device.js';
import { askNvidiaSmi, findNvidiaSmi } from './nvidia-smi.js';

const ASK_EVERY_MS = 60_000;
/** An answer older than this, since later ones failed, is none. */
const MAX_AGE_MS = 3 * ASK_EVERY_MS;

export interface NvidiaSmiOptions {
  /** Absolute path; null: the first of the fixed PATH. */
  program: string | null;
  enabled: boolean;
  /** Wall clock, milliseconds since 1970. */
  nowMs: () => number;
  /** Monotonic, milliseconds. @default performance.now */
  monotonicMs?: () => number;
  /** @default in its child */
  ask?: (program: string, nowMs: number) => Promise<GpuReport>;
}

export class NvidiaSmi {
  readonly #o: NvidiaSmiOptions;
  readonly #monotonicMs: () => number;
  #program: string | undefined;
  #last: { report: GpuReport; at: number } | undefined;
  #failure: string | undefined;
  #askedAt = Number.NEGATIVE_INFINITY;
  #asking: Promise<void> | undefined;

  constructor(options: NvidiaSmiOptions) {
    this.#o = options;
    this.#monotonicMs = options.monotonicMs ?? (() => performance.now());
  }

  /** As it was said last; undefined: nobody says anything, or not any more. Has it asked again where that is due. */
  get report(): GpuReport | undefined {
    void this.refresh();
    const age = this.#last && this.#monotonicMs() - this.#last.at;
    return age !== undefined && age <= MAX_AGE_MS ? this.#last?.report : undefined;
  }

  /** Ends when the answer is there, where one is due. Never rejects. */
  refresh(): Promise<void> {
    const due = this.#o.enabled && this.#monotonicMs() - this.#askedAt >= ASK_EVERY_MS;
    if (due && !this.#asking) {
      this.#askedAt = this.#monotonicMs();
      this.#asking = this.#ask().finally(() => {
        this.#asking = undefined;
      });
    }
    return this.#asking ?? Promise.resolve();
  }

  /** For doctor and the agent's own metrics. */
  get source(): SourceStatus {
    const name = 'nvidia-smi';
    if (!this.#o.enabled) return { name, state: 'disabled', reason: 'gpu.nvidia_smi is off', how: '' };
    if (this.#failure !== undefined) {
      return { name, state: 'unavailable', reason: `${this.#program}: ${this.#failure}`, how: '' };
    }
    if (this.#last) {
      const { devices, driverVersion = 'unknown' } = this.#last.report;
      const gpus = devices.length === 1 ? '1 GPU' : `${devices.length} GPUs`;
      return { name, state: 'fallback', reason: `${gpus}, driver ${driverVersion}, once a minute`, how: '' };
    }
    const reason = this.#program === undefined ? 'no NVIDIA driver' : `${this.#program}: no answer yet`;
    return { name, state: 'disabled', reason, how: '' };
  }

  async #ask(): Promise<void> {
    const { program, nowMs, ask = askNvidiaSmi } = this.#o;
    this.#program = program ?? (await findNvidiaSmi());
    if (this.#program === undefined) {
      this.#failure = this.#last = undefined;
      return;
    }
    try {
      this.#last = { report: await ask(this.#program, nowMs()), at: this.#monotonicMs() };
      this.#failure = undefined;
    } catch (error) {
      this.#failure = messageOf(error);
    }
  }
}
