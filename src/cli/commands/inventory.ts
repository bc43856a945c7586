// `inventory`: what this node is made of and what it runs; with --diff, in what two environments differ. Asks the agent, whose
// rights decide what may be read; without one it looks by itself.

import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { stringify } from 'yaml';
import type { z } from 'zod';
import { isRunId } from '../../attribution/names.js';
import { type AgentConnection, connectToAgent } from '../../client/connection.js';
import { LezeaError, messageOf } from '../../errors.js';
import { ENVIRONMENT_FILE } from '../../files/run-files.js';
import { type Environment, environment } from '../../inventory/document.js';
import { type Difference, differences } from '../../inventory/fingerprint.js';
import { VERSION } from '../../version.js';
import { fetchFile } from '../documents.js';
import { formatBytes, formatTable, printable } from '../format.js';
import { EXIT, type Io, usageError } from '../io.js';
import type { ReadOptions } from '../program.js';

export interface InventoryOptions extends ReadOptions {
  format?: 'json' | 'yaml';
  diff?: boolean;
}

/** Stands for the node as it is now, where --diff wants two environments. */
const LIVE = 'live';

export async function inventoryCommand(
  names: readonly string[],
  options: InventoryOptions,
  io: Io,
): Promise<number> {
  if (options.diff) return diffCommand(names, options, io);
  if (names.length > 0) throw usageError(`${names.join(' ')}: expected no argument without --diff`);
  const live = await liveEnvironment(options);
  if (options.format === 'yaml') io.out(stringify(live));
  else if (options.json || options.format === 'json') io.out(`${JSON.stringify(live, null, 2)}\n`);
  else io.out(formatEnvironment(live));
  return EXIT.ok;
}

async function diffCommand(
  [nameA, nameB, ...more]: readonly string[],
  options: InventoryOptions,
  io: Io,
): Promise<number> {
  if (nameA === undefined || nameB === undefined || more.length > 0) {
    throw usageError(`--diff: expected two of: a file, a run, ${LIVE}`);
  }
  const [a, b] = [await environmentOf(nameA, options), await environmentOf(nameB, options)];
  const found = differences(a, b);
  const same = !found.some(({ stable }) => stable);
  if (options.json) {
    const shape = { same, a: a.fingerprint, b: b.fingerprint, differences: found };
    io.out(`${JSON.stringify(shape, null, 2)}\n`);
  } else {
    io.out(formatDifferences(found, { nameA, nameB }));
  }
  return same ? EXIT.ok : EXIT.notFine;
}

async function environmentOf(name: string, options: InventoryOptions): Promise<Environment> {
  if (name === LIVE) return liveEnvironment(options);
  const text = isRunId(name) && !existsSync(name) ? await ofRun(name, options) : await ofFile(name);
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (error) {
    throw usageError(`${name}: ${messageOf(error)}; expected an environment document (JSON)`);
  }
  const checked = environment.safeParse(content);
  if (!checked.success) {
    throw usageError(`${name}: ${firstIssue(checked.error)}; expected an environment document`);
  }
  return checked.data;
}

async function ofFile(name: string): Promise<string> {
  try {
    return await readFile(name, 'utf8');
  } catch (error) {
    throw usageError(`${name}: ${messageOf(error)}; expected a file, a run, or ${LIVE}`);
  }
}

/** As it was when the run ended. */
async function ofRun(name: string, options: ReadOptions): Promise<string> {
  const connection = await connectToAgent(options);
  try {
    return (await fetchFile(connection, name, ENVIRONMENT_FILE)).toString();
  } finally {
    connection.close();
  }
}

function firstIssue({ issues: [issue] }: z.ZodError): string {
  return issue ? `${issue.path.join('.') || 'the document'}: ${issue.message}` : 'unreadable';
}

