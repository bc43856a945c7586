// `bugreport`: what a maintainer needs to know of an agent and its node, in one document on standard output. Asks the agent,
// the kernel, systemd and the journal; whatever does not answer is named with the reason. Secrets are taken out of all of it.

import { execFile } from 'node:child_process';
import { existsSync, readdirSync, statfsSync, statSync } from 'node:fs';
import { arch } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { stringify } from 'yaml';
import { redacted } from '../../attribution/secrets.js';
import { type AgentConnection, connectToAgent } from '../../client/connection.js';
import { type LoadedConfig, loadConfig } from '../../config/load.js';
import { messageOf } from '../../errors.js';
import { Files } from '../../inventory/files.js';
import { VERSION } from '../../version.js';
import { EXIT, type Io } from '../io.js';
import type { ReadOptions } from '../program.js';
import { type Diagnosis, diagnose } from './doctor.js';

const UNIT = 'lezea-monitor.service';
const LOG_LINES = 300;
const PROGRAM_MS = 10_000;
const ANSWER_MS = 15_000;
/** Of what the agent counts itself; nothing in these names a run. */
const OWN_SERIES = /^lezea_agent_/;

const run = promisify(execFile);

export interface BugReport {
  schema: 'lezea.bugreport/v1';
  made_at: string;
  program: object;
  /** Each part by its name, as far as it could be had. */
  parts: Record<string, unknown>;
  /** Why a part is missing, by its name. */
  missing: Record<string, string>;
}

export async function bugreportCommand(options: ReadOptions, io: Io): Promise<number> {
  const report = await gather(options);
  io.out(options.json ? `${JSON.stringify(report, null, 2)}\n` : stringify(report, { lineWidth: 0 }));
  return EXIT.ok;
}

async function gather(options: ReadOptions): Promise<BugReport> {
  const report: BugReport = {
    schema: 'lezea.bugreport/v1',
    made_at: new Date().toISOString(),
    program: { version: VERSION, node: process.version, arch: arch(), uid: process.getuid?.() ?? -1 },
    parts: {},
    missing: {},
  };
  const part = async (name: string, read: () => unknown): Promise<void> => {
    try {
      report.parts[name] = redacted(await read());
    } catch (error) {
      report.missing[name] = redacted(messageOf(error));
    }
  };
  await part('doctor', () => diagnose(options));
  await part('kernel', kernel);
  const isSystem = (report.parts.doctor as Diagnosis | undefined)?.agent.mode === 'system';
  await part('configuration', () => configuration(isSystem).values);
  await part('state', () => state(configuration(isSystem).config.state.dir));
  await part('service', service);
  await part('log', log);
  const ask = <T>(method: string): Promise<T> =>
    asking(options, (agent) => agent.request<T>(method, {}, ANSWER_MS));
  await part('health', () => ask('agent.health'));
  await part('deliveries', async () => deliveries(await ask<Outbox>('outbox.list')));
  await part('node', () => ask('node.inventory'));
  await part('counters', async () => counters(await ask<Health>('agent.health')));
  return report;
}

async function asking<T>(options: ReadOptions, question: (agent: AgentConnection) => Promise<T>): Promise<T> {
  const agent = await connectToAgent(options);
  try {
    return await question(agent);
  } finally {
    agent.close();
  }
}

/** That of the agent that answers, as far as files say it; without one, that of the agent that this account would start. */
function configuration(isSystem: boolean): LoadedConfig {
  return loadConfig({ flags: {}, env: process.env, uid: isSystem ? 0 : (process.getuid?.() ?? -1) });
}

/** What decides which sources there are. */
function kernel() {
  const files = new Files();
  const sysctl = (name: string) => files.text(`/proc/sys/kernel/${name}`);
  const mounts = files.text('/proc/self/mountinfo')?.split('\n') ?? [];
  return {
    version: files.text('/proc/version'),
    cgroup: existsSync('/sys/fs/cgroup/cgroup.controllers') ? 2 : 1,
    proc_mount: mounts.find((line) => line.split(' ')[4] === '/proc'),
    pid_namespace: files.linkTarget('/proc/self/ns/pid'),
    task_delayacct: sysctl('task_delayacct'),
    ptrace_scope: sysctl('yama/ptrace_scope'),
    perf_event_paranoid: sysctl('perf_event_paranoid'),
    pid_max: sysctl('pid_max'),
    threads_max: sysctl('threads-max'),
    nvidia_driver: files.text('/proc/driver/nvidia/version'),
  };
}

function state(folder: string) {
  const files = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isFile());
  const { bavail, bsize, ffree } = statfsSync(folder);
  return {
    folder,
    file_bytes: Object.fromEntries(files.map(({ name }) => [name, statSync(join(folder, name)).size])),
    free_bytes: bavail * bsize,
    free_inodes: ffree,
  };
}

async function service() {
  const properties =
    'ActiveState,SubState,Result,NRestarts,ExecMainStartTimestamp,ExecMainStatus,MemoryCurrent,MemoryMax,TasksCurrent,CPUUsageNSec,DropInPaths';
  const lines = (await output('/usr/bin/systemctl', ['show', UNIT, '--property', properties]))
    .trim()
    .split('\n');
  return Object.fromEntries(
    lines.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
  );
}

async function log(): Promise<string[]> {
  const args = ['--unit', UNIT, '--lines', String(LOG_LINES), '--no-pager', '--output', 'short-iso'];
  return (await output('/usr/bin/journalctl', args)).trim().split('\n');
}

/** By its full path, with nothing of this process's environment. */
async function output(program: string, args: readonly string[]): Promise<string> {
  const { stdout } = await run(program, args, {
    env: { LC_ALL: 'C.UTF-8' },
    timeout: PROGRAM_MS,
    encoding: 'utf8',
  });
  return stdout;
}

interface Outbox {
  deliveries: { state?: string; sink?: string }[];
  sinks: unknown[];
  more: boolean;
}

/** How many of each state; not of which runs. */
function deliveries({ deliveries: found, sinks, more }: Outbox) {
  const states: Record<string, number> = {};
  for (const { state: is = 'unknown' } of found) states[is] = (states[is] ?? 0) + 1;
  return { states, more, sinks };
}

interface Health {
  checks: { name: string; ok: boolean; detail: string }[];
}

async function counters({ checks }: Health): Promise<string[]> {
  const http = checks.find(({ name }) => name === 'http');
  if (!http?.ok) throw new Error(http?.detail ?? 'http.enabled is false');
  const answer = await fetch(`http://${http.detail}/metrics`, { signal: AbortSignal.timeout(ANSWER_MS) });
  if (!answer.ok) throw new Error(`http://${http.detail}/metrics: ${answer.status} ${answer.statusText}`);
  return (await answer.text()).split('\n').filter((line) => OWN_SERIES.test(line));
}
