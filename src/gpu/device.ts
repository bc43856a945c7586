// What is known of the GPUs of this node, whoever said it. Unknown is absent.

export interface GpuDevice {
  uuid: string;
  /** When its figures were read: wall clock, milliseconds since 1970. Absent: it has none. */
  readAtMs?: number;
  /** Off the bus, or in need of a reset: it has no figures. Unknown where nobody tells. */
  isLost?: boolean;
  /** Of a MIG instance. */
  parentUuid?: string;
  model?: string;
  serial?: string;
  vbios?: string;
  pciBusId?: string;
  memoryTotalBytes?: number;
  /** Kept by the driver; no part of what is used. */
  memoryReservedBytes?: number;
  memoryUsedBytes?: number;
  memoryFreeBytes?: number;
  /** Share of time in which any kernel ran, 0 to 1. */
  utilizationRatio?: number;
  /** Share of time in which the memory was read or written, 0 to 1. */
  memoryBusyRatio?: number;
  /** Of its multiprocessors, the mean of those that had work; 0 to 1, as are the following. */
  smActiveRatio?: number;
  /** Of the warps that its multiprocessors can hold, the mean of those that were there. */
  smOccupancyRatio?: number;
  /** Of the greatest bandwidth of its memory. */
  memoryBandwidthRatio?: number;
  /** As the driver averages it, where it does. */
  powerWatts?: number;
  instantPowerWatts?: number;
  powerLimitWatts?: number;
  temperatureCelsius?: number;
  memoryTemperatureCelsius?: number;
  fanSpeedRatio?: number;
  graphicsClockHertz?: number;
  smClockHertz?: number;
  memoryClockHertz?: number;
  persistenceMode?: string;
  computeMode?: string;
  migMode?: string;
  /** Since the driver was loaded, as are the following. */
  energyJoules?: number;
  throttleSeconds?: {
    power?: number;
    software_thermal?: number;
    hardware_thermal?: number;
    power_brake?: number;
  };
  nvlinkBytes?: { transmit?: number; receive?: number };
  pcieBytes?: { transmit?: number; receive?: number };
  eccErrors?: { corrected?: number; uncorrected?: number };
  remappedRows?: { correctable?: number; uncorrectable?: number };
  rowRemapping?: { pending?: number; failed?: number };
  /** By code, since the agent began. */
  xids?: Record<string, number>;
}

export interface GpuReport {
  source: 'nvml' | 'nvidia_smi';
  driverVersion?: string;
  cudaVersion?: string;
  devices: GpuDevice[];
}
