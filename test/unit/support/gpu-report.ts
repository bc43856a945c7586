// Two GPUs as a report has them: one of which all is known, and one of which nearly nothing is.

import type { GpuReport } from '../../../src/gpu/device.js';

export const GPU_REPORT: GpuReport = {
  source: 'nvml',
  driverVersion: '570.124.06',
  cudaVersion: '12.8',
  devices: [
    {
      uuid: 'GPU-00000000-0000-0000-0000-000000000000',
      readAtMs: 1_700_000_060_000,
      model: 'NVIDIA H100 80GB HBM3',
      pciBusId: '00000000:10:00.0',
      memoryTotalBytes: 85_520_809_984,
      memoryReservedBytes: 577_765_376,
      memoryUsedBytes: 0,
      memoryFreeBytes: 84_943_044_608,
      utilizationRatio: 0,
      memoryBusyRatio: 0.12,
      powerWatts: 212.5,
      powerLimitWatts: 700,
      temperatureCelsius: 41,
      memoryTemperatureCelsius: 48,
      fanSpeedRatio: 0.3,
      graphicsClockHertz: 1_980_000_000,
      smClockHertz: 1_980_000_000,
      memoryClockHertz: 2_619_000_000,
      instantPowerWatts: 215.25,
      energyJoules: 123_456.5,
      throttleSeconds: { power: 1.5, hardware_thermal: 0 },
      nvlinkBytes: { transmit: 1024, receive: 2048 },
      pcieBytes: {},
      eccErrors: { corrected: 3, uncorrected: 0 },
      remappedRows: { correctable: 1, uncorrectable: 0 },
      rowRemapping: { pending: 0, failed: 0 },
      xids: { 79: 1 },
    },
    {
      uuid: 'GPU-00000000-0000-0000-0000-000000000001',
      readAtMs: 1_700_000_060_000,
      temperatureCelsius: 30,
    },
  ],
};
