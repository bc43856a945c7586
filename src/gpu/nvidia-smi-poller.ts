// What nvidia-smi said last. It is asked only while somebody reads that, at most once a minute, one at a time; where it does not
// answer, ever more seldom: one that waits for its driver cannot be killed, and each leaves a process behind. Owns the answer.

import { existsSync } from 'node:fs';
import { messageOf } from '../errors.js';
import { FIXED_PATH } from '../inventory/fenced-child.js';
import type { SourceStatus } from '../native/addon.js';
import type { GpuReport } from './device.js';
import { askNvidiaSmi, findNvidiaSmi } from './nvidia-smi.js';

const PAUSE_MS = 60_000;
const LONGEST_PAUSE_MS = 3_600_000;
/** An answer older than this is none. */
const MAX_AGE_MS = 180_000;
/** Of the kernel's module. */
const DRIVER = '/proc/driver/nvidia/version';
const HOW = 'run `nvidia-smi -q -x` by hand; gpu.nvidia_smi: false has it asked no more';

export interface NvidiaSmiOptions {
  enabled: boolean;
  /** Absolute path; null: the first of the fixed PATH. */
  program: string | null;
  /** Wall clock, milliseconds since 1970. */
  nowMs: () => number;
  /** Monotonic, milliseconds. @default performance.now */
  monotonicMs?: () => number;
  /** @default in the fixed PATH */
  find?: () => Promise<string | undefined>;
  /** @default in its child */
  ask?: (program: string, nowMs: number, options: { signal: AbortSignal }) => Promise<GpuReport>;
}

export class NvidiaSmi {
  readonly #o: Required<NvidiaSmiOptions>;
  readonly #stop = new AbortController();
  #program: string | undefined;
  #last: { report: GpuReport; at: number } | undefined;
  #failure: string | undefined;
  #dueAt = Number.NEGATIVE_INFINITY;
  #pauseMs = PAUSE_MS;
  #asking: Promise<void> | undefined;

  constructor(options: NvidiaSmiOptions) {
    this.#o = { monotonicMs: () => performance.now(), find: findNvidiaSmi, ask: askNvidiaSmi, ...options };
  }

  /** As it was said last; undefined: nobody says anything, or not any more. Has it asked again where that is due. */
  get report(): GpuReport | undefined {
    void this.refresh();
    return this.#last && this.#o.monotonicMs() - this.#last.at <= MAX_AGE_MS ? this.#last.report : undefined;
  }

  /** Ends when the answer is there, where one is due. Never rejects. */
  refresh(): Promise<void> {
    const due = this.#o.enabled && this.#o.monotonicMs() >= this.#dueAt && !this.#stop.signal.aborted;
    if (due && !this.#asking) {
      const begunAt = this.#o.monotonicMs();
      this.#asking = this.#ask().finally(() => {
        this.#asking = undefined;
        this.#dueAt = begunAt + this.#pauseMs;
      });
    }
    return this.#asking ?? Promise.resolve();
  }

  get isAsking(): boolean {
    return this.#asking !== undefined;
  }

  /** Kills the child; from now on nothing is asked. */
  close(): void {
    this.#stop.abort();
  }

  /** For doctor and the agent's own metrics. */
  get source(): SourceStatus {
    const name = 'nvidia-smi';
    if (!this.#o.enabled) return { name, state: 'disabled', reason: 'gpu.nvidia_smi is off', how: '' };
    if (this.#failure !== undefined) {
      return { name, state: 'unavailable', reason: `${this.#program}: ${this.#failure}`, how: HOW };
    }
    if (this.#last) {
      const { devices, driverVersion = 'unknown' } = this.#last.report;
      const gpus = devices.length === 1 ? '1 GPU' : `${devices.length} GPUs`;
      const seconds = Math.round((this.#o.monotonicMs() - this.#last.at) / 1000);
      return {
        name,
        state: 'fallback',
        reason: `${gpus}, driver ${driverVersion}, ${seconds} s ago`,
        how: '',
      };
    }
    return { name, state: 'disabled', reason: this.#absence(), how: '' };
  }

  #absence(): string {
    if (this.#asking) return `${this.#program ?? 'nvidia-smi'}: no answer yet`;
    return existsSync(DRIVER) ? `no nvidia-smi in ${FIXED_PATH}` : 'no NVIDIA driver';
  }

  async #ask(): Promise<void> {
    const { program, find, ask, nowMs } = this.#o;
    this.#program = program ?? (await find());
    if (this.#program === undefined) {
      this.#failure = this.#last = undefined;
      return;
    }
    try {
      const report = await ask(this.#program, nowMs(), { signal: this.#stop.signal });
      this.#last = { report, at: this.#o.monotonicMs() };
      this.#failure = undefined;
      this.#pauseMs = PAUSE_MS;
    } catch (error) {
      this.#failure = messageOf(error);
      this.#pauseMs = Math.min(2 * this.#pauseMs, LONGEST_PAUSE_MS);
    }
  }
}
