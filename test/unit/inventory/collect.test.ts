// The environment document of an imaginary node, and what changes its fingerprint.

import { describe, expect, it, test, vi } from 'vitest';
import { collectEnvironment } from '../../../src/inventory/collect.js';
import { type Described, environment } from '../../../src/inventory/document.js';
import type { Files } from '../../../src/inventory/files.js';
import { differences } from '../../../src/inventory/fingerprint.js';
import { nodeFiles } from './node-files.js';

const TOLD: Described = {
  source: 'systeminformation',
  cpu: { name: 'Intel Xeon', sockets: 2, cores: 2, threads: 4 },
  disks: [],
};

function collected(files: Files = nodeFiles(), ask = async () => TOLD) {
  return collectEnvironment({ version: '0.1.0', nowMs: Date.UTC(2026, 10, 21), files, ask });
}

test('without anybody to ask, the kernel describes it, and that is no problem', async () => {
  const document = await collectEnvironment({ version: '0.1.0', nowMs: 0, files: nodeFiles(), ask: null });
  expect(environment.parse(document)).toEqual(document);
  expect(document).toMatchObject({ described: { source: 'files', cpu: { sockets: 2 } }, problems: [] });
  expect(document.fingerprint).toEqual((await collected()).fingerprint);
});

test('what the kernel says of a node is what the document says', async () => {
  const document = await collected();
  expect(environment.parse(document)).toEqual(document);
  expect(document.hardware).toEqual({
    cpu: {
      vendor: 'GenuineIntel',
      model: 'Intel(R) Xeon(R) Platinum 8480+',
      family: '6',
      model_number: '143',
      stepping: '8',
      microcode: '0x2b0004d0',
      sockets: 2,
      cores: 2,
      threads: 4,
      flags_sha256: expect.stringMatching(/^[0-9a-f]{64}$/),
    },
    memory_gib: 125,
    numa: [
      { node: 0, cpus: '0,2', memory_gib: 63 },
      { node: 1, cpus: '1,3' },
    ],
    disks: [
      {
        firmware: 'GDC5902Q',
        model: 'SAMSUNG MZQL2',
        rotational: false,
        size_bytes: 512_000,
        transport: 'nvme',
      },
      { model: 'MICRON 7450', size_bytes: 1_024_000, transport: 'nvme' },
    ],
    network: [{ name: 'ens1', driver: 'mlx5_core', vendor_id: '0x15b3', firmware: '28.39.1002' }],
    board: { system_vendor: 'Supermicro', bios_version: '1.4' },
    gpus: [{ uuid: 'GPU-3a', model: 'NVIDIA H100 80GB HBM3', vbios: '96.00.74.00.01', bus: '0000:1b:00.0' }],
    virtual: false,
  });
  expect(document.software).toMatchObject({
    os: { id: 'ubuntu', version: '24.04', name: 'Ubuntu 24.04 LTS' },
    kernel: { release: '6.8.0-45-generic', version: '#45-Ubuntu SMP' },
    nvidia_driver: '550.54.15',
  });
  expect(document.volatile).toMatchObject({
    boot_id: '11111111-2222-3333-4444-555555555555',
    booted_at: '2026-09-21T14:13:20.000Z',
    swap_total_bytes: 1_048_576,
    link_mbit: { ens1: 400_000 },
    cgroup_memory_max_bytes: 536_870_912,
    cgroup_cpu_max: 1.5,
  });
  expect(document).toMatchObject({ described: TOLD, problems: [], captured_at: '2026-11-21T00:00:00.000Z' });
});

test('where systeminformation fails, the kernel describes the node, and the fingerprint is the same', async () => {
  const files = nodeFiles();
  const failing = await collected(files, () => Promise.reject(new Error('exit status 1')));
  expect(failing.problems).toEqual([
    "systeminformation: exit status 1; described by the kernel's files instead",
  ]);
  expect(failing.described).toMatchObject({
    source: 'files',
    cpu: { name: 'Intel(R) Xeon(R) Platinum 8480+', threads: 4 },
    memory_bytes: 134_217_728_000,
    os: 'Ubuntu 24.04 LTS',
    system: 'Supermicro',
    disks: [
      { name: 'nvme0n1', model: 'SAMSUNG MZQL2', size_bytes: 512_000 },
      { name: 'nvme1n1', model: 'MICRON 7450', size_bytes: 1_024_000 },
    ],
  });
  expect(failing.fingerprint).toEqual((await collected(files)).fingerprint);
});

