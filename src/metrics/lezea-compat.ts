// The families that LeZeA's alert rules and dashboards read, by their names and labels (`metrics.lezea_compat`). Reads the
// node figures, GPUs, the space of local file systems and how the places of delivery do; emits families. Owns the CPU clocks of
// the reading before.

import type { SinkFigures } from '../delivery/outbox.js';
import type { GpuDevice } from '../gpu/device.js';
import type { NodeFigure } from '../native/addon.js';
import type { FamilyHeader } from './encoder.js';
import { type FileSystemSpace, FileSystems } from './file-systems.js';
import { lezeaLabels } from './gpus.js';
import type { Figure } from './registry.js';

export interface LezeaInput {
  node: readonly NodeFigure[];
  space: readonly FileSystemSpace[];
  sinks: readonly SinkFigures[];
  gpus: readonly GpuDevice[];
}

interface LezeaFamily extends FamilyHeader {
  figures(input: LezeaInput, cpu: CpuUtilization): Figure[] | number | undefined;
}

const NETWORK = ['interface'];
const MOUNT = ['mount_point'];
const GPU = ['gpu_id', 'gpu_name'];

const FAMILIES: readonly LezeaFamily[] = [
  {
    name: 'lezea_cpu_utilization_percent',
    type: 'gauge',
    help: 'Share of all CPUs’ time that was not idle, 0 to 100, since the scrape before, over a second at least.',
    figures: (_, cpu) => cpu.percent,
  },
  {
    name: 'lezea_memory_total_bytes',
    type: 'gauge',
    help: 'Memory of the machine.',
    figures: ({ node }) => figureOf(node, 'memory_MemTotal_bytes'),
  },
  {
    name: 'lezea_memory_available_bytes',
    type: 'gauge',
    help: 'Memory that programs can have without swapping, as the kernel estimates it.',
    figures: ({ node }) => figureOf(node, 'memory_MemAvailable_bytes'),
  },
  {
    name: 'lezea_memory_used_bytes',
    type: 'gauge',
    help: 'Memory that is not available.',
    figures: ({ node }) => {
      const total = figureOf(node, 'memory_MemTotal_bytes');
      const available = figureOf(node, 'memory_MemAvailable_bytes');
      return total === undefined || available === undefined ? undefined : total - available;
    },
  },
  {
    name: 'lezea_disk_total_bytes',
    type: 'gauge',
    labels: MOUNT,
    help: 'Size of a local file system.',
    figures: ({ space }) => space.map((one) => ({ labels: mount(one), value: one.totalBytes })),
  },
  {
    name: 'lezea_disk_used_bytes',
    type: 'gauge',
    labels: MOUNT,
    help: 'What is not free of a local file system.',
    figures: ({ space }) => space.map((one) => ({ labels: mount(one), value: one.usedBytes })),
  },
  {
    name: 'lezea_network_bytes_received_total',
    type: 'counter',
    labels: NETWORK,
    help: 'What the interface received.',
    figures: ({ node }) => perInterface(node, 'network_receive_bytes_total'),
  },
  {
    name: 'lezea_network_bytes_sent_total',
    type: 'counter',
    labels: NETWORK,
    help: 'What the interface sent.',
    figures: ({ node }) => perInterface(node, 'network_transmit_bytes_total'),
  },
  {
    name: 'lezea_gpu_utilization_percent',
    type: 'gauge',
    labels: GPU,
    help: 'Share of time in which any kernel ran, 0 to 100.',
    figures: ({ gpus }) =>
      perGpu(gpus, ({ utilizationRatio: ratio }) => ratio && Math.round(ratio * 1e9) / 1e7),
  },
  {
    name: 'lezea_gpu_power_draw_watts',
    type: 'gauge',
    labels: GPU,
    help: 'Power that it draws.',
    figures: ({ gpus }) => perGpu(gpus, ({ powerWatts }) => powerWatts),
  },
  {
    name: 'lezea_service_up',
    type: 'gauge',
    labels: ['service_name', 'service_type'],
    help:
      'The agent (`lezea-monitor`, `monitoring`): 1. A place of delivery (its kind is the type): 1 where the last request ' +
      'was answered, 0 where it failed; none before the first.',
    figures: ({ sinks }) => [
      { labels: { service_name: 'lezea-monitor', service_type: 'monitoring' }, value: 1 },
      ...sinks.flatMap(placeUp),
    ],
  },
];

