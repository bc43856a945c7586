// What has a price: LeZeA's names for it, the rate that the configuration gives it, and the columns that measure it. Pure.

import type { ColumnName } from '../native/frame.js';

/** Section `cost` of the configuration: prices of one unit, null where there is none. */
export interface CostSettings {
  /** ISO 4217. */
  currency: string;
  gpu_per_hour: number | null;
  cpu_per_core_hour: number | null;
  ram_per_gb_hour: number | null;
  io_per_gb: number | null;
  egress_per_gb: number | null;
  storage_per_gb_month: number | null;
  gpu_memory_per_gb_hour: number | null;
  energy_per_kwh: number | null;
  /** What of a GPU is paid for: time in which it worked, or in which it was held. */
  gpu_basis: 'active' | 'allocated';
}

interface Resource {
  /** Where its rate is configured. */
  setting: Exclude<keyof CostSettings, 'currency' | 'gpu_basis'>;
  /** Its name among the rates and among the components, before the currency. */
  rate: string;
  component: string;
  /** Whose sum is what is used of it; none: it is not measured. */
  columns: readonly ColumnName[];
  /** Native units of those columns in what the price is of. */
  natives: bigint;
}

const SECOND_NS = 1_000_000_000n;
const HOUR_NS = 3600n * SECOND_NS;
const GB = 1_000_000_000n;

/** By LeZeA's name of the amount, in its order; GB is 10⁹ bytes. */
export const RESOURCES = {
  gpu_hours: {
    setting: 'gpu_per_hour',
    rate: 'gpu_hour',
    component: 'gpu',
    columns: ['gpu_active_seconds'],
    natives: HOUR_NS,
  },
  cpu_core_hours: {
    setting: 'cpu_per_core_hour',
    rate: 'cpu_core_hour',
    component: 'cpu',
    columns: ['cpu_seconds'],
    natives: HOUR_NS,
  },
  ram_gb_hours: {
    setting: 'ram_per_gb_hour',
    rate: 'ram_gb_hour',
    component: 'ram',
    columns: ['memory_byte_seconds'],
    natives: GB * HOUR_NS,
  },
  io_gb: {
    setting: 'io_per_gb',
    rate: 'io_gb',
    component: 'io',
    columns: ['io_read_bytes', 'io_write_bytes'],
    natives: GB,
  },
  egress_gb: { setting: 'egress_per_gb', rate: 'egress_gb', component: 'egress', columns: [], natives: GB },
  storage_gb_months: {
    setting: 'storage_per_gb_month',
    rate: 'storage_gb_month',
    component: 'storage',
    columns: [],
    natives: GB * 730n * HOUR_NS,
  },
  gpu_mem_gb_hours: {
    setting: 'gpu_memory_per_gb_hour',
    rate: 'gpu_mem_gb_hour',
    component: 'gpu_mem',
    columns: ['gpu_memory_byte_seconds'],
    natives: GB * HOUR_NS,
  },
  energy_kwh: {
    setting: 'energy_per_kwh',
    rate: 'energy_kwh',
    component: 'energy',
    columns: ['cpu_energy_joules', 'gpu_energy_joules'],
    natives: 3_600_000_000_000n,
  },
} as const satisfies Record<string, Resource>;

export type ResourceName = keyof typeof RESOURCES;

export const RESOURCE_NAMES = Object.keys(RESOURCES) as ResourceName[];

/** Of which there are figures. */
export const MEASURED = RESOURCE_NAMES.filter((name) => RESOURCES[name].columns.length > 0);

/** Whose sum is what was used of it. */
export function columnsOf(name: ResourceName, { gpu_basis: basis }: Pick<CostSettings, 'gpu_basis'>) {
  return name === 'gpu_hours' && basis === 'allocated'
    ? (['gpu_allocated_seconds'] as const)
    : RESOURCES[name].columns;
}

/** What there is a price for, in 10⁻⁹ of the currency. */
export function ratesOf(settings: CostSettings): Map<ResourceName, bigint> {
  const rates = new Map<ResourceName, bigint>();
  for (const name of RESOURCE_NAMES) {
    const rate = settings[RESOURCES[name].setting];
    // The configuration takes no finer one.
    if (rate !== null) rates.set(name, BigInt(Math.round(rate * 1e9)));
  }
  return rates;
}
