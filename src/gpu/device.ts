// What is known of the GPUs of this node, whoever said it. Unknown is absent.

export interface GpuDevice {
  uuid: string;
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
  powerWatts?: number;
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
}

export interface GpuReport {
  source: 'nvidia_smi';
  /** Wall clock, milliseconds since 1970. */
  readAtMs: number;
  driverVersion?: string;
  cudaVersion?: string;
  devices: GpuDevice[];
}
