// The hardware as the kernel's files tell of it: /proc/cpuinfo, /proc/meminfo, /sys. Reads only; owns nothing.

import { createHash } from 'node:crypto';
import type { Disk, Hardware, NetworkInterface } from './document.js';
import type { Files } from './files.js';
import { canonicalJson } from './fingerprint.js';

const SECTOR_BYTES = 512;
const GIB = 1024 ** 3;
/** Disks that are no hardware. */
const VIRTUAL_DISK = /^(?:loop|ram|zram|dm-|md|nbd|sr|fd)\d/;

export function readHardware(files: Files): Hardware {
  return {
    cpu: readCpu(files),
    ...known('memory_gib', gib(meminfo(files.text('proc/meminfo'), 'MemTotal'))),
    numa: readNuma(files),
    disks: readDisks(files),
    network: readNetwork(files),
    board: readBoard(files),
    ...known('gpus', readGpus(files)),
    ...known('virtual', isVirtual(files)),
  };
}

/** `key : value` lines of one block. */
function fieldsOf(block: string): Map<string, string> {
  const fields = new Map<string, string>();
  for (const line of block.split('\n')) {
    const [, key, value] = /^([^:]+?)\s*:\s*(.*)$/.exec(line) ?? [];
    if (key !== undefined && value !== undefined && value !== '') fields.set(key, value.trim());
  }
  return fields;
}

function cpuBlocks(files: Files): Map<string, string>[] {
  const text = files.text('proc/cpuinfo');
  if (text === undefined) return [];
  return text
    .split(/\n\s*\n/)
    .map(fieldsOf)
    .filter((fields) => fields.has('processor'));
}

