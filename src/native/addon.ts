// The one declared boundary to the C++ addon: types of everything it exports, and its loading.
// Owns no state. Units are the native ones (integers in ns, bytes, counts); see frame.ts for the columns.

import { createRequire } from 'node:module';
import { prebuilt } from './prebuilt.js';

/** One scope of one run, or a run's `unattributed` remainder; u32 > 0, chosen here, never reused while the agent lives. */
export type Slot = number;
/** One live run inside the sampler; u32 > 0, chosen here. */
export type RunHandle = number;
/** One session (one process's connection); u32 > 0, chosen here. */
export type SessionHandle = number;

/** Which process, beyond pid reuse: the pid and field 22 of /proc/PID/stat (clock ticks since boot). */
export interface ProcessId {
  pid: number;
  startTicks: bigint;
}

export interface SamplerOptions {
  /** Root of procfs, normally `/proc`. */
  procRoot: string;
  /** Root of sysfs, normally `/sys`. */
  sysRoot: string;
  /** Tick period of the process tier, milliseconds. */
  intervalMs: number;
  /** Millionths of one core that the agent may use before it samples less often; 0: any. */
  cpuBudgetPpm: number;
  /** Period of the node figures, milliseconds. */
  nodeIntervalMs: number;
  /** Path of the ring socket, or null for none. */
  ringSocket: string | null;
  /** File mode of the ring socket. */
  ringSocketMode: number;
  /** How long a restored process may wait for its ring before it is sampled without, milliseconds. */
  restartWaitMs: number;
  /** How long a pull waits for the sampling thread, milliseconds. */
  pullTimeoutMs: number;
  /** Where GPUs are known from; null: nowhere. */
  gpus: GpuPoller | null;
  /** What a service manager passed from descriptor 3 on, and where it is told what to keep; null: there is none. */
  kept: { address: string; names: string[] } | null;
  /** Sources not to use: `taskstats`, `cn_proc`, `cgroup`, `smaps`, `pidfd_info`, `rapl`. */
  disabledSources: string[];
}

export interface Bind {
  /** 0: bound from outside, without announcements. */
  session: SessionHandle | 0;
  /** The token that rings are offered with; empty for session 0. */
  token: string;
  process: ProcessId;
  run: RunHandle;
  /** Where the process counts while it announces nothing; 0: where its fork happened, else unattributed. */
  birthSlot: Slot | 0;
  /** The thread that opened the session, in the agent's PID namespace. */
  primaryTid: number;
  /** Client's CLOCK_MONOTONIC minus the agent's (its time namespace), ns. */
  clockOffsetNs: bigint;
}

export interface Sampler {
  start(): void;
  /** From now on it samples only when asked to: the last pull is the last that it hears. */
  rest(): void;
  /** `storedNs`: `tMonoNs` of a snapshot that is stored; where nothing was heard since, the rest waits for the next agent, if a service manager keeps it. */
  stop(storedNs?: bigint): Promise<void>;
  openRun(run: RunHandle, unattributed: Slot): void;
  defineSlot(slot: Slot, run: RunHandle, parent: Slot | 0): void;
  mapScope(session: SessionHandle, clientScopeId: number, slot: Slot): void;
  /** Which GPU a session's records mean by an index. */
  mapDevice(session: SessionHandle, index: number, uuid: string): void;
  bind(bind: Bind): void;
  enter(session: SessionHandle, tid: number, slot: Slot | 0, tNs: bigint, activation: boolean): void;
  closeSession(session: SessionHandle): void;
  /** The process and what descends from it leave the run; those with parts of their own go on. */
  endPart(process: ProcessId, ownParts: readonly ProcessId[]): void;
  closeRun(run: RunHandle): void;
  /** The number that a GPU has in rows to be restored; before them. */
  nameGpu(gpu: number, uuid: string): void;
  restoreSlot(row: BigUint64Array): void;
  restoreRun(row: BigUint64Array, state: Buffer): void;
  restoreProcess(run: RunHandle, state: Buffer): void;
  pull(fresh: boolean): Promise<Snapshot>;
  sources(): SourceStatus[];
  /** Turns that the sampling thread has made; it makes one more for the question. The same number long after: it hangs. */
  heartbeat(): bigint;
  nodeFigures(): NodeFigure[];
}

