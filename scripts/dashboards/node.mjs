// One node: what its runs have of its CPUs, memory, GPUs and disks, and what the machine says of itself.

import { dashboard, panel, variable, words } from './grafana.mjs';

const NODE = 'instance="$instance"';
const GPU = `${NODE}, gpu=~"$gpu"`;
const rate = (family, labels = NODE) => `rate(${family}{${labels}}[$__rate_interval])`;

const overview = [
  panel('Live runs', {
    type: 'stat',
    width: 4,
    unit: 'none',
    description: 'Runs that have not ended.',
    queries: [[`lezea_agent_runs_live{${NODE}}`, 'runs']],
  }),
  panel('CPUs in use', {
    type: 'stat',
    width: 4,
    unit: 'percentunit',
    description: 'Share of all CPUs’ time that was neither idle nor waiting for IO.',
    queries: [
      [
        `1 - sum(${rate('lezea_node_cpu_seconds_total', `${NODE}, mode=~"idle|iowait"`)}) / sum(${rate('lezea_node_cpu_seconds_total')})`,
        'CPU',
      ],
    ],
  }),
  panel('CPU that is a run’s', {
    type: 'stat',
    width: 4,
    unit: 'percentunit',
    description:
      'Of the CPU time that is used on the machine, what runs used; the rest is the system’s and other programs’.',
    queries: [
      [
        `sum(${rate('lezea_run_cpu_seconds_total')}) / sum(${rate('lezea_node_cpu_seconds_total', `${NODE}, mode!~"idle|iowait"`)})`,
        'runs',
      ],
    ],
  }),
  panel('Memory in use', {
    type: 'stat',
    width: 4,
    unit: 'percentunit',
    description: 'Memory that is not available to programs.',
    queries: [
      [
        `1 - lezea_node_memory_mem_available_bytes{${NODE}} / lezea_node_memory_mem_total_bytes{${NODE}}`,
        'memory',
      ],
    ],
  }),
  panel('GPUs', {
    type: 'stat',
    width: 4,
    unit: 'none',
    description: 'GPUs and MIG instances that the driver reaches.',
    queries: [[`sum(lezea_gpu_up{${NODE}})`, 'GPUs']],
  }),
  panel('GPU power', {
    type: 'stat',
    width: 4,
    unit: 'watt',
    description: 'Power of all GPUs together.',
    queries: [[`sum(lezea_gpu_power_watts{${NODE}})`, 'power']],
  }),
];

const cpu = [
  panel('Cores by run', {
    unit: 'none',
    stacked: true,
    width: 12,
    description:
      'Cores that each run keeps busy, and the machine as a whole as a line above them: what is between is in no run.',
    queries: [
      [rate('lezea_run_cpu_seconds_total'), '{{run}}'],
      [
        `sum(${rate('lezea_node_cpu_seconds_total', `${NODE}, mode!~"idle|iowait"`)}) - sum(${rate('lezea_run_cpu_seconds_total')})`,
        'in no run',
      ],
    ],
  }),
  panel('CPU time by mode', {
    unit: 'none',
    stacked: true,
    width: 12,
    description: 'CPUs’ time by mode, in cores; idle time is left out.',
    queries: [
      [`sum by (mode) (${rate('lezea_node_cpu_seconds_total', `${NODE}, mode!="idle"`)})`, '{{mode}}'],
    ],
  }),
];

const memory = [
  panel('Memory by run', {
    unit: 'bytes',
    stacked: true,
    width: 12,
    description: 'Proportional memory of each run’s processes at the last sample.',
    queries: [[`lezea_run_memory_bytes{${NODE}}`, '{{run}}']],
  }),
  panel('Memory of the machine', {
    unit: 'bytes',
    width: 12,
    description: 'Memory of the machine and what is not available to programs.',
    queries: [
      [`lezea_node_memory_mem_total_bytes{${NODE}}`, 'total'],
      [
        `lezea_node_memory_mem_total_bytes{${NODE}} - lezea_node_memory_mem_available_bytes{${NODE}}`,
        'in use',
      ],
    ],
  }),
];

