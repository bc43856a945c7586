// The software of the node, and what changes from boot to boot. Reads /proc, /sys, /etc/os-release and this process; owns
// nothing.

import { arch, hostname } from 'node:os';
import type { Software, Volatile } from './document.js';
import type { Files } from './files.js';
import { known, meminfo, networkNames } from './hardware.js';

const CPU = 'sys/devices/system/cpu/cpu0/cpufreq';
const KHZ_PER_MHZ = 1000;

export function readSoftware(files: Files): Software {
  const os = osRelease(files);
  return {
    os: {
      ...known('id', os.get('ID')),
      ...known('version', os.get('VERSION_ID')),
      ...known('name', os.get('PRETTY_NAME')),
    },
    kernel: {
      release: files.text('proc/sys/kernel/osrelease') ?? '',
      ...known('version', files.text('proc/sys/kernel/version')),
      architecture: arch(),
    },
    ...known('glibc', glibcVersion()),
    ...known('nvidia_driver', nvidiaDriver(files)),
    ...known('container', containerOf(files)),
  };
}

/** Newer than the types: what the report says of connections has the names of both ends, for which it asks the network. */
type Report = NodeJS.ProcessReport & { excludeNetwork?: boolean };

let glibc: { version?: string } | undefined;

/** Of this process: it stays the same, and the report that says it takes 15 ms. Without the network, or not at all. */
function glibcVersion(): string | undefined {
  const report = process.report as Report;
  if (!glibc && report.excludeNetwork !== undefined) {
    const before = report.excludeNetwork;
    report.excludeNetwork = true;
    const { header } = report.getReport() as { header?: { glibcVersionRuntime?: string } };
    report.excludeNetwork = before;
    glibc = known('version', header?.glibcVersionRuntime);
  }
  return glibc?.version;
}

/** Shell-like assignments: ID=debian, VERSION_ID="12". */
function osRelease(files: Files): Map<string, string> {
  const fields = new Map<string, string>();
  const text = files.text('etc/os-release') ?? files.text('usr/lib/os-release') ?? '';
  for (const line of text.split('\n')) {
    const [, key, value] = /^([A-Z_]+)=["']?(.*?)["']?$/.exec(line) ?? [];
    if (key && value) fields.set(key, value);
  }
  return fields;
}

/** `NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 …`. */
export function nvidiaDriver(files: Files): string | undefined {
  const text = files.text('proc/driver/nvidia/version') ?? '';
  return /\s(\d+\.\d+(?:\.\d+)?)\s/.exec(text)?.[1];
}

function containerOf(files: Files): string | undefined {
  if (files.exists('var/run/secrets/kubernetes.io/serviceaccount')) return 'kubernetes';
  if (files.exists('run/.containerenv')) return 'podman';
  // systemd and most container managers leave it: docker, lxc, systemd-nspawn, …
  const named = files.text('run/systemd/container');
  if (named !== undefined) return named;
  return files.names('').includes('.dockerenv') ? 'docker' : undefined;
}

export function readVolatile(files: Files): Volatile {
  const [, bootedSeconds] = /^btime (\d+)$/m.exec(files.text('proc/stat') ?? '') ?? [];
  const khz = files.number(`${CPU}/cpuinfo_max_freq`);
  const cgroup = ownCgroup(files);
  const memory = files.text('proc/meminfo');
  return {
    hostname: hostname(),
    ...known('boot_id', files.text('proc/sys/kernel/random/boot_id')),
    ...(bootedSeconds !== undefined && {
      booted_at: new Date(Number(bootedSeconds) * 1000).toISOString(),
    }),
    ...known('swap_total_bytes', meminfo(memory, 'SwapTotal')),
    link_mbit: linkSpeeds(files),
    ...known('cpu_governor', files.text(`${CPU}/scaling_governor`)),
    ...(khz !== undefined && { cpu_max_mhz: khz / KHZ_PER_MHZ }),
    ...known('memory_available_bytes', meminfo(memory, 'MemAvailable')),
    ...known('cgroup_memory_max_bytes', files.number(`${cgroup}/memory.max`)),
    ...known('cgroup_cpu_max', cpuMax(files.text(`${cgroup}/cpu.max`))),
  };
}

function linkSpeeds(files: Files): Record<string, number> {
  // -1 without a link.
  const speeds = networkNames(files).map(
    (name) => [name, files.number(`sys/class/net/${name}/speed`)] as const,
  );
  return Object.fromEntries(speeds.filter((entry): entry is [string, number] => entry[1] !== undefined));
}

function ownCgroup(files: Files): string {
  const [, path = '/'] = /^0::(\/.*)$/m.exec(files.text('proc/self/cgroup') ?? '') ?? [];
  return `sys/fs/cgroup${path}`;
}

/** `150000 100000`: quota and period; `max`: no limit. */
function cpuMax(text: string | undefined): number | undefined {
  const [, quota, period] = /^(\d+) (\d+)$/.exec(text ?? '') ?? [];
  return quota === undefined ? undefined : Number(quota) / Number(period);
}