export interface Snapshot {
  /** An earlier pull gave up waiting for it. It must be taken, since changes are reported once; a newer one is to be asked for. */
  late: boolean;
  /** CLOCK_MONOTONIC of the tick, ns. */
  tMonoNs: bigint;
  /** Wall clock of the tick, milliseconds since 1970. */
  tWallMs: number;
  /** Frame rows of the slots that changed since the previous pull; cumulative self totals. */
  slots: BigUint64Array;
  /** The runs that changed. */
  runs: RunSnapshot[];
  /** Living processes with changed state, to be stored in the same transaction as the totals. */
  processes: { run: RunHandle; process: ProcessId; state: Buffer }[];
  /** Processes that ended or left since the previous pull; their stored state goes in the same transaction. */
  exited: ExitedProcess[];
  acceptedRings: number;
  refusedRings: number;
  lostRecords: bigint;
  lostExitEvents: bigint;
  forgedRecords: bigint;
  /** Ring records whose scope was not defined in time; they count as unattributed. */
  undefinedRecords: bigint;
  cutStamps: bigint;
  self: {
    cpuNs: bigint;
    rssBytes: number;
    ticks: bigint;
    overruns: bigint;
    /** From tick to tick at present: longer than configured while the agent would use too much CPU. */
    intervalMs: number;
    /** Cumulative counts of ticks at most as long as each of TICK_BUCKETS_NS, then of all. */
    tickDurationNs: BigUint64Array;
    tickDurationSumNs: bigint;
  };
  /** Every GPU that has a number: what became of what it spent since the sampler began. */
  gpus: GpuBooks[];
}

/** What a GPU spent on one of three; what is not measured is absent. */
export interface GpuLine {
  energyUj?: bigint;
  activeNs?: bigint;
}

/** The three sum to what the device's counter said, and to its utilisation integrated. */
export interface GpuBooks {
  gpu: number;
  uuid: string;
  runs: GpuLine;
  /** Processes that are in no run. */
  others: GpuLine;
  /** While nobody held it. */
  nobody: GpuLine;
}

export interface RunSnapshot {
  run: RunHandle;
  /** Frame row: the run's own totals, the sum over its processes. */
  row: BigUint64Array;
  /** Opaque, to be stored and given back to restoreRun. */
  state: Buffer;
  /** Bit mask of additive columns whose sum over slots differs from the total; must be 0. */
  residualColumns: number;
  liveProcesses: number;
  observedNs: bigint;
  elapsedNs: bigint;
  lostEvents: bigint;
  /** Bit masks of columns: partly estimated; divided by overlap somewhere. */
  estimatedColumns: number;
  apportionedColumns: number;
  /** Path of the cgroup v2 that holds the run alone, where one does. */
  cgroup: string | null;
}

export interface ExitedProcess {
  run: RunHandle;
  process: ProcessId;
  session: SessionHandle | 0;
  parent: number;
  exe: string;
  comm: string;
  /** Frame row: the process's own totals inside the run. */
  row: BigUint64Array;
  exitCode?: number;
  exitSignal?: number;
  oomKilled?: boolean;
  startedMonoNs: bigint;
  endedMonoNs: bigint;
  /** It left its run alive (end of its part, or a move). */
  released: boolean;
}

export interface SourceStatus {
  name: string;
  state: 'ok' | 'fallback' | 'unavailable' | 'disabled';
  /** What the probe saw. */
  reason: string;
  /** How to get it, where it can be got. */
  how: string;
}

export interface NodeFigure {
  /** Without the `lezea_node_` prefix, e.g. `cpu_seconds_total`. */
  name: string;
  labels: Record<string, string>;
  value: number;
  kind: 'counter' | 'gauge';
}

export type Signalled = 'ok' | 'gone' | 'denied' | 'unsupported' | 'malformed';

export interface PeerCredentials {
  pid: number;
  uid: number;
  gid: number;
  startTicks: bigint;
  /** Inode of the peer's PID namespace; 0 when it may not be read. */
  pidNamespace: bigint;
}

export interface ProcessIdentity {
  process: ProcessId;
  uid: number;
  ppid: number;
  /** All its threads have; it is there until it is reaped. */
  ended: boolean;
  pidNamespace: bigint;
  clockOffsetNs: bigint;
  cgroup: string;
  exe: string;
  comm: string;
  unit?: string;
  containerId?: string;
  slurmJobId?: string;
}

/** Where a column is in a frame row. */
export interface AddonColumn {
  name: string;
  /** Its first word, and how many it takes. */
  word: number;
  words: number;
}

/** What is known of a GPU; what is not is absent. */
export interface NvmlDevice {
  facts: {
    uuid: string;
    name?: string;
    serial?: string;
    vbios?: string;
    pciBusId?: string;
    memoryTotalBytes?: number;
    persistenceMode?: boolean;
    migMode?: boolean;
    computeMode?: string;
    powerLimitMilliwatts?: number;
    /** Of a MIG instance. */
    parentUuid?: string;
  };
  /** Off the bus, or in need of a reset: no figures. */
  lost: boolean;
  figures?: NvmlFigures;
}

