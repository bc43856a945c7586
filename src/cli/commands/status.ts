// `status`: the node, how the agent is, and what is running now. Reads node.status, agent.health and run.list.

import { connectToAgent } from '../../client/connection.js';
import type { SourceStatus } from '../../native/addon.js';
import { formatBytes, formatSeconds, printable } from '../format.js';
import { EXIT, type Io } from '../io.js';
import type { ReadOptions } from '../program.js';
import { formatRuns, type ListedRun } from './runs.js';

/** The answer to `node.status`. */
export interface NodeStatus {
  node: string;
  uptime_seconds: number;
  mode: string;
  version: string;
  runs_live: number;
  /** Readings by name, e.g. `load1`, `memory_MemTotal_bytes`. */
  figures: Record<string, number>;
  sources: SourceStatus[];
}

/** The answer to `agent.health`. */
interface Health {
  status: 'ok' | 'degraded';
  checks: { name: string; ok: boolean; detail: string }[];
}

const ENDED = new Set(['FINISHED', 'FAILED', 'INTERRUPTED', 'KILLED', 'LOST']);

export async function statusCommand(options: ReadOptions, io: Io): Promise<number> {
  const connection = await connectToAgent(options);
  try {
    const [node, health, list] = await Promise.all([
      connection.request<NodeStatus>('node.status'),
      connection.request<Health>('agent.health'),
      connection.request<{ runs: ListedRun[] }>('run.list'),
    ]);
    const runs = list.runs.filter((run) => !ENDED.has(run.status));
    if (options.json) io.out(`${JSON.stringify({ node, agent: health, runs }, null, 2)}\n`);
    else io.out(formatStatus(node, health, runs));
    return health.status === 'ok' ? EXIT.ok : EXIT.notFine;
  } finally {
    connection.close();
  }
}

function formatStatus(node: NodeStatus, health: Health, runs: readonly ListedRun[]): string {
  const bad = health.checks.filter((check) => !check.ok).map((check) => `  ${check.name}: ${check.detail}`);
  const lines = [
    `node ${node.node}: ${formatNode(node)}`,
    `agent ${node.version}, ${node.mode} mode, up ${formatSeconds(node.uptime_seconds)}: ${health.status}`,
    ...bad,
  ];
  // In system mode the agent names only the caller's own runs.
  const others = node.runs_live - runs.length;
  const elsewhere = others > 0 ? `${others} more of other users\n` : '';
  const table = runs.length === 0 ? 'nothing is running\n' : formatRuns(runs);
  return `${lines.map((line) => `${printable(line)}\n`).join('')}\n${table}${elsewhere}`;
}

function formatNode({ figures }: NodeStatus): string {
  const number = (name: string) =>
    typeof figures[name] === 'number' ? (figures[name] as number) : undefined;
  const load = number('load1');
  const available = number('memory_MemAvailable_bytes');
  const total = number('memory_MemTotal_bytes');
  const parts = [
    ...(load === undefined ? [] : [`load ${load.toFixed(2)}`]),
    ...(available === undefined || total === undefined
      ? []
      : [`memory ${formatBytes(total - available)} of ${formatBytes(total)} in use`]),
  ];
  return parts.length > 0 ? parts.join(', ') : 'no figures yet';
}