const gpus = [
  panel('Utilisation', {
    unit: 'percentunit',
    max: 1,
    description: 'Share of time in which any kernel ran.',
    queries: [[`lezea_gpu_utilization_ratio{${GPU}}`, '{{gpu}}']],
  }),
  panel('Multiprocessors with work', {
    unit: 'percentunit',
    max: 1,
    description: 'Of the multiprocessors the mean of those that had work (Hopper and later).',
    queries: [[`lezea_gpu_sm_active_ratio{${GPU}}`, '{{gpu}}']],
  }),
  panel('GPU memory', {
    unit: 'bytes',
    description: 'Memory in use, without what the driver keeps.',
    queries: [[`lezea_gpu_memory_used_bytes{${GPU}}`, '{{gpu}}']],
  }),
  panel('Power', {
    unit: 'watt',
    description: 'Power that each GPU draws, as the driver averages it.',
    queries: [[`lezea_gpu_power_watts{${GPU}}`, '{{gpu}}']],
  }),
  panel('Whose energy', {
    unit: 'watt',
    stacked: true,
    description:
      'Power of the GPUs by whom their energy was given to: runs, processes in no run, nobody. Together it is what the hardware’s counters say.',
    queries: [[`sum by (to) (${rate('lezea_gpu_attributed_energy_joules_total', GPU)})`, '{{to}}']],
  }),
  panel('GPU power by run', {
    unit: 'watt',
    stacked: true,
    description: 'Energy of GPUs that was given to each run.',
    queries: [[rate('lezea_run_gpu_energy_joules_total'), '{{run}}']],
  }),
  panel('GPUs by run', {
    unit: 'none',
    stacked: true,
    description: 'GPUs that each run keeps busy.',
    queries: [[rate('lezea_run_gpu_active_seconds_total'), '{{run}}']],
  }),
  panel('Temperature', {
    unit: 'celsius',
    description: 'Of the chip, and of the memory where the GPU tells.',
    queries: [
      [`lezea_gpu_temperature_celsius{${GPU}}`, '{{gpu}}'],
      [`lezea_gpu_memory_temperature_celsius{${GPU}}`, '{{gpu}} memory'],
    ],
  }),
  panel('Throttled', {
    unit: 'percentunit',
    max: 1,
    description:
      'Share of time in which clocks were held down, by the reason. By its power limit is what a busy GPU is.',
    queries: [[rate('lezea_gpu_throttle_seconds_total', GPU), '{{gpu}} {{reason}}']],
  }),
  panel('NVLink and PCIe', {
    unit: 'Bps',
    description: 'Bytes over all NVLinks and over PCIe.',
    queries: [
      [rate('lezea_gpu_nvlink_bytes_total', GPU), '{{gpu}} NVLink {{direction}}'],
      [rate('lezea_gpu_pcie_bytes_total', GPU), '{{gpu}} PCIe {{direction}}'],
    ],
  }),
  panel('XIDs', {
    type: 'table',
    unit: 'none',
    description: 'XID errors since the agent began, by code.',
    queries: [[`lezea_gpu_xid_errors_total{${GPU}}`, '{{gpu}} {{code}}']],
  }),
  panel('Memory errors', {
    unit: 'none',
    description: 'Errors since the driver was loaded, and rows that were replaced for good.',
    queries: [
      [`lezea_gpu_ecc_errors_total{${GPU}}`, '{{gpu}} {{kind}}'],
      [`lezea_gpu_remapped_rows{${GPU}}`, '{{gpu}} rows {{kind}}'],
    ],
  }),
  panel('Which GPU is which', {
    type: 'table',
    unit: 'none',
    width: 16,
    description: 'Model, bus address, driver, and of a MIG instance its GPU.',
    queries: [[`lezea_gpu_info{${GPU}}`, '{{model}}']],
  }),
  panel('Reached by the driver', {
    type: 'table',
    unit: 'none',
    mappings: words('lost', 'up'),
    description: 'A GPU that is lost is off the bus or needs a reset.',
    queries: [[`lezea_gpu_up{${GPU}}`, '{{gpu}}']],
  }),
];

const io = [
  panel('Storage by run', {
    unit: 'Bps',
    description: 'Bytes that each run read from and wrote to storage.',
    queries: [
      [rate('lezea_run_io_read_bytes_total'), '{{run}} read'],
      [rate('lezea_run_io_write_bytes_total'), '{{run}} written'],
    ],
  }),
  panel('Disks', {
    unit: 'Bps',
    description: 'Bytes read from and written to each disk.',
    queries: [
      [rate('lezea_node_disk_read_bytes_total'), '{{device}} read'],
      [rate('lezea_node_disk_written_bytes_total'), '{{device}} written'],
    ],
  }),
  panel('Network', {
    unit: 'Bps',
    description: 'Bytes over each interface, the loopback one left out.',
    queries: [
      [rate('lezea_node_network_receive_bytes_total', `${NODE}, device!="lo"`), '{{device}} received'],
      [rate('lezea_node_network_transmit_bytes_total', `${NODE}, device!="lo"`), '{{device}} sent'],
    ],
  }),
];

const pressure = [
  panel('Pressure', {
    unit: 'percentunit',
    max: 1,
    description: 'Share of time in which some task waited for the resource.',
    queries: ['cpu', 'memory', 'io'].map((what) => [
      rate(`lezea_node_pressure_${what}_waiting_seconds_total`),
      what,
    ]),
  }),
  panel('Load', {
    unit: 'none',
    description: 'Load averages, and threads that wait for IO.',
    queries: [
      [`lezea_node_load1{${NODE}}`, '1 minute'],
      [`lezea_node_load15{${NODE}}`, '15 minutes'],
      [`lezea_node_procs_blocked{${NODE}}`, 'wait for IO'],
    ],
  }),
  panel('CPU packages and memory', {
    unit: 'watt',
    description: 'Power by the RAPL counters; virtual machines have none.',
    queries: [
      [rate('lezea_node_rapl_package_joules_total'), 'package {{index}}'],
      [rate('lezea_node_rapl_dram_joules_total'), 'memory {{index}}'],
    ],
  }),
];

export const node = dashboard({
  uid: 'lezea-node',
  title: 'lezea-monitor: node',
  description: 'One node: what its runs have of it, and the machine itself.',
  variables: [
    variable('instance', 'Node', 'label_values(lezea_agent_build_info, instance)'),
    variable('gpu', 'GPU', 'label_values(lezea_gpu_info{instance="$instance"}, gpu)', { several: true }),
  ],
  rows: {
    Overview: overview,
    CPU: cpu,
    Memory: memory,
    GPUs: gpus,
    Storage: io,
    'Pressure and energy': pressure,
  },
});