test('a node of which nothing can be read has a document all the same', async () => {
  const nothing = {
    text: () => undefined,
    number: () => undefined,
    names: () => [],
    linkName: () => undefined,
    linkTarget: () => undefined,
    exists: () => false,
  } as unknown as Files;
  const document = await collected(nothing, () => Promise.reject(new Error('no')));
  expect(environment.safeParse(document).success).toBe(true);
  expect(document.hardware.cpu).toEqual({});
});

test('without a driver nobody says how many GPUs there are', async () => {
  const { hardware } = await collected(nodeFiles({ 'proc/driver/nvidia/version': undefined }));
  expect(hardware).not.toHaveProperty('gpus');
});

test('nobody is asked for the names of those who are connected', async () => {
  const { getReport } = process.report;
  const excluded: unknown[] = [];
  vi.resetModules();
  const { readSoftware } = await import('../../../src/inventory/software.js');
  vi.spyOn(process.report, 'getReport').mockImplementation(() => {
    excluded.push((process.report as { excludeNetwork?: boolean }).excludeNetwork);
    return getReport.call(process.report);
  });
  expect(readSoftware(nodeFiles()).glibc).toMatch(/^\d+\.\d+$/);
  vi.restoreAllMocks();
  expect(excluded).toEqual([true]);
  expect((process.report as { excludeNetwork?: boolean }).excludeNetwork).toBe(false);
});

describe('the stable fingerprint', () => {
  const stable = async (changed: Record<string, string | undefined>) =>
    (await collected(nodeFiles(changed))).fingerprint.stable;

  it('is the same after a reboot', async () => {
    const after = {
      'proc/sys/kernel/random/boot_id': '99999999-2222-3333-4444-555555555555\n',
      'proc/stat': 'btime 1790086400\n',
      'proc/meminfo': 'MemTotal:       131071800 kB\nMemAvailable:   1 kB\nSwapTotal:      0 kB\n',
      'sys/devices/pci0/mlx/speed': '-1\n',
      // The disks were found in the other order.
      'sys/devices/pci0/nvme/nvme0n1/size': '2000\n',
      'sys/devices/pci0/nvme/nvme0n1/device/model': 'MICRON 7450\n',
      'sys/devices/pci0/nvme/nvme0n1/device/firmware_rev': undefined,
      'sys/devices/pci0/nvme/nvme0n1/queue/rotational': undefined,
      'sys/devices/pci0/nvme/nvme1n1/size': '1000\n',
      'sys/devices/pci0/nvme/nvme1n1/device/model': 'SAMSUNG MZQL2\n',
      'sys/devices/pci0/nvme/nvme1n1/device/firmware_rev': 'GDC5902Q\n',
      'sys/devices/pci0/nvme/nvme1n1/queue/rotational': '0\n',
    };
    const [before, rebooted] = [await collected(), await collected(nodeFiles(after))];
    expect(rebooted.fingerprint.stable).toBe(before.fingerprint.stable);
    expect(rebooted.fingerprint.volatile).not.toBe(before.fingerprint.volatile);
    const found = differences(before, rebooted);
    expect(found.every((one) => !one.stable)).toBe(true);
    expect(found.map(({ path }) => path)).toEqual([
      'volatile.boot_id',
      'volatile.booted_at',
      'volatile.swap_total_bytes',
      'volatile.link_mbit.ens1',
      'volatile.memory_available_bytes',
    ]);
  });

  it.each([
    ['microcode', 'proc/cpuinfo', (text: string) => text.replaceAll('0x2b0004d0', '0x2b000590')],
    ['driver', 'proc/driver/nvidia/version', (text: string) => text.replace('550.54.15', '555.42.02')],
    ['kernel', 'proc/sys/kernel/osrelease', () => '6.8.0-48-generic\n'],
    ['disk firmware', 'sys/devices/pci0/nvme/nvme0n1/device/firmware_rev', () => 'GDC5A02Q\n'],
    ['adapter firmware', 'sys/devices/pci0/mlx/device/infiniband/mlx5_0/fw_ver', () => '28.40\n'],
    ['BIOS', 'sys/class/dmi/id/bios_version', () => '1.5\n'],
    ['GPU BIOS', 'proc/driver/nvidia/gpus/0000:1b:00.0/information', () => 'Video BIOS: \t 97\n'],
  ])('is another after a new %s', async (_what, path, change) => {
    const before = nodeFiles().text(path) ?? '';
    expect(change(before)).not.toBe(before);
    expect(await stable({ [path]: change(before) })).not.toBe(await stable({}));
  });
});
