// How busy a run was at its busiest: its CPU time in windows of a second or little more, one after another, each ended by
// the first sample after its second. Pure.

import type { Totals } from './totals.js';

const WINDOW_NS = 1_000_000_000n;

export interface CpuWindows {
  /** Windows that are over. */
  count: number;
  /** Of the busiest one: CPU time per time; absent before the first is over. */
  busiestCpus?: number;
  /** Where the open one began: the run's age, and its CPU time by then. JSON has no bigint: decimal ns. */
  open: { elapsedNs: string; cpuNs: string };
}

/** The windows with one more sample of the run; as they were where its CPU time is not known. */
export function withSample(
  windows: CpuWindows | undefined,
  sample: { elapsedNs: bigint; totals: Totals },
): CpuWindows | undefined {
  const cpuNs = sample.totals.native('cpu_seconds');
  if (cpuNs === undefined) return windows;
  const open = { elapsedNs: String(sample.elapsedNs), cpuNs: String(cpuNs) };
  if (!windows) return { count: 0, open };
  const elapsedNs = sample.elapsedNs - BigInt(windows.open.elapsedNs);
  if (elapsedNs < WINDOW_NS) return windows;
  const cpus = Number(cpuNs - BigInt(windows.open.cpuNs)) / Number(elapsedNs);
  return { count: windows.count + 1, busiestCpus: Math.max(cpus, windows.busiestCpus ?? 0), open };
}
