// LeZeA's families: figures by hand, absence, and file systems that hang.

import { expect, test } from 'vitest';
import type { GpuDevice } from '../../../src/gpu/device.js';
import { FileSystems, localMounts } from '../../../src/metrics/file-systems.js';
import { LEZEA_FAMILIES, LezeaCompat } from '../../../src/metrics/lezea-compat.js';
import type { NodeFigure } from '../../../src/native/addon.js';
import { fakeState } from './fake-state.js';

const { sinks } = fakeState();

function cpu(seconds: Record<string, number>): NodeFigure[] {
  return Object.entries(seconds).map(([mode, value]) => ({
    name: 'cpu_seconds_total',
    labels: { cpu: '0', mode },
    value,
    kind: 'counter' as const,
  }));
}

function gauge(name: string, value: number, labels: Record<string, string> = {}): NodeFigure {
  return { name, labels, value, kind: 'gauge' };
}

const noDisks = { space: async () => [] };

/** Series of one answer, as `name{labels}` to value. */
async function series(compat: LezeaCompat, node: NodeFigure[], places = sinks, gpus: GpuDevice[] = []) {
  const families = await compat.families({ node, sinks: places, gpus });
  return Object.fromEntries(
    families.flatMap(({ header, figures }) =>
      figures.map(({ labels, value }) => [`${header.name}${labels ? JSON.stringify(labels) : ''}`, value]),
    ),
  );
}

const CPU = 'lezea_cpu_utilization_percent';

test('CPU utilisation is what was not idle since the reading before, guests counted once', async () => {
  let now = 0;
  const compat = new LezeaCompat(noDisks, () => now);
  const first = { user: 10, system: 5, idle: 80, iowait: 5, guest: 10, guest_nice: 0 };
  expect(await series(compat, cpu(first))).not.toHaveProperty(CPU);
  now = 5000;
  const later = { user: 12, system: 6, idle: 85, iowait: 7, guest: 12, guest_nice: 0 };
  expect((await series(compat, cpu(later)))[CPU]).toBeCloseTo(30);
  now = 5500; // too close: the same figure again
  expect((await series(compat, cpu({ ...later, user: 13 })))[CPU]).toBeCloseTo(30);
  now = 9000;
  expect((await series(compat, cpu({ ...later, user: 13 })))[CPU]).toBe(100);
  now = 11_000; // not read anew since
  expect((await series(compat, cpu({ ...later, user: 13 })))[CPU]).toBe(100);
  now = 13_000; // a CPU went away with its time
  expect(await series(compat, cpu({ user: 5, system: 3, idle: 40, iowait: 3 }))).not.toHaveProperty(CPU);
});

test('memory, network and services by LeZeA’s names; what is not known has no series', async () => {
  const node = [
    gauge('memory_MemTotal_bytes', 100),
    gauge('memory_MemAvailable_bytes', 70),
    gauge('network_receive_bytes_total', 5, { device: 'eth0' }),
    gauge('network_transmit_bytes_total', 6, { device: 'eth0' }),
  ];
  const said = await series(new LezeaCompat(noDisks), node);
  expect(said).toEqual({
    lezea_memory_total_bytes: 100,
    lezea_memory_available_bytes: 70,
    lezea_memory_used_bytes: 30,
    'lezea_network_bytes_received_total{"interface":"eth0"}': 5,
    'lezea_network_bytes_sent_total{"interface":"eth0"}': 6,
    'lezea_service_up{"service_name":"lezea-monitor","service_type":"monitoring"}': 1,
    'lezea_service_up{"service_name":"mlflow http://tracker:5000","service_type":"mlflow"}': 0,
  });
  const nothing = await series(new LezeaCompat(noDisks), [gauge('memory_MemTotal_bytes', 100)], []);
  expect(Object.keys(nothing)).toEqual([
    'lezea_memory_total_bytes',
    'lezea_service_up{"service_name":"lezea-monitor","service_type":"monitoring"}',
  ]);
});

