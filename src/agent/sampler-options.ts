// What the sampler is told, from the configuration. Pure.

import type { Config } from '../config/schema.js';
import { socketMode } from '../ipc/listen.js';
import type { GpuPoller, SamplerOptions } from '../native/addon.js';
import type { KeptDescriptors } from './kept-descriptors.js';

/** How long a process whose ring is known may wait for it after a restart, milliseconds. */
const RESTART_WAIT_MS = 3000;
/** How long whoever asks for a sample waits for the sampling thread, milliseconds. */
const PULL_TIMEOUT_MS = 30_000;

/** `roots`: of the kernel's files; default /proc and /sys. */
export function samplerOptions(
  { sampling, agent }: Config,
  ringSocket: string,
  gpus: GpuPoller | null,
  roots: { proc: string; sys: string } = { proc: '/proc', sys: '/sys' },
  kept: KeptDescriptors | undefined = undefined,
): SamplerOptions {
  const sources = Object.entries(sampling.sources);
  return {
    procRoot: roots.proc,
    sysRoot: roots.sys,
    intervalMs: sampling.interval_ms,
    cpuBudgetPpm: Math.round(sampling.cpu_budget_percent * 10_000),
    nodeIntervalMs: sampling.node_interval_ms,
    ringSocket,
    ringSocketMode: socketMode(agent.mode),
    restartWaitMs: RESTART_WAIT_MS,
    pullTimeoutMs: PULL_TIMEOUT_MS,
    gpus,
    kept: kept ?? null,
    disabledSources: sources.filter(([, source]) => !source.enabled).map(([name]) => name),
  };
}
