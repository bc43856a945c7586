// `doctor`: probes every data source live and says what is missing, why, and how to get it. Asks the agent, whose rights
// decide; without one it probes here, with the rights of whoever asks.

import { type AgentConnection, connectToAgent } from '../../client/connection.js';
import { LezeaError, messageOf } from '../../errors.js';
import type { Environment } from '../../inventory/document.js';
import type { SourceStatus } from '../../native/addon.js';
import { formatTable, printable } from '../format.js';
import { EXIT, type Io } from '../io.js';
import type { ReadOptions } from '../program.js';
import type { NodeStatus } from './status.js';

/** Longest that the agent is given to describe the machine, milliseconds. */
const INVENTORY_MS = 15_000;

/** What `doctor --json` prints. */
export interface Diagnosis {
  /** No source that every machine has is unavailable: each works, has a fallback, or was switched off. */
  ok: boolean;
  agent: { running: boolean; version?: string; mode?: string; socket?: string; detail?: string };
  probed_by: 'agent' | 'doctor';
  sources: SourceStatus[];
}

export async function doctorCommand(options: ReadOptions, io: Io): Promise<number> {
  const diagnosis = await diagnose(options);
  io.out(options.json ? `${JSON.stringify(diagnosis, null, 2)}\n` : formatDiagnosis(diagnosis));
  return diagnosis.ok ? EXIT.ok : EXIT.notFine;
}

export async function diagnose(options: ReadOptions): Promise<Diagnosis> {
  let connection: AgentConnection;
  try {
    connection = await connectToAgent(options);
  } catch (error) {
    // A socket that was asked for by name must answer; else there is simply no agent.
    if (!(error instanceof LezeaError) || options.socket !== undefined) throw error;
    return probeHere(messageOf(error));
  }
  try {
    const { sources: probed, version, mode } = await connection.request<NodeStatus>('node.status');
    const sources = [...probed, ...(await crossCheckOf(connection, probed))];
    const agent = { running: true, version, mode, socket: connection.path };
    return { ok: isFine(sources), agent, probed_by: 'agent', sources };
  } finally {
    connection.close();
  }
}

async function probeHere(detail: string): Promise<Diagnosis> {
  const { loadAddon } = await import('../../native/addon.js');
  const { crossChecked, probedGpus } = await import('../gpus.js');
  const { saidInReport } = await import('../../gpu/cross-check.js');
  const gpus = await probedGpus();
  const { report, source } = gpus;
  gpus.close();
  const checked = report?.source === 'nvml' ? await crossChecked(saidInReport(report)) : undefined;
  const sources = [...loadAddon().probeSources([]), source, ...(checked ? [checked] : [])];
  return { ok: isFine(sources), agent: { running: false, detail }, probed_by: 'doctor', sources };
}

/** What nvidia-smi says beside the agent's NVML; nothing where the agent reads no NVML. */
async function crossCheckOf(
  connection: AgentConnection,
  probed: readonly SourceStatus[],
): Promise<SourceStatus[]> {
  if (!probed.some(({ name, state }) => name === 'gpu' && state === 'ok')) return [];
  const { crossChecked } = await import('../gpus.js');
  const { notCrossChecked, saidInDescription } = await import('../../gpu/cross-check.js');
  let environment: Environment;
  try {
    environment = await connection.request<Environment>('node.inventory', {}, INVENTORY_MS);
  } catch (error) {
    return [notCrossChecked(messageOf(error), '')];
  }
  const { gpus } = environment.described;
  const checked = gpus?.source === 'nvml' ? await crossChecked(saidInDescription(gpus)) : undefined;
  return checked ? [checked] : [];
}

/** What many machines have not got, or only for root: that it is missing is said, and is nothing to be put right. */
const OPTIONAL = new Set(['cpu_energy']);

function isFine(sources: readonly SourceStatus[]): boolean {
  return sources.every(({ name, state }) => state !== 'unavailable' || OPTIONAL.has(name));
}

function formatDiagnosis({ ok, agent, sources }: Diagnosis): string {
  const head = agent.running
    ? `agent ${agent.version} (${agent.mode} mode) at ${agent.socket}`
    : `${agent.detail}; probed with your own rights`;
  const table = formatTable(
    [{ title: 'SOURCE' }, { title: 'STATE' }, { title: 'WHY' }],
    sources.map((source) => [source.name, source.state, source.reason]),
  );
  const missing = sources.filter((source) => source.how !== '' && source.state !== 'disabled');
  const hows = missing.map((source) => `${source.name}: ${source.how}`).map(printable);
  const advice =
    hows.length === 0 ? '' : `\nHow to get what is missing:\n${hows.map((how) => `  ${how}\n`).join('')}`;
  return `${printable(head)}\n\n${table}${advice}\n${ok ? 'fine' : 'not fine'}\n`;
}
