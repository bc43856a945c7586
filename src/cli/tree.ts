// A run's tree of totals as text: every scope's own use, its use with everything below, and its share of the run; then
// what no scope used, the total, and the proof that they add up. Reads a summary document; pure.

import type { SummaryConservation, SummaryDocument, SummaryScope } from '../files/summary-document.js';
import {
  formatBytes,
  formatCount,
  formatJoules,
  formatSeconds,
  formatShare,
  formatTable,
  type TableColumn,
} from './format.js';

type Figures = SummaryScope['self'];

/** Only where the run used a GPU. */
const GPU_COLUMNS: readonly TableColumn[] = [
  { title: 'GPU INCL', align: 'right' },
  { title: 'GPU ENERGY', align: 'right' },
];

const COLUMNS: readonly TableColumn[] = [
  { title: 'SCOPE' },
  { title: 'CPU SELF', align: 'right' },
  { title: 'CPU INCL', align: 'right' },
  { title: '% OF RUN', align: 'right' },
  { title: 'MEM PEAK', align: 'right' },
  { title: 'READ', align: 'right' },
  { title: 'WRITTEN', align: 'right' },
  { title: 'TIMES', align: 'right' },
];

/** The table; figures other than CPU SELF include everything below. */
export function formatTree(document: SummaryDocument): string {
  const total = document.totals.cpu_seconds?.value;
  const usedGpu = document.totals.gpu_allocated_seconds !== undefined;
  const gpu = ({ gpu_active_seconds: seconds, gpu_energy_joules: joules }: Figures) =>
    usedGpu ? [formatSeconds(seconds), formatJoules(joules)] : [];
  const rows = inTreeOrder(document.scopes).map(({ scope, depth }) => {
    const { self, inclusive } = scope;
    return [
      `${'  '.repeat(depth)}${scope.level}:${scope.name}`,
      formatSeconds(self.cpu_seconds),
      formatSeconds(inclusive.cpu_seconds),
      formatShare(inclusive.cpu_seconds, total),
      formatBytes(inclusive.memory_peak_bytes),
      formatBytes(inclusive.io_read_bytes),
      formatBytes(inclusive.io_write_bytes),
      formatCount(self.activations),
      ...gpu(inclusive),
    ];
  });
  const { unattributed, totals } = document;
  const last = [
    [...unattributedRow(document), ...gpu(unattributed)],
    [
      ...totalRow(document),
      ...gpu({
        gpu_active_seconds: totals.gpu_active_seconds?.value,
        gpu_energy_joules: totals.gpu_energy_joules?.value,
      }),
    ],
  ];
  return formatTable([...COLUMNS, ...(usedGpu ? GPU_COLUMNS : [])], [...rows, ...last]);
}

function unattributedRow({ unattributed, totals }: SummaryDocument): string[] {
  const cpu = unattributed.cpu_seconds;
  return [
    '(unattributed)',
    formatSeconds(cpu),
    formatSeconds(cpu),
    formatShare(cpu, totals.cpu_seconds?.value),
    formatBytes(unattributed.memory_peak_bytes),
    formatBytes(unattributed.io_read_bytes),
    formatBytes(unattributed.io_write_bytes),
    '',
  ];
}

function totalRow({ totals }: SummaryDocument): string[] {
  const cpu = totals.cpu_seconds?.value;
  return [
    'TOTAL',
    '',
    formatSeconds(cpu),
    formatShare(cpu, cpu),
    formatBytes(totals.memory_peak_bytes?.value),
    formatBytes(totals.io_read_bytes?.value),
    formatBytes(totals.io_write_bytes?.value),
    '',
  ];
}

/** Children under their parents, in the order they were defined. */
function inTreeOrder(scopes: readonly SummaryScope[]): { scope: SummaryScope; depth: number }[] {
  const children = new Map<string | null, SummaryScope[]>();
  for (const scope of scopes) {
    const siblings = children.get(scope.parent);
    if (siblings) siblings.push(scope);
    else children.set(scope.parent, [scope]);
  }
  const ordered: { scope: SummaryScope; depth: number }[] = [];
  const visit = (parent: string | null, depth: number) => {
    for (const scope of children.get(parent) ?? []) {
      ordered.push({ scope, depth });
      visit(scope.path, depth + 1);
    }
  };
  visit(null, 0);
  return ordered;
}

/** One line: CPU in nanoseconds added up, and in how many columns nothing is left over. */
export function formatConservation(document: SummaryDocument): string {
  const lines = Object.entries(document.conservation) as [string, SummaryConservation][];
  const broken = lines.filter(([, line]) => line.residual !== '0');
  if (broken.length > 0) {
    const which = broken.map(([name, line]) => `${name} ${line.residual} ${line.unit}`).join(', ');
    return `conservation: VIOLATED: ${which}\n`;
  }
  const cpu = document.conservation.cpu_seconds;
  const sum = cpu
    ? `cpu ${cpu.scopes} (scopes) + ${cpu.unattributed} (unattributed) = ${cpu.total} ns; `
    : '';
  return `conservation: ${sum}residual 0 in all ${lines.length} columns\n`;
}

/** The run's own totals, one a line. */
export function formatTotals(document: Pick<SummaryDocument, 'totals'>, elapsedSeconds?: number): string {
  const value = (name: keyof SummaryDocument['totals']) => document.totals[name]?.value;
  const cpu = value('cpu_seconds');
  const cores = elapsedSeconds && cpu !== undefined ? `${(cpu / elapsedSeconds).toFixed(2)} cores` : '';
  const rows = [
    ['wall time', formatSeconds(elapsedSeconds), ''],
    ['CPU time', formatSeconds(cpu), cores],
    ['  user', formatSeconds(value('cpu_user_seconds')), 'estimated'],
    ['  system', formatSeconds(value('cpu_system_seconds')), 'estimated'],
    ['  waited to run', formatSeconds(value('runqueue_wait_seconds')), ''],
    ['CPU energy', formatJoules(value('cpu_energy_joules')), 'estimated'],
    ['GPU time', formatSeconds(value('gpu_active_seconds')), 'estimated'],
    ['  held', formatSeconds(value('gpu_allocated_seconds')), ''],
    ['GPU energy', formatJoules(value('gpu_energy_joules')), 'estimated'],
    ['GPU memory peak', formatBytes(value('gpu_memory_peak_bytes')), ''],
    ['memory peak', formatBytes(value('memory_peak_bytes')), ''],
    ['storage read', formatBytes(value('io_read_bytes')), ''],
    ['storage written', formatBytes(value('io_write_bytes')), ''],
    ['page faults, major', formatCount(value('major_faults')), ''],
    ['context switches', formatCount(switches(value)), ''],
  ];
  const known = rows.filter(([, figure]) => figure !== '-');
  return formatTable(
    [{ title: 'TOTALS' }, { title: '', align: 'right' }, { title: '' }],
    known as string[][],
  );
}

function switches(value: (name: 'voluntary_switches' | 'involuntary_switches') => number | undefined) {
  const voluntary = value('voluntary_switches');
  const involuntary = value('involuntary_switches');
  return voluntary === undefined || involuntary === undefined ? undefined : voluntary + involuntary;
}
