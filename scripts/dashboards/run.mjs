// One run, on one node or several: what each of its scopes costs.

import { dashboard, panel, variable } from './grafana.mjs';

const RUN = 'instance=~"$instance", run="$run"';
const SCOPE = `${RUN}, level=~"$level"`;
const rate = (family, labels) => `rate(${family}{${labels}}[$__rate_interval])`;
const byScope = (column) => `sum by (scope) (${rate(`lezea_scope_${column}_total`, SCOPE)})`;
const byGpu = (column) => `sum by (gpu) (${rate(`lezea_scope_${column}_total`, RUN)})`;

const overview = [
  panel('Status', {
    type: 'stat',
    width: 4,
    unit: 'none',
    shows: 'name',
    description: 'Status of the run on each node.',
    queries: [[`lezea_run_status{${RUN}}`, '{{instance}} {{status}}']],
  }),
  panel('Began', {
    type: 'stat',
    width: 4,
    unit: 'dateTimeFromNow',
    description: 'Start of the run’s first attempt.',
    queries: [[`min(lezea_run_start_time_seconds{${RUN}}) * 1000`, 'start']],
  }),
  panel('CPU time', {
    type: 'stat',
    width: 4,
    unit: 's',
    description: 'CPU time of all attempts on all nodes.',
    queries: [[`sum(lezea_run_cpu_seconds_total{${RUN}})`, 'CPU']],
  }),
  panel('GPU time', {
    type: 'stat',
    width: 4,
    unit: 's',
    description: 'Utilisation of GPUs integrated over time, given to this run.',
    queries: [[`sum(lezea_run_gpu_active_seconds_total{${RUN}})`, 'GPU']],
  }),
  panel('GPU energy', {
    type: 'stat',
    width: 4,
    unit: 'joule',
    description: 'Energy of GPUs given to this run.',
    queries: [[`sum(lezea_run_gpu_energy_joules_total{${RUN}})`, 'energy']],
  }),
  panel('Observed', {
    type: 'stat',
    width: 4,
    unit: 'percentunit',
    description: 'Share of the attempt’s wall time that was observed, of the node with the least.',
    queries: [[`min(lezea_run_coverage_ratio{${RUN}})`, 'coverage']],
  }),
];

const cpu = [
  panel('Cores by scope', {
    unit: 'none',
    stacked: true,
    width: 16,
    description: 'Cores that each scope keeps busy, its children left out: the stack is the run.',
    queries: [[byScope('cpu_seconds'), '{{scope}}']],
  }),
  panel('Share of CPU time', {
    type: 'piechart',
    unit: 's',
    description: 'CPU time of each scope in the time shown, its children left out.',
    queries: [[`sum by (scope) (increase(lezea_scope_cpu_seconds_total{${SCOPE}}[$__range]))`, '{{scope}}']],
  }),
  panel('Cores by level', {
    unit: 'none',
    stacked: true,
    description: 'Cores by the level of the innermost scope.',
    queries: [[`sum by (level) (${rate('lezea_scope_cpu_seconds_total', SCOPE)})`, '{{level}}']],
  }),
  panel('Unattributed', {
    unit: 'percentunit',
    max: 1,
    description: 'Share of the run’s CPU time that was used while no scope was active.',
    queries: [
      [
        `sum(${rate('lezea_scope_cpu_seconds_total', `${RUN}, scope="unattributed"`)}) / sum(${rate('lezea_run_cpu_seconds_total', RUN)})`,
        'unattributed',
      ],
    ],
  }),
  panel('Processes', {
    unit: 'none',
    description: 'Living processes of the run.',
    queries: [[`lezea_run_processes{${RUN}}`, '{{instance}}']],
  }),
];

const memory = [
  panel('Memory by scope', {
    unit: 'bytes',
    stacked: true,
    description: 'Memory held at the last sample, a scope’s children left out: the stack is the run.',
    queries: [[`sum by (scope) (lezea_scope_memory_bytes{${SCOPE}})`, '{{scope}}']],
  }),
  panel('Memory of the run', {
    unit: 'bytes',
    description: 'At the last sample, and the most that it held at one.',
    queries: [
      [`lezea_run_memory_bytes{${RUN}}`, '{{instance}} now'],
      [`lezea_run_memory_peak_bytes{${RUN}}`, '{{instance}} peak'],
    ],
  }),
  panel('Peaks by scope', {
    type: 'bargauge',
    unit: 'bytes',
    description:
      'Greatest memory held at one sample, everything below the scope included: peaks do not add up.',
    queries: [[`lezea_scope_memory_peak_bytes{${SCOPE}}`, '{{scope}}']],
  }),
];