/** For the reference. */
export const LEZEA_FAMILIES: readonly FamilyHeader[] = FAMILIES;

export class LezeaCompat {
  readonly #fileSystems: Pick<FileSystems, 'space'>;
  readonly #cpu: CpuUtilization;

  /** now: monotonic, milliseconds. */
  constructor(fileSystems: Pick<FileSystems, 'space'> = new FileSystems(), now = () => performance.now()) {
    this.#fileSystems = fileSystems;
    this.#cpu = new CpuUtilization(now);
  }

  /** The families of now that have figures. */
  async families(input: Omit<LezeaInput, 'space'>): Promise<{ header: FamilyHeader; figures: Figure[] }[]> {
    const space = await this.#fileSystems.space();
    this.#cpu.read(input.node);
    return FAMILIES.flatMap(({ figures: ask, ...header }) => {
      const said = ask({ ...input, space }, this.#cpu) ?? [];
      const figures = typeof said === 'number' ? [{ value: said }] : said;
      return figures.length === 0 ? [] : [{ header, figures }];
    });
  }
}

/** Scrapes that come closer together are answered with the same figure, milliseconds. */
const MIN_SPAN_MS = 1000;
const IDLE_MODES = new Set(['idle', 'iowait']);
/** Guests' time is in their hosts' mode already. */
const COUNTED_TWICE = new Set(['guest', 'guest_nice']);

class CpuUtilization {
  /** 0 to 100; undefined before the second reading. */
  percent: number | undefined;
  readonly #now: () => number;
  #before: { at: number; busy: number; all: number } | undefined;

  constructor(now: () => number) {
    this.#now = now;
  }

  read(node: readonly NodeFigure[]): void {
    const at = this.#now();
    const before = this.#before;
    if (before !== undefined && at - before.at < MIN_SPAN_MS) return;
    let [busy, all] = [0, 0];
    for (const { name, labels, value } of node) {
      const mode = labels.mode ?? '';
      if (name !== 'cpu_seconds_total' || COUNTED_TWICE.has(mode)) continue;
      all += value;
      if (!IDLE_MODES.has(mode)) busy += value;
    }
    // Node figures are read once a second: the same reading again says nothing new. A CPU that went away says nothing true.
    if (before !== undefined && all === before.all) return;
    const [spent, whole] = before === undefined ? [0, 0] : [busy - before.busy, all - before.all];
    this.percent = whole > 0 ? Math.min(100, Math.max(0, (spent / whole) * 100)) : undefined;
    this.#before = all > 0 ? { at, busy, all } : undefined;
  }
}

function figureOf(node: readonly NodeFigure[], wanted: string): number | undefined {
  return node.find(({ name }) => name === wanted)?.value;
}

function perInterface(node: readonly NodeFigure[], wanted: string): Figure[] {
  return node.flatMap(({ name, labels, value }) =>
    name === wanted && labels.device !== undefined ? [{ labels: { interface: labels.device }, value }] : [],
  );
}

function perGpu(gpus: readonly GpuDevice[], figure: (gpu: GpuDevice) => number | undefined): Figure[] {
  return gpus.flatMap((gpu) => {
    const value = figure(gpu);
    return value === undefined ? [] : [{ labels: lezeaLabels(gpu), value }];
  });
}

function mount({ mountPoint }: FileSystemSpace): Record<string, string> {
  return { mount_point: mountPoint };
}

function placeUp({ sink, failures, deliveredMs }: SinkFigures): Figure[] {
  const [kind = ''] = sink.split(' ', 1);
  if (kind.startsWith('(') || (failures === 0 && deliveredMs === undefined)) return [];
  return [{ labels: { service_name: sink, service_type: kind }, value: failures === 0 ? 1 : 0 }];
}
