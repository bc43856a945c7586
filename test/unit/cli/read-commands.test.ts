// status, runs, show and doctor against an agent on a real socket: tables for people, the documented JSON for programs.

import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Io } from '../../../src/cli/io.js';
import { main } from '../../../src/cli/main.js';
import { buildSummary, type SummaryDocument } from '../../../src/files/summary.js';
import { FakeAgent } from '../client/fake-agent.js';
import { exampleRun } from '../files/fake-run.js';

let agent: FakeAgent;
let out: string;
let err: string;

const io: Io = {
  out: (text) => {
    out += text;
  },
  err: (text) => {
    err += text;
  },
};

const RUNS = [
  {
    run_id: 'r2',
    attempt: 1,
    status: 'RUNNING',
    started_at: '2026-11-21T10:00:00.000Z',
    owner_uid: 0,
    processes: 3,
    cpu_seconds: 2.5,
    experiment: 'e',
  },
  {
    run_id: 'r1',
    attempt: 1,
    status: 'FAILED',
    started_at: '2026-11-21T09:00:00.000Z',
    ended_at: '2026-11-21T09:01:30.000Z',
    owner_uid: 0,
    processes: 0,
  },
];

const NODE = {
  node: 'node-7',
  mode: 'system',
  version: '0.1.0',
  uptime_seconds: 75,
  runs_live: 2,
  figures: { load1: 0.5, memory_MemTotal_bytes: 8e9, memory_MemAvailable_bytes: 6e9 },
  sources: [
    { name: 'cpu_clock', state: 'ok', reason: 'readable', how: '' },
    { name: 'exit_records', state: 'fallback', reason: 'EPERM', how: 'CAP_NET_ADMIN' },
  ],
};

const document = JSON.parse(
  JSON.stringify(
    buildSummary(exampleRun(), [], {
      node: { name: 'node-7', boot_id: 'b', architecture: 'x64', kernel: 'k', cpus: 2, memory_bytes: 8e9 },
      agent: { version: '0.1.0' },
      user: 'ada',
    }),
  ),
) as SummaryDocument;

beforeEach(async () => {
  out = '';
  err = '';
  agent = await FakeAgent.start();
  agent.answers['run.list'] = () => ({ runs: RUNS });
  agent.answers['node.status'] = () => NODE;
  agent.answers['agent.health'] = () => ({ status: 'ok', checks: [] });
  agent.answers['run.get'] = ({ run_id, offset }) => {
    if (run_id !== 'demo-1') return new Error('unknown_run');
    const text = Buffer.from(JSON.stringify(document));
    const data = text.subarray(offset, offset + 500);
    return {
      data: data.toString('base64'),
      offset,
      size: text.length,
      eof: offset + data.length >= text.length,
    };
  };
});

afterEach(() => agent.stop());

const run = (...args: string[]) => main([...args, '--socket', agent.path], io);

test('runs', async () => {
  expect(await run('runs')).toBe(0);
  const [title, first, second] = out.split('\n');
  expect(title).toMatch(/^RUN +STATUS +STARTED +DURATION +CPU +PROCESSES +EXPERIMENT +NAME$/);
  expect(first).toMatch(/^r2 +RUNNING .* 2\.500 s +3 +e$/);
  expect(second).toMatch(/^r1 +FAILED .* 1 m 30\.0 s +- +0$/);
  out = '';
  await run('runs', '--json');
  expect(JSON.parse(out)).toEqual({ runs: RUNS });
});

test('status shows what runs now, and that there is more', async () => {
  expect(await run('status')).toBe(0);
  expect(out).toContain('node node-7: load 0.50, memory 2.00 GB of 8.00 GB in use');
  expect(out).toContain('agent 0.1.0, system mode, up 1 m 15.0 s: ok');
  expect(out).toMatch(/^r2 /m);
  expect(out).not.toMatch(/^r1 /m);
  expect(out).toContain('1 more of other users');
  out = '';
  await run('status', '--json');
  expect(JSON.parse(out)).toEqual({ node: NODE, agent: { status: 'ok', checks: [] }, runs: [RUNS[0]] });
});

test('status of an agent that is not well: exit code 1 and why', async () => {
  const checks = [{ name: 'checkpoint', ok: false, detail: 'disk full' }];
  agent.answers['agent.health'] = () => ({ status: 'degraded', checks });
  expect(await run('status')).toBe(1);
  expect(out).toContain('degraded\n  checkpoint: disk full');
});

test('show: the tree, what is unattributed, and that it adds up', async () => {
  expect(await run('show', 'demo-1')).toBe(0);
  await expect(out.replace(/started .*, took/, 'started TIME, took')).toMatchFileSnapshot('show.golden.txt');
});

