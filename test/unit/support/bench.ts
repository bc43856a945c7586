// A workbench for tests: attribution on a real SQLite database in a temporary folder, with the fake sampler. crash()
// leaves everything as a SIGKILL would: nothing is flushed, and the next bench starts from the files.

import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { Attribution, type AttributionOptions } from '../../../src/attribution/attribution.js';
import type { Caller, OpenRequest, Run } from '../../../src/attribution/model.js';
import type { ProcessId } from '../../../src/native/addon.js';
import { openDatabase } from '../../../src/state/database.js';
import { SqlitePersistence } from '../../../src/state/sqlite-persistence.js';
import { type FakeKernel, FakeSampler } from './fake-sampler.js';

export const silent = pino({ level: 'silent' });

export function temporaryFolder(): { path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'lezea-test-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

export function processOf(pid: number): ProcessId {
  return { pid, startTicks: BigInt(pid) * 100n };
}

export function callerOf(pid: number, uid = 1000, pidNamespace = 7n): Caller {
  return { process: processOf(pid), owner: { uid, pidNamespace }, privileged: false };
}

export function openRequest(runId: string, pid: number, more: Partial<OpenRequest> = {}): OpenRequest {
  return { runId, process: processOf(pid), ancestors: [], devices: [], clockOffsetNs: 0n, ...more };
}

export interface Bench {
  sampler: FakeSampler;
  attribution: Attribution;
  persistence: SqlitePersistence;
  written: Run[];
  /** Pids that are no more, for isAlive. */
  dead: Set<number>;
  clock: { nowMs: number; monoNs: bigint };
  checkpoint(): Promise<void>;
  close(): void;
  /** Copies the database as SIGKILL would leave it, with its log, into another folder; then closes. */
  crash(into: string): void;
}

export function startBench(
  folder: string,
  more: Partial<AttributionOptions> = {},
  kernel?: FakeKernel,
): Bench {
  const sampler = new FakeSampler(kernel);
  const clock = { nowMs: 1_700_000_000_000, monoNs: 5_000_000_000n };
  const persistence = new SqlitePersistence(openDatabase(folder, silent, clock.nowMs));
  const written: Run[] = [];
  const dead = new Set<number>();
  const attribution = new Attribution({
    sampler,
    persistence,
    log: silent,
    bootId: 'boot-1',
    nowMs: () => clock.nowMs,
    monotonicNs: () => clock.monoNs,
    isAlive: (process) => !dead.has(process.pid),
    checkpointIntervalMs: 3_600_000,
    keepEndedMs: () => 300_000,
    unboundTimeoutMs: () => 60_000,
    writeFiles: async (run) => {
      written.push(run);
    },
    ...more,
  });
  attribution.start();
  const checkpoint = () => attribution.checkpoint.request();
  const close = () => {
    attribution.checkpoint.stop();
    persistence.close();
  };
  const crash = (into: string) => {
    mkdirSync(into);
    const files = readdirSync(folder).filter((name) => name.startsWith('state.db'));
    for (const name of files) copyFileSync(join(folder, name), join(into, name));
    close();
  };
  return { sampler, attribution, persistence, written, dead, clock, checkpoint, close, crash };
}