const io = [
  panel('Read from storage', {
    unit: 'Bps',
    stacked: true,
    width: 12,
    description: 'Bytes read from storage by each scope.',
    queries: [[byScope('io_read_bytes'), '{{scope}}']],
  }),
  panel('Written to storage', {
    unit: 'Bps',
    stacked: true,
    width: 12,
    description: 'Bytes written to storage by each scope.',
    queries: [[byScope('io_write_bytes'), '{{scope}}']],
  }),
];

const gpus = [
  panel('Busy GPUs by scope', {
    unit: 'none',
    stacked: true,
    description: 'GPUs that each scope keeps busy.',
    queries: [[byScope('gpu_active_seconds'), '{{scope}}']],
  }),
  panel('GPUs held and busy', {
    unit: 'none',
    description: 'What lies between the lines is held and idle.',
    queries: [
      [`sum(${rate('lezea_run_gpu_allocated_seconds_total', RUN)})`, 'held'],
      [`sum(${rate('lezea_run_gpu_active_seconds_total', RUN)})`, 'busy'],
    ],
  }),
  panel('By GPU', {
    unit: 'percentunit',
    max: 1,
    description: 'How busy each GPU was for this run.',
    queries: [[byGpu('gpu_active_seconds'), '{{gpu}}']],
  }),
  panel('GPU power by scope', {
    unit: 'watt',
    stacked: true,
    description: 'Energy of GPUs given to each scope.',
    queries: [[byScope('gpu_energy_joules'), '{{scope}}']],
  }),
  panel('CPU power by scope', {
    unit: 'watt',
    stacked: true,
    description: 'Energy of CPUs by the share of their time; absent without RAPL, as in virtual machines.',
    queries: [[byScope('cpu_energy_joules'), '{{scope}}']],
  }),
  panel('Peaks of GPU memory', {
    type: 'bargauge',
    unit: 'bytes',
    description:
      'Greatest memory of each GPU held at one sample, everything below the scope included: peaks do not add up.',
    queries: [[`lezea_scope_gpu_memory_peak_bytes{${SCOPE}}`, '{{scope}} {{gpu}}']],
  }),
];

const trust = [
  panel('Limits', {
    unit: 'percentunit',
    width: 12,
    description: 'How much of each limit is used; 1 is the limit.',
    queries: [[`lezea_run_limit_used_ratio{${RUN}}`, '{{limit}} {{scope}}{{level}}{{experiment}}']],
  }),
  panel('Lost', {
    unit: 'none',
    width: 12,
    description: 'Events that were lost, and columns that do not add up (0 unless something broke).',
    queries: [
      [`lezea_run_lost_events{${RUN}}`, '{{instance}} events'],
      [`lezea_run_residual_columns{${RUN}}`, '{{instance}} columns'],
    ],
  }),
  panel('Attempts', {
    type: 'table',
    unit: 'none',
    width: 24,
    description: 'Which attempt, of what experiment and name.',
    queries: [
      [
        `lezea_run_attempt{${RUN}} * on (instance, job, run) group_left (experiment, name) lezea_run_info{${RUN}}`,
        '{{experiment}} {{name}}',
      ],
    ],
  }),
];

export const run = dashboard({
  uid: 'lezea-run',
  title: 'lezea-monitor: run',
  description: 'One run: what each of its scopes costs.',
  variables: [
    variable('run', 'Run', 'label_values(lezea_run_info, run)'),
    variable('instance', 'Node', 'label_values(lezea_run_info{run="$run"}, instance)', { several: true }),
    variable('level', 'Level', 'label_values(lezea_scope_cpu_seconds_total{run="$run"}, level)', {
      several: true,
    }),
  ],
  rows: { Overview: overview, CPU: cpu, Memory: memory, Storage: io, GPUs: gpus, 'How sure': trust },
});
