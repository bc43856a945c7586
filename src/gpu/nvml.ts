// What NVML says of this node's GPUs, in the words of a report. Reads a poller's snapshot; owns nothing.

import { known } from '../inventory/hardware.js';
import type { NvmlDevice, NvmlFigures, NvmlSnapshot } from '../native/addon.js';
import type { GpuDevice, GpuReport } from './device.js';

/** `monotonicNs`: CLOCK_MONOTONIC at `nowMs`, which is the wall clock. */
export function reportOfNvml(
  { driverVersion, cudaVersion, devices, xids }: NvmlSnapshot,
  { nowMs, monotonicNs }: { nowMs: number; monotonicNs: bigint },
): GpuReport {
  return {
    source: 'nvml',
    ...known('driverVersion', driverVersion),
    ...known('cudaVersion', cudaVersion === undefined ? undefined : versionText(cudaVersion)),
    devices: devices.map(({ facts, lost, figures }) => {
      const codes = xids.filter(({ uuid }) => uuid === facts.uuid).map(({ code, count }) => [code, count]);
      return {
        ...factsOf(facts),
        isLost: lost,
        ...(figures && figuresOf(figures)),
        ...(figures && { readAtMs: nowMs - Number(monotonicNs - figures.tNs) / 1e6 }),
        ...(codes.length > 0 && { xids: Object.fromEntries(codes) }),
      };
    }),
  };
}

/** 12040 is 12.4. */
function versionText(version: number): string {
  return `${Math.floor(version / 1000)}.${Math.floor((version % 1000) / 10)}`;
}

function factsOf(facts: NvmlDevice['facts']): GpuDevice {
  const { name, computeMode, persistenceMode, migMode, powerLimitMilliwatts, ...same } = facts;
  return {
    ...same,
    ...known('model', name),
    ...known('computeMode', computeMode),
    ...known('persistenceMode', switched(persistenceMode)),
    ...known('migMode', switched(migMode)),
    ...known('powerLimitWatts', scaled(powerLimitMilliwatts, 1e-3)),
  };
}

function figuresOf(figures: NvmlFigures): Omit<GpuDevice, 'uuid'> {
  return {
    // Of MIG instances only the hardware's counters tell.
    ...known(
      'utilizationRatio',
      scaled(figures.utilizationPercent, 1e-2) ?? scaled(figures.gpmGraphicsActivePpm, 1e-6),
    ),
    ...known('memoryBusyRatio', scaled(figures.memoryUtilizationPercent, 1e-2)),
    ...known('smActiveRatio', scaled(figures.gpmSmActivePpm, 1e-6)),
    ...known('smOccupancyRatio', scaled(figures.gpmSmOccupancyPpm, 1e-6)),
    ...known('memoryBandwidthRatio', scaled(figures.gpmMemoryBandwidthPpm, 1e-6)),
    ...known('memoryUsedBytes', figures.memoryUsedBytes),
    ...known('memoryReservedBytes', figures.memoryReservedBytes),
    ...known('memoryFreeBytes', figures.memoryFreeBytes),
    ...known('powerWatts', scaled(figures.powerAverageMilliwatts ?? figures.powerInstantMilliwatts, 1e-3)),
    ...known('instantPowerWatts', scaled(figures.powerInstantMilliwatts, 1e-3)),
    ...known('temperatureCelsius', figures.temperatureCelsius),
    ...known('memoryTemperatureCelsius', figures.memoryTemperatureCelsius),
    ...known('fanSpeedRatio', scaled(figures.fanPercent, 1e-2)),
    ...known('smClockHertz', scaled(figures.smClockMhz, 1e6)),
    ...known('memoryClockHertz', scaled(figures.memoryClockMhz, 1e6)),
    ...known('energyJoules', scaled(figures.energyUj, 1e-6)),
    throttleSeconds: {
      ...known('power', scaled(figures.throttlePowerNs, 1e-9)),
      ...known('software_thermal', scaled(figures.throttleSoftwareThermalNs, 1e-9)),
      ...known('hardware_thermal', scaled(figures.throttleHardwareThermalNs, 1e-9)),
      ...known('power_brake', scaled(figures.throttlePowerBrakeNs, 1e-9)),
    },
    nvlinkBytes: {
      ...known('transmit', figures.nvlinkTransmittedBytes),
      ...known('receive', figures.nvlinkReceivedBytes),
    },
    pcieBytes: {
      ...known('transmit', figures.pcieTransmittedBytes),
      ...known('receive', figures.pcieReceivedBytes),
    },
    eccErrors: {
      ...known('corrected', figures.eccCorrected),
      ...known('uncorrected', figures.eccUncorrected),
    },
    remappedRows: {
      ...known('correctable', figures.remappedCorrectableRows),
      ...known('uncorrectable', figures.remappedUncorrectableRows),
    },
    rowRemapping: {
      ...known(
        'pending',
        figures.remappingPending === undefined ? undefined : Number(figures.remappingPending),
      ),
      ...known('failed', figures.remappingFailed === undefined ? undefined : Number(figures.remappingFailed)),
    },
  };
}

/** Divided where the factor is below one: 29 / 100 is 0.29, 29 * 0.01 is not. */
function scaled(value: number | undefined, factor: number): number | undefined {
  if (value === undefined) return undefined;
  return factor < 1 ? value / Math.round(1 / factor) : value * factor;
}

function switched(on: boolean | undefined): string | undefined {
  return on === undefined ? undefined : on ? 'Enabled' : 'Disabled';
}