function readCpu(files: Files): Hardware['cpu'] {
  const blocks = cpuBlocks(files);
  const first = blocks[0] ?? new Map<string, string>();
  const cores = new Set(blocks.map((block) => `${block.get('physical id')}/${block.get('core id')}`));
  const sockets = new Set(blocks.map((block) => block.get('physical id')));
  // Arm's kernel tells neither of them.
  const hasTopology = first.has('physical id') && first.has('core id');
  const flags = first.get('flags') ?? first.get('Features');
  return {
    ...known('vendor', first.get('vendor_id') ?? first.get('CPU implementer')),
    ...known('model', first.get('model name')),
    ...known('family', first.get('cpu family') ?? first.get('CPU architecture')),
    ...known('model_number', first.get('model') ?? first.get('CPU part')),
    ...known('stepping', first.get('stepping') ?? first.get('CPU revision')),
    ...known('microcode', first.get('microcode')),
    ...(hasTopology && { sockets: sockets.size, cores: cores.size }),
    ...(blocks.length > 0 && { threads: blocks.length }),
    ...(flags !== undefined && { flags_sha256: sha256(flags.split(/\s+/).sort().join(' ')) }),
  };
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/** A line of /proc/meminfo, or of a NUMA node's, in bytes. */
export function meminfo(text: string | undefined, name: string): number | undefined {
  const [, kib] = new RegExp(`${name}:\\s*(\\d+) kB`).exec(text ?? '') ?? [];
  return kib === undefined ? undefined : Number(kib) * 1024;
}

function gib(bytes: number | undefined): number | undefined {
  return bytes === undefined ? undefined : Math.round(bytes / GIB);
}

function readNuma(files: Files): Hardware['numa'] {
  const folder = 'sys/devices/system/node';
  return files
    .names(folder)
    .filter((name) => /^node\d+$/.test(name))
    .map((name) => ({
      node: Number(name.slice('node'.length)),
      cpus: files.text(`${folder}/${name}/cpulist`) ?? '',
      ...known('memory_gib', gib(meminfo(files.text(`${folder}/${name}/meminfo`), 'MemTotal'))),
    }));
}

/** Names of the disks that are built in. */
export function diskNames(files: Files): string[] {
  return files
    .names('sys/block')
    .filter((name) => !VIRTUAL_DISK.test(name) && files.number(`sys/block/${name}/removable`) !== 1);
}

/** In an order that does not depend on which was found first. */
function readDisks(files: Files): Disk[] {
  return diskNames(files)
    .map((name) => {
      const folder = `sys/block/${name}`;
      const rotational = files.number(`${folder}/queue/rotational`);
      return {
        ...known('model', files.text(`${folder}/device/model`)),
        // NVMe, SCSI.
        ...known(
          'firmware',
          files.text(`${folder}/device/firmware_rev`) ?? files.text(`${folder}/device/rev`),
        ),
        ...known('size_bytes', diskBytes(files, name)),
        ...(rotational !== undefined && { rotational: rotational === 1 }),
        ...known('transport', transportOf(files, name)),
      };
    })
    .sort((one, other) => (canonicalJson(one) < canonicalJson(other) ? -1 : 1));
}

export function diskBytes(files: Files, name: string): number | undefined {
  const sectors = files.number(`sys/block/${name}/size`);
  return sectors === undefined ? undefined : sectors * SECTOR_BYTES;
}

function transportOf(files: Files, name: string): string | undefined {
  const path = files.linkTarget(`sys/block/${name}`) ?? '';
  for (const transport of ['nvme', 'virtio', 'usb', 'ata', 'mmc', 'vmbus', 'xen'])
    if (path.includes(`/${transport}`)) return transport === 'ata' ? 'sata' : transport;
  return undefined;
}

/** Names of the interfaces with a device behind them: no bridges, tunnels and the like, nor virtual functions. */
export function networkNames(files: Files): string[] {
  const device = (name: string) => `sys/class/net/${name}/device`;
  return files
    .names('sys/class/net')
    .filter(
      (name) =>
        files.linkTarget(device(name)) !== undefined &&
        files.linkTarget(`${device(name)}/physfn`) === undefined,
    );
}

function readNetwork(files: Files): NetworkInterface[] {
  return networkNames(files).map((name) => {
    const folder = `sys/class/net/${name}`;
    return {
      name,
      ...known('driver', files.linkName(`${folder}/device/driver`)),
      ...known('vendor_id', files.text(`${folder}/device/vendor`)),
      ...known('device_id', files.text(`${folder}/device/device`)),
      // InfiniBand and RoCE adapters say it; of others only an ioctl tells.
      ...known('firmware', firmwareOf(files, `${folder}/device/infiniband`)),
    };
  });
}

function firmwareOf(files: Files, folder: string): string | undefined {
  const [adapter] = files.names(folder);
  return adapter === undefined ? undefined : files.text(`${folder}/${adapter}/fw_ver`);
}

function readBoard(files: Files): Hardware['board'] {
  const dmi = (name: string) => files.text(`sys/class/dmi/id/${name}`);
  return {
    ...known('system_vendor', dmi('sys_vendor')),
    ...known('system_product', dmi('product_name')),
    ...known('board_vendor', dmi('board_vendor')),
    ...known('board_product', dmi('board_name')),
    ...known('bios_vendor', dmi('bios_vendor')),
    ...known('bios_version', dmi('bios_version')),
    ...known('bios_date', dmi('bios_date')),
  };
}

/** As the NVIDIA kernel driver lists them; undefined where there is no driver to say it. */
export function readGpus(files: Files): Hardware['gpus'] {
  if (files.text('proc/driver/nvidia/version') === undefined) return undefined;
  const folder = 'proc/driver/nvidia/gpus';
  return files.names(folder).map((bus) => {
    const fields = fieldsOf(files.text(`${folder}/${bus}/information`) ?? '');
    return {
      ...known('uuid', fields.get('GPU UUID')),
      ...known('model', fields.get('Model')),
      ...known('vbios', fields.get('Video BIOS')),
      bus,
    };
  });
}

function isVirtual(files: Files): boolean | undefined {
  const [first] = cpuBlocks(files);
  const flags = first?.get('flags');
  return flags === undefined ? undefined : flags.split(/\s+/).includes('hypervisor');
}

/** A field of its own, or none. */
export function known<K extends string, V>(key: K, value: V | undefined): { [key in K]?: V } {
  return (value === undefined ? {} : { [key]: value }) as { [key in K]?: V };
}
