// The environment document, environment/full.json: what a node is made of and what it runs. Owns its schema, from which
// docs/schemas/environment.json is made. Unknown is absent.

import { z } from 'zod';

export const ENVIRONMENT_SCHEMA = 'lezea.environment/v1';

const text = z.string().max(4096);
const count = z.int().nonnegative();

const cpu = z
  .strictObject({
    vendor: text.optional(),
    model: text.optional(),
    family: text.optional(),
    model_number: text.optional(),
    stepping: text.optional(),
    microcode: text.optional().meta({ description: 'Revision, as the kernel says it.' }),
    sockets: count.optional(),
    cores: count.optional().meta({ description: 'Physical cores of all sockets.' }),
    threads: count.optional().meta({ description: 'Logical CPUs that are online.' }),
    flags_sha256: text.optional().meta({ description: 'Of the sorted instruction set flags.' }),
  })
  .meta({ description: 'Processors.' });

const numaNode = z.strictObject({ node: count, cpus: text, memory_gib: count.optional() });

/** Without a name, which may be another's after the next boot. */
const disk = z.strictObject({
  model: text.optional(),
  firmware: text.optional(),
  size_bytes: count.optional(),
  rotational: z.boolean().optional(),
  transport: text.optional().meta({ description: '`nvme`, `sata`, `virtio` and the like.' }),
});

const networkInterface = z.strictObject({
  name: text,
  driver: text.optional(),
  vendor_id: text.optional().meta({ description: 'PCI vendor, hexadecimal.' }),
  device_id: text.optional().meta({ description: 'PCI device, hexadecimal.' }),
  firmware: text.optional(),
});

const board = z.strictObject({
  system_vendor: text.optional(),
  system_product: text.optional(),
  board_vendor: text.optional(),
  board_product: text.optional(),
  bios_vendor: text.optional(),
  bios_version: text.optional(),
  bios_date: text.optional(),
});

const gpu = z.strictObject({
  uuid: text.optional(),
  model: text.optional(),
  vbios: text.optional(),
  bus: text.optional(),
});

export const hardware = z
  .strictObject({
    cpu,
    memory_gib: count
      .optional()
      .meta({ description: 'What the kernel manages, rounded: it differs by some pages.' }),
    numa: z.array(numaNode),
    disks: z.array(disk),
    network: z.array(networkInterface),
    board,
    gpus: z.array(gpu).optional().meta({ description: 'Absent without a driver that lists them.' }),
    virtual: z.boolean().optional().meta({ description: 'Runs under a hypervisor.' }),
  })
  .meta({ description: 'What does not change by itself.' });

export const software = z
  .strictObject({
    os: z.strictObject({ id: text.optional(), version: text.optional(), name: text.optional() }),
    kernel: z.strictObject({ release: text, version: text.optional(), architecture: text }),
    glibc: text.optional(),
    nvidia_driver: text.optional(),
    container: text.optional().meta({ description: '`docker`, `podman`, `kubernetes` and the like.' }),
  })
  .meta({ description: 'What the node runs.' });

export const volatile = z
  .strictObject({
    hostname: text,
    boot_id: text.optional(),
    booted_at: text.optional().meta({ description: 'ISO 8601, UTC.' }),
    swap_total_bytes: count.optional(),
    link_mbit: z.record(z.string(), count).meta({ description: 'Of network interfaces with a link.' }),
    cpu_governor: text.optional(),
    cpu_max_mhz: z.number().optional(),
    memory_available_bytes: count.optional(),
    cgroup_memory_max_bytes: count.optional().meta({ description: 'Limit of the agent’s own cgroup.' }),
    cgroup_cpu_max: z.number().optional().meta({ description: 'Cores; limit of the agent’s own cgroup.' }),
  })
  .meta({ description: 'What may differ from one moment or boot to the next.' });

const describedGpus = z
  .strictObject({
    source: z.enum(['nvml', 'nvidia_smi']),
    driver: text.optional(),
    cuda: text.optional().meta({ description: 'The newest version that the driver takes.' }),
    devices: z.array(
      gpu.extend({
        serial: text.optional(),
        memory_total_bytes: count.optional(),
        persistence_mode: text.optional(),
        compute_mode: text.optional(),
        mig_mode: text.optional(),
        mig_parent: text.optional().meta({ description: 'Of a MIG instance.' }),
      }),
    ),
  })
  .meta({ description: 'Absent where nobody says anything of GPUs.' });

const words = z
  .strictObject({
    source: z
      .enum(['systeminformation', 'files'])
      .meta({ description: 'Who says it: `files` is the kernel.' }),
    cpu: z.strictObject({
      name: text.optional(),
      sockets: count.optional(),
      cores: count.optional(),
      threads: count.optional(),
    }),
    memory_bytes: count.optional(),
    os: text.optional(),
    system: text.optional(),
    disks: z.array(z.strictObject({ name: text, model: text.optional(), size_bytes: count.optional() })),
    gpus: describedGpus.optional(),
  })
  .meta({
    description: 'The same in words, for people. Not part of the fingerprint: it depends on who says it.',
  });

const run = z
  .strictObject({
    id: text,
    attempt: count,
    facts: z.record(z.string(), z.unknown()).meta({
      description: 'What clients said of it: docs/facts.md.',
    }),
    fingerprint: z
      .strictObject({ schema: z.literal('lezea.run_fingerprint/v1'), sha256: text })
      .meta({ description: 'SHA-256 of the canonical JSON of the stable fingerprint and the stable facts.' }),
  })
  .meta({ description: 'Only in the document of a run.' });

export const environment = z
  .strictObject({
    schema: z.literal(ENVIRONMENT_SCHEMA),
    captured_at: text.meta({ description: 'ISO 8601, UTC.' }),
    captured_by: z.strictObject({ lezea_monitor: text, node_js: text }).meta({ description: 'Versions.' }),
    hardware,
    software,
    volatile,
    described: words,
    problems: z.array(text).meta({ description: 'What could not be read, and why.' }),
    fingerprint: z
      .strictObject({ stable: text, volatile: text })
      .meta({ description: 'SHA-256 of the canonical JSON of hardware and software; of the volatile part.' }),
    run: run.optional(),
  })
  .meta({ title: 'Environment of a node' });

export type Hardware = z.output<typeof hardware>;
export type Software = z.output<typeof software>;
export type Volatile = z.output<typeof volatile>;
export type Environment = z.output<typeof environment>;
export type Disk = z.output<typeof disk>;
export type NetworkInterface = z.output<typeof networkInterface>;
export type RunSection = z.output<typeof run>;
export type Described = z.output<typeof words>;