async function liveEnvironment(options: ReadOptions): Promise<Environment> {
  let connection: AgentConnection;
  try {
    connection = await connectToAgent(options);
  } catch (error) {
    // A socket that was asked for by name must answer; else there is simply no agent.
    if (!(error instanceof LezeaError) || options.socket !== undefined) throw error;
    const { NodeInventory } = await import('../../inventory/node-inventory.js');
    const { describeGpus } = await import('../../gpu/describe.js');
    const { probedGpus } = await import('../gpus.js');
    const gpus = await probedGpus();
    try {
      return await new NodeInventory(VERSION, Date.now, () => describeGpus(gpus)).now();
    } finally {
      gpus.close();
    }
  }
  try {
    return await connection.request<Environment>('node.inventory');
  } finally {
    connection.close();
  }
}

function formatEnvironment(live: Environment): string {
  const { hardware, software, described, problems, fingerprint } = live;
  const { sockets, cores, threads } = described.cpu;
  const counts = [
    sockets !== undefined && counted(sockets, 'socket'),
    cores !== undefined && counted(cores, 'core'),
    threads !== undefined && counted(threads, 'thread'),
    hardware.cpu.microcode !== undefined && `microcode ${hardware.cpu.microcode}`,
  ].filter((part) => part !== false);
  const rows: [string, string | undefined][] = [
    ['node', live.volatile.hostname],
    ['system', described.system],
    ['cpu', [described.cpu.name ?? 'unknown', ...counts].join(', ')],
    ['memory', described.memory_bytes === undefined ? undefined : formatBytes(described.memory_bytes)],
    ['numa', hardware.numa.map(({ node, cpus }) => `node ${node}: cpus ${cpus}`).join('; ') || undefined],
    ...hardware.disks.map(
      (disk) =>
        [
          'disk',
          [
            disk.model,
            disk.transport,
            formatBytes(disk.size_bytes),
            disk.firmware && `firmware ${disk.firmware}`,
          ]
            .filter(Boolean)
            .join(', '),
        ] as [string, string],
    ),
    ...hardware.network.map(
      (one) =>
        ['network', [one.name, one.driver, one.firmware].filter(Boolean).join(', ')] as [string, string],
    ),
    ...gpuLines(live).map((line) => ['gpu', line] as [string, string]),
    ['os', described.os],
    ['kernel', `${software.kernel.release} (${software.kernel.architecture})`],
    ['glibc', software.glibc],
    ['driver', software.nvidia_driver],
    ['container', software.container],
    ['fingerprint', fingerprint.stable],
  ];
  const table = formatTable(
    [{ title: 'WHAT' }, { title: 'IS' }],
    rows.filter((row): row is [string, string] => row[1] !== undefined && row[1] !== ''),
  );
  return `${table}${problems.map((problem) => `${printable(problem)}\n`).join('')}`;
}

/** As the driver lists them, with the memory that is said of them; else as they are said. */
function gpuLines({ hardware, described }: Environment): string[] {
  const said = described.gpus?.devices ?? [];
  return (hardware.gpus ?? said).map((gpu) => {
    const memory = said.find(({ uuid }) => uuid === gpu.uuid)?.memory_total_bytes;
    const words = [gpu.model, gpu.uuid, gpu.vbios, memory !== undefined && formatBytes(memory)];
    return words.filter(Boolean).join(', ');
  });
}

function formatDifferences(
  found: readonly Difference[],
  { nameA, nameB }: { nameA: string; nameB: string },
): string {
  if (found.length === 0) return 'no difference\n';
  const table = formatTable(
    [{ title: 'WHAT' }, { title: 'STABLE' }, { title: nameA }, { title: nameB }],
    found.map(({ path, stable, a, b }) => [path, stable ? 'yes' : 'no', shown(a), shown(b)]),
  );
  const count = found.filter(({ stable }) => stable).length;
  return `${table}\n${count === 0 ? 'the same, but for what changes by itself' : counted(count, 'stable difference')}\n`;
}

function shown(value: unknown): string {
  return value === undefined ? '-' : typeof value === 'string' ? value : JSON.stringify(value);
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`;
}