test('show: how the limits stand', async () => {
  const { formatLimits } = await import('../../../src/cli/limits.js');
  const limits: NonNullable<SummaryDocument['limits']> = {
    runtime_seconds: {
      limit: 'runtime_seconds',
      value: 3600,
      used: 90,
      remaining: 3510,
      ratio: 0.025,
      state: 'ok',
    },
    'steps@tasker': {
      limit: 'steps',
      level: 'tasker',
      value: 10,
      used: 10,
      remaining: 0,
      ratio: 1,
      state: 'exceeded',
    },
    memory_bytes: { limit: 'memory_bytes', value: 2e9, state: 'unknown' },
    'experiment.cost': {
      limit: 'cost',
      experiment: 'demo',
      value: 5,
      used: 4.25,
      remaining: 0.75,
      ratio: 0.85,
      state: 'warned',
    },
  };
  expect(
    formatLimits({ limits })
      .split('\n')
      .map((line) => line.replaceAll(/ {2,}/g, '  ').trimEnd()),
  ).toEqual([
    'LIMIT  IS  USED  LEFT',
    'runtime_seconds  1 h 00 m  1 m 30.0 s  58 m 30.0 s  2.5 %  ok',
    'steps@tasker  10  10  0  100.0 %  exceeded',
    'memory_bytes  2.00 GB  -  -  -  unknown',
    'experiment.cost  5  4.25  0.75  85.0 %  warned',
    '',
  ]);
  expect(formatLimits({})).toBe('');
});

test('show --json is the summary document', async () => {
  expect(await run('show', 'demo-1', '--json')).toBe(0);
  expect(JSON.parse(out)).toEqual(document);
});

test('show says when something is left over', async () => {
  const broken = structuredClone(document);
  broken.conservation.cpu_seconds = { unit: 'ns', scopes: '1', unattributed: '1', total: '3', residual: '1' };
  const { formatConservation } = await import('../../../src/cli/tree.js');
  expect(formatConservation(broken)).toBe('conservation: VIOLATED: cpu_seconds 1 ns\n');
});

test('show of a run that nobody knows: exit code 1', async () => {
  expect(await run('show', 'nope')).toBe(1);
  expect(err).toBe('lezea-monitor: refused: unknown_run\n');
});

test('doctor: a fallback is fine and explained, a source without one is not', async () => {
  expect(await run('doctor')).toBe(0);
  expect(out).toMatch(/^exit_records +fallback +EPERM$/m);
  expect(out).toContain('exit_records: CAP_NET_ADMIN');
  out = '';
  const sources = [{ name: 'cpu_clock', state: 'unavailable', reason: 'EPERM', how: 'the same user' }];
  agent.answers['node.status'] = () => ({ ...NODE, sources });
  expect(await run('doctor', '--json')).toBe(1);
  expect(JSON.parse(out)).toEqual({
    ok: false,
    agent: { running: true, version: '0.1.0', mode: 'system', socket: agent.path },
    probed_by: 'agent',
    sources,
  });
});

test('doctor: energy that a machine does not have is said, with the reason, and is no fault of it', async () => {
  const reason = 'energy_uj: permission denied; expected root or a readable file';
  const sources = [{ name: 'cpu_energy', state: 'unavailable', reason, how: 'root' }];
  agent.answers['node.status'] = () => ({ ...NODE, sources });
  expect(await run('doctor')).toBe(0);
  expect(out).toMatch(/^cpu_energy +unavailable +energy_uj: permission denied; expected root/m);
  expect(out).toContain('cpu_energy: root');
});

test('events: as they are, and in the shape of another system', async () => {
  const line = (seq: number, event: string, data: object) =>
    `${JSON.stringify({ schema: 'lezea.events/v1', seq, ts: '2026-11-21T10:00:00.000Z', mono: 1, run_id: 'demo-1', attempt: 1, event, data })}\n`;
  const text = line(1, 'run.started', { pid: 7 }) + line(2, 'run.ended', { status: 'FINISHED' });
  agent.answers['run.get'] = ({ run_id, file, offset }) => {
    if (run_id !== 'demo-1') return new Error('unknown_run');
    if (file === undefined) return { run_id, experiment: 'e' };
    expect(file).toBe('events.jsonl');
    const data = Buffer.from(text).subarray(offset, offset + 100);
    return {
      data: data.toString('base64'),
      offset,
      size: text.length,
      eof: offset + data.length >= text.length,
    };
  };
  expect(await run('events', 'demo-1')).toBe(0);
  expect(out).toBe(text);
  out = '';
  expect(await run('events', 'demo-1', '--as', 'spectramind')).toBe(0);
  expect(
    out
      .trim()
      .split('\n')
      .map((one) => JSON.parse(one).event),
  ).toEqual(['start', 'done']);
  out = '';
  expect(await run('events', 'demo-1', '--as', 'lezea')).toBe(0);
  expect(JSON.parse(out.split('\n')[0]!)).toMatchObject({ kind: 'run.started', exp_id: 'e' });
  expect(await run('events', 'other')).toBe(1);
  expect(await run('events', 'demo-1', '--as', 'xml')).toBe(2);
  expect(err).toContain("argument 'xml' is invalid. expected lezea, rldk or spectramind");
});
