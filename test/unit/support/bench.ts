// A workbench for tests: attribution on a real SQLite database in a temporary folder, with the fake sampler. crash()
// leaves everything as a SIGKILL would: nothing is flushed, and the next bench starts from the files.

import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { earlierAttempts } from '../../../src/attribution/attempts.js';
import { Attribution, type AttributionOptions } from '../../../src/attribution/attribution.js';
import type { Caller, OpenRequest, Run } from '../../../src/attribution/model.js';
import { Deliveries, type DeliveriesOptions } from '../../../src/delivery/deliveries.js';
import { RunFolders } from '../../../src/files/run-folders.js';
import type { ProcessId } from '../../../src/native/addon.js';
import { openDatabase } from '../../../src/state/database.js';
import { SqliteOutbox } from '../../../src/state/outbox.js';
import { SqlitePersistence } from '../../../src/state/sqlite-persistence.js';
import { type FakeKernel, FakeSampler } from './fake-sampler.js';
import { ScriptedSink } from './scripted-sink.js';

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
  outbox: SqliteOutbox;
  deliveries: Deliveries;
  /** Where every delivery of the bench goes. */
  sink: ScriptedSink;
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
  delivery: Partial<DeliveriesOptions> = {},
): Bench {
  const sampler = new FakeSampler(kernel);
  const clock = { nowMs: 1_700_000_000_000, monoNs: 5_000_000_000n };
  const db = openDatabase(folder, silent, clock.nowMs);
  const persistence = new SqlitePersistence(db);
  const outbox = new SqliteOutbox(db);
  const sink = new ScriptedSink();
  const deliveries = new Deliveries({
    outbox,
    sinks: { mlflow: sink, webhook: sink },
    offline: false,
    rules: () => ({ mode: 'user', addresses: [], hasCredentials: false }),
    node: 'node-1',
    log: silent,
    nowMs: () => clock.nowMs,
    closeDeadRuns: () => true,
    documents: async () => [],
    earlier: (run) => earlierAttempts(attribution.store, run),
    folders: new RunFolders(folder),
    courier: { limits: { firstMs: 1, mostMs: 4 }, refusedMs: 4, random: () => 0.5 },
    ...delivery,
  });
  const written: Run[] = [];
  const dead = new Set<number>();
  const attribution: Attribution = new Attribution({
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
    isFull: () => false,
    prepareDelivery: (run, allDead) => deliveries.prepare(run, allDead),
    prepareDocuments: (run) => deliveries.prepareDocuments(run),
    ...more,
  });
  attribution.store.on('ended', () => deliveries.wake());
  attribution.start();
  deliveries.wake();
  const checkpoint = () => attribution.checkpoint.request();
  const close = () => {
    attribution.checkpoint.stop();
    void deliveries.stop();
    persistence.close();
  };
  const crash = (into: string) => {
    mkdirSync(into);
    const files = readdirSync(folder).filter((name) => name.startsWith('state.db'));
    for (const name of files) copyFileSync(join(folder, name), join(into, name));
    close();
  };
  const parts = { sampler, attribution, persistence, outbox, deliveries, sink };
  return { ...parts, written, dead, clock, checkpoint, close, crash };
}