export interface NvmlFigures {
  /** CLOCK_MONOTONIC of the reading, ns. */
  tNs: bigint;
  utilizationPercent?: number;
  memoryUtilizationPercent?: number;
  memoryUsedBytes?: number;
  memoryReservedBytes?: number;
  memoryFreeBytes?: number;
  energyUj?: number;
  powerInstantMilliwatts?: number;
  powerAverageMilliwatts?: number;
  smClockMhz?: number;
  memoryClockMhz?: number;
  temperatureCelsius?: number;
  memoryTemperatureCelsius?: number;
  fanPercent?: number;
  nvlinkTransmittedBytes?: number;
  nvlinkReceivedBytes?: number;
  pcieTransmittedBytes?: number;
  pcieReceivedBytes?: number;
  throttlePowerNs?: number;
  throttleSoftwareThermalNs?: number;
  throttleHardwareThermalNs?: number;
  throttlePowerBrakeNs?: number;
  eccCorrected?: number;
  eccUncorrected?: number;
  remappedCorrectableRows?: number;
  remappedUncorrectableRows?: number;
  remappingPending?: boolean;
  remappingFailed?: boolean;
  /** Of the hardware’s own counters, parts per million since the reading before. */
  gpmGraphicsActivePpm?: number;
  gpmSmActivePpm?: number;
  gpmSmOccupancyPpm?: number;
  gpmMemoryBandwidthPpm?: number;
}

/** What calls of one function took, since the agent began. */
export interface NvmlCall {
  symbol: string;
  count: number;
  failures: number;
  /** Took longer than the deadline. */
  late: number;
  totalNs: number;
  longestNs: number;
}

export interface NvmlSnapshot {
  state: 'starting' | 'running' | 'no_library' | 'no_driver' | 'stuck';
  /** Where it is not running. */
  reason: string;
  driverVersion?: string;
  nvmlVersion?: string;
  /** 12040 is 12.4. */
  cudaVersion?: number;
  devices: NvmlDevice[];
  calls: NvmlCall[];
  xids: { uuid: string; code: number; count: number; lastWallMs: number }[];
}

/** Polls the GPUs on a thread of its own. Nothing here ever waits for the driver. */
export interface GpuPoller {
  /** The last one; undefined once it is stopped. */
  snapshot(): NvmlSnapshot | undefined;
  /** Has everything read at once; true once it was, false where that takes longer than so many milliseconds. */
  refresh(timeoutMs: number): Promise<boolean>;
  stop(): void;
}

export interface Addon {
  Sampler: new (options: SamplerOptions) => Sampler;
  /** `library`: name or path of NVML; `disabledSymbols`: are not called. */
  GpuPoller: new (options: {
    library: string;
    disabledSymbols: readonly string[];
  }) => GpuPoller;
  /** Of a connected Unix socket's descriptor (SO_PEERCRED and its pidfd). Throws when the peer is gone. */
  peerCredentials(fd: number): PeerCredentials;
  /** What /proc says of a process; undefined when it is gone. */
  processIdentity(pid: number): ProcessIdentity | undefined;
  /**
   * Sends a signal to exactly this process, if it still is and is that user's, through a pidfd: never to whoever took its pid.
   * `gone`: it has ended; `denied`: this agent may not, or the process is another user's.
   */
  signalProcess(target: ProcessId & { uid: number; signal: number }): Signalled;
  /** CLOCK_MONOTONIC, ns. */
  monotonicNs(): bigint;
  /** /proc/sys/kernel/random/boot_id. */
  bootId(): string;
  /** Columns in frame order; frame.ts refuses a mismatch. */
  columns(): AddonColumn[];
  frameWords(): number;
  tickBucketsNs(): bigint[];
  /**
   * Takes the capabilities that this process was started with from all its threads but the one that is to sample, and from every
   * program it will start. Which those are, bit N for capability N; 0 where there are none or the process is root's. Throws
   * where a thread keeps some.
   */
  confineCapabilities(): bigint;
  /** Sends lines NAME=VALUE to NOTIFY_SOCKET (sd_notify(3)). Throws where they did not arrive; waits a second at most. */
  notifyService(address: string, message: string): void;
  /** Probes every source without a running sampler, for `doctor`. */
  probeSources(disabled: string[]): SourceStatus[];
  /** So many descriptors from 3 on are closed in every program that is started from now on. */
  guardPassedDescriptors(count: number): void;
  /**
   * Starts a program whose end is told before it is reaped; `code` is its exit status, -1 where a signal ended it. `hold`:
   * the writing end of a pipe that it has as descriptor 3. Throws where no process can be made.
   */
  spawnUnreaped(
    file: string,
    argv: readonly string[],
    env: readonly string[],
    onEnd: (code: number, signal: number) => void,
  ): { pid: number; hold: number };
  /** Of such a program, once it has ended: its pid is free from then on. */
  reapChild(pid: number): void;
}

const require = createRequire(import.meta.url);

/** Loads the addon of this package, or that of a clone. Throws the loader's own error, or LezeaError `package`. */
export function loadAddon(): Addon {
  return require(prebuilt('lezea_monitor.node') ?? '../../build/Release/lezea_monitor.node') as Addon;
}
