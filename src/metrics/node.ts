// The node families, lezea_node_*: what the sampler read of the whole machine at its last reading. Names, labels and
// meanings are node_exporter's behind our prefix, but in snake case throughout (promtool wants it): MemTotal is
// mem_total. Reads NodeFigures; emits families with their figures.

import type { NodeFigure } from '../native/addon.js';
import type { FamilyHeader } from './encoder.js';
import type { Figure } from './registry.js';

export const NODE_PREFIX = 'lezea_node_';

interface NodeGroup {
  /** Names of the group, without the prefix. */
  names: RegExp;
  /** The same for the reference. */
  shownAs: string;
  type: FamilyHeader['type'];
  labels: readonly string[];
  help: string;
}

function group(
  shownAs: string,
  type: FamilyHeader['type'],
  help: string,
  labels: readonly string[] = [],
): NodeGroup {
  // `<x>` stands for a word that the kernel chooses.
  return { names: new RegExp(`^${shownAs.replace(/<[a-z]+>/g, '\\w+')}$`), shownAs, type, labels, help };
}

/** Every family of the machine; what the kernel does not give is left out. */
export const NODE_GROUPS: readonly NodeGroup[] = [
  group('cpu_seconds_total', 'counter', 'Time each CPU spent in each mode.', ['cpu', 'mode']),
  group('context_switches_total', 'counter', 'Context switches of the machine.'),
  group('forks_total', 'counter', 'Processes and threads begun on the machine.'),
  group('boot_time_seconds', 'gauge', 'When the machine was booted, seconds since 1970.'),
  group('procs_running', 'gauge', 'Threads that run or could run.'),
  group('procs_blocked', 'gauge', 'Threads that wait for IO.'),
  group('load<minutes>', 'gauge', 'Load average over so many minutes.'),
  group('memory_<name>_bytes', 'gauge', 'Line of that name of /proc/meminfo (MemTotal is `mem_total`).'),
  group(
    'pressure_<resource>_waiting_seconds_total',
    'counter',
    'Time in which some task waited for the resource.',
  ),
  group(
    'pressure_<resource>_stalled_seconds_total',
    'counter',
    'Time in which every task waited for the resource.',
  ),
  group('disk_read_bytes_total', 'counter', 'Bytes read from the disk.', ['device']),
  group('disk_written_bytes_total', 'counter', 'Bytes written to the disk.', ['device']),
  group('disk_reads_completed_total', 'counter', 'Reads that the disk completed.', ['device']),
  group('disk_writes_completed_total', 'counter', 'Writes that the disk completed.', ['device']),
  group('disk_io_time_seconds_total', 'counter', 'Time in which the disk had requests.', ['device']),
  group('rapl_package_joules_total', 'counter', 'Energy of the CPU package (RAPL).', ['index', 'path']),
  group('rapl_dram_joules_total', 'counter', 'Energy of the memory at a CPU package (RAPL).', [
    'index',
    'path',
  ]),
  group('network_receive_<what>_total', 'counter', 'What the interface received.', ['device']),
  group('network_transmit_<what>_total', 'counter', 'What the interface sent.', ['device']),
];

/** `memory_MemTotal_bytes` as `memory_mem_total_bytes`, `memory_Committed_AS_bytes` as `memory_committed_as_bytes`. */
export function snakeCase(name: string): string {
  return name.replace(/([a-z])([A-Z])/g, '$1_$2').toLowerCase();
}

function helpOf(name: string): string {
  return NODE_GROUPS.find(({ names }) => names.test(name))?.help ?? 'Figure of the machine.';
}

interface NodeFamily {
  header: FamilyHeader;
  figures: Figure[];
}

/** The families of these figures, each once, in the order in which the sampler names them. */
export function nodeFamilies(figures: readonly NodeFigure[]): NodeFamily[] {
  const families = new Map<string, NodeFamily>();
  for (const { name: kernelName, labels, value, kind } of figures) {
    const name = snakeCase(kernelName);
    let family = families.get(name);
    if (family === undefined) {
      family = { header: { name: NODE_PREFIX + name, type: kind, help: helpOf(name) }, figures: [] };
      families.set(name, family);
    }
    family.figures.push({ labels, value });
  }
  return [...families.values()];
}
