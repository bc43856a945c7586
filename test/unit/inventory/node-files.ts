// The files of an imaginary node, below a folder of their own.

import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { onTestFinished } from 'vitest';
import { Files } from '../../../src/inventory/files.js';

const CPU = (processor: number, core: number) => `processor\t: ${processor}
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 143
model name\t: Intel(R) Xeon(R) Platinum 8480+
stepping\t: 8
microcode\t: 0x2b0004d0
physical id\t: ${processor % 2}
core id\t\t: ${core}
flags\t\t: sse2 avx512f fpu
`;

const TEXTS: Readonly<Record<string, string>> = {
  'proc/cpuinfo': [CPU(0, 0), CPU(1, 0), CPU(2, 0), CPU(3, 0)].join('\n'),
  'proc/meminfo': 'MemTotal:       131072000 kB\nMemAvailable:   99000000 kB\nSwapTotal:      1024 kB\n',
  'proc/stat': 'cpu 1 2 3\nbtime 1790000000\n',
  'proc/self/cgroup': '0::/system.slice/lezea-monitor.service\n',
  'proc/sys/kernel/osrelease': '6.8.0-45-generic\n',
  'proc/sys/kernel/version': '#45-Ubuntu SMP\n',
  'proc/sys/kernel/random/boot_id': '11111111-2222-3333-4444-555555555555\n',
  'proc/driver/nvidia/version':
    'NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.15  Release Build\nGCC version:\n',
  'proc/driver/nvidia/gpus/0000:1b:00.0/information':
    'Model: \t\t NVIDIA H100 80GB HBM3\nGPU UUID: \t GPU-3a\nVideo BIOS: \t 96.00.74.00.01\n',
  'etc/os-release': 'ID=ubuntu\nVERSION_ID="24.04"\nPRETTY_NAME="Ubuntu 24.04 LTS"\n',
  'sys/class/dmi/id/sys_vendor': 'Supermicro\n',
  'sys/class/dmi/id/bios_version': '1.4\n',
  'sys/devices/system/node/node0/cpulist': '0,2\n',
  'sys/devices/system/node/node0/meminfo': 'Node 0 MemTotal:       65536000 kB\n',
  'sys/devices/system/node/node1/cpulist': '1,3\n',
  'sys/fs/cgroup/system.slice/lezea-monitor.service/memory.max': '536870912\n',
  'sys/fs/cgroup/system.slice/lezea-monitor.service/cpu.max': '150000 100000\n',
  'sys/devices/pci0/nvme/nvme0n1/size': '1000\n',
  'sys/devices/pci0/nvme/nvme0n1/device/model': 'SAMSUNG MZQL2\n',
  'sys/devices/pci0/nvme/nvme0n1/device/firmware_rev': 'GDC5902Q\n',
  'sys/devices/pci0/nvme/nvme0n1/queue/rotational': '0\n',
  'sys/devices/pci0/nvme/nvme1n1/size': '2000\n',
  'sys/devices/pci0/nvme/nvme1n1/device/model': 'MICRON 7450\n',
  'sys/devices/virtual/loop0/size': '7\n',
  'sys/devices/pci0/mlx/device/vendor': '0x15b3\n',
  'sys/devices/pci0/mlx/device/infiniband/mlx5_0/fw_ver': '28.39.1002\n',
  'sys/devices/pci0/mlx/speed': '400000\n',
  'sys/devices/virtual/docker0/speed': '-1\n',
};

const LINKS: Readonly<Record<string, string>> = {
  'sys/block/nvme0n1': '../devices/pci0/nvme/nvme0n1',
  'sys/block/nvme1n1': '../devices/pci0/nvme/nvme1n1',
  'sys/block/loop0': '../devices/virtual/loop0',
  'sys/class/net/ens1': '../../devices/pci0/mlx',
  'sys/class/net/docker0': '../../devices/virtual/docker0',
  'sys/devices/pci0/mlx/device/driver': '../../../../bus/pci/drivers/mlx5_core',
};
/** A device's own link leads to a folder that holds its files here. */
const DEVICE = 'sys/devices/pci0/mlx/device';

/** With some files other, or (undefined) not there. */
export function nodeFiles(changed: Readonly<Record<string, string | undefined>> = {}): Files {
  const root = mkdtempSync(join(tmpdir(), 'lezea-node-'));
  onTestFinished(() => rmSync(root, { recursive: true }));
  for (const [path, text] of Object.entries({ ...TEXTS, ...changed })) {
    if (text === undefined) continue;
    const real = path.replace(DEVICE, 'sys/devices/pci0/card');
    mkdirSync(dirname(join(root, real)), { recursive: true });
    writeFileSync(join(root, real), text);
  }
  for (const [path, target] of Object.entries({ ...LINKS, [DEVICE]: '../card' })) {
    const real = path === DEVICE ? path : path.replace(DEVICE, 'sys/devices/pci0/card');
    mkdirSync(dirname(join(root, real)), { recursive: true });
    symlinkSync(target, join(root, real));
  }
  return new Files(root);
}