test('GPUs by LeZeA’s names; an idle one is 0, one of which nothing is known has no series', async () => {
  const gpus = [{ uuid: 'GPU-1', model: 'H100', utilizationRatio: 0, powerWatts: 70 }, { uuid: 'GPU-2' }];
  const said = await series(new LezeaCompat(noDisks), [], [], gpus);
  expect(said).toMatchObject({
    'lezea_gpu_utilization_percent{"gpu_id":"GPU-1","gpu_name":"H100"}': 0,
    'lezea_gpu_power_draw_watts{"gpu_id":"GPU-1","gpu_name":"H100"}': 70,
  });
  expect(Object.keys(said).filter((name) => name.includes('GPU-2'))).toEqual([]);
});

test('a place that was never asked is not known, one that answers is up, those of programs are none', async () => {
  const never = { ...sinks[0]!, sink: 'webhook http://w', failures: 0, deliveredMs: undefined };
  const fine = { ...sinks[0]!, sink: 'mlflow http://m', failures: 0, deliveredMs: 1 };
  const programs = { ...sinks[0]!, sink: '(clients)', failures: 3 };
  const said = await series(new LezeaCompat(noDisks), [], [never as never, fine, programs]);
  expect(Object.entries(said)).toEqual([
    [expect.stringContaining('lezea-monitor'), 1],
    ['lezea_service_up{"service_name":"mlflow http://m","service_type":"mlflow"}', 1],
  ]);
});

test('no label is called component, which LeZeA’s Prometheus overwrites, and no name is one of ours', () => {
  for (const { name, labels } of LEZEA_FAMILIES) {
    expect(labels ?? []).not.toContain('component');
    expect(name).not.toMatch(/^lezea_(node|agent|run|scope)_/);
  }
});

const MOUNTINFO = [
  '22 27 0:21 / /proc rw,relatime - proc proc rw',
  '27 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw',
  '30 27 254:1 /var/x /srv/bind rw,relatime shared:1 - ext4 /dev/vda1 rw',
  '31 27 259:2 / /data\\040with\\134space rw master:3 - xfs /dev/nvme0n1p2 rw',
  '32 27 0:50 / /mnt/nfs rw - nfs4 server:/x rw',
  '33 27 0:51 / /mnt/sshfs rw - fuse.sshfs x@y: rw',
  '34 27 0:52 / /dev/shm rw - tmpfs tmpfs rw',
  '35 27 0:53 / /var/lib/docker/overlay2/a/merged rw - overlay overlay rw',
  'no line of it',
  '',
].join('\n');

test('local file systems once each, never one of the network, of FUSE, or virtual', () => {
  expect(localMounts(MOUNTINFO)).toEqual(['/', '/data with\\space']);
  expect(localMounts('1 0 0:9 / / rw - overlay overlay rw')).toEqual(['/']);
  expect(localMounts('1 0 0:9 / / rw - nfs4 server:/ rw')).toEqual([]);
});

test('what one file system does not say keeps no other’s figures back', async () => {
  const fileSystems = new FileSystems({
    mountinfo: async () => MOUNTINFO,
    statfs: async (path) => {
      if (path !== '/') throw new Error('EACCES');
      return { bsize: 4096, blocks: 100, bfree: 25 };
    },
    now: () => 0,
  });
  const space = [{ mountPoint: '/', totalBytes: 409_600, usedBytes: 307_200 }];
  expect(await fileSystems.space()).toEqual(space);
  const compat = new LezeaCompat(fileSystems);
  expect(await series(compat, [], [])).toMatchObject({
    'lezea_disk_total_bytes{"mount_point":"/"}': 409_600,
    'lezea_disk_used_bytes{"mount_point":"/"}': 307_200,
  });
});

test('a file system that hangs is asked once, holds no scrape up, and makes the figures unknown', async () => {
  let now = 0;
  let asked = 0;
  let hang = false;
  const fileSystems = new FileSystems({
    mountinfo: async () => '1 0 8:1 / / rw - ext4 /dev/sda1 rw',
    statfs: () => {
      asked++;
      return hang ? new Promise<never>(() => undefined) : Promise.resolve({ bsize: 1, blocks: 2, bfree: 1 });
    },
    now: () => now,
  });
  expect(await fileSystems.space()).toHaveLength(1);
  hang = true;
  now = 30_000;
  expect(await fileSystems.space()).toHaveLength(1); // of the last time
  now = 90_000;
  expect(await fileSystems.space()).toEqual([]);
  expect(asked).toBe(2);
});
