// Limits with a whole agent: real processes, real time, and an agent that is killed in between.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { constraintsDocument } from '../../../src/files/constraints-document.js';
import { loadAddon } from '../../../src/native/addon.js';
import { BIN } from '../support/agent-process.js';
import { type Burner, startBurner } from '../support/burner.js';
import { MortalAgent } from '../support/mortal-agent.js';

const addon = loadAddon();
let agent: MortalAgent;

beforeEach(async () => {
  agent = await MortalAgent.start(['--set', 'cost.cpu_per_core_hour=3600']);
});

afterEach(() => agent.stop());

interface State {
  limit: string;
  scope?: string;
  level?: string;
  experiment?: string;
  value: number;
  used?: number;
  remaining?: number;
  state: string;
}

async function statesOf(runId: string): Promise<State[]> {
  return (await agent.client.result('run.usage', { run_id: runId, fresh: true })).limits as State[];
}

async function wait(runId: string, fits: (states: State[]) => boolean): Promise<State[]> {
  const seen: { last: State[] } = { last: [] };
  const holds = async () => {
    seen.last = await statesOf(runId);
    return fits(seen.last);
  };
  await expect.poll(holds, { timeout: 20_000, interval: 50 }).toBe(true);
  return seen.last;
}

/** What the audit trail says of limits, as `event limit place`. */
async function told(runId: string): Promise<string[]> {
  const { data } = (await agent.client.result('run.get', { run_id: runId, file: 'events.jsonl' })) as {
    data: string;
  };
  const lines = Buffer.from(data, 'base64').toString().trimEnd().split('\n');
  return lines
    .map((line) => JSON.parse(line))
    .filter(({ event }) => event.startsWith('limit_'))
    .map(({ event, data: said }) =>
      [event.slice(6), said.limit ?? said.signal, said.scope ?? said.level ?? said.experiment]
        .filter(Boolean)
        .join(' '),
    );
}

const ofLimit = (all: string[], limit: string) =>
  all.filter((line) => line.split(' ').slice(1).join(' ') === limit);

async function burnerIn(runId: string, params: object): Promise<Burner> {
  const burner = await startBurner();
  agent.own(burner.child);
  const started = await agent.client.call('run.start', { run_id: runId, ...params });
  expect(started.error).toBeUndefined();
  await bind(runId, burner);
  return burner;
}

async function bind(runId: string, { child }: Burner): Promise<void> {
  const opened = { run_id: runId, pid: child.pid, t_ns: Number(addon.monotonicNs()) };
  await agent.client.result('session.open', opened);
}

const end = (runId: string) =>
  agent.client.result('run.end', { run_id: runId, status: 'FINISHED', all: true });

it('each is told once at 80 % and once at 100 %, though the agent is killed twice', {
  timeout: 120_000,
}, async () => {
  const limits = {
    runtime_seconds: 3600,
    core_hours: 2 / 3600,
    cost: 4,
    memory_bytes: 4096,
    gpu_hours: 1,
    steps: 1000,
    scopes: { 'builder:b/tasker:t': { steps: 10 } },
    levels: { tasker: { steps: 20, episodes: 5 } },
  };
  const burner = await burnerIn('r', { limits });
  const { session } = await agent.client.result('session.open', {
    run_id: 'r',
    t_ns: Number(addon.monotonicNs()),
  });
  for (const [at, path] of ['builder:b/tasker:t', 'builder:b/tasker:u'].entries()) {
    agent.client.notify('scope.enter', { session, path, t_ns: Number(addon.monotonicNs()) + at });
    agent.client.notify('scope.exit', { session, path });
  }
  const progress = (name: string, steps: number) =>
    agent.client.result('run.progress', { run_id: 'r', scope: `builder:b/tasker:${name}`, steps });
  await progress('t', 8);
  await burner.burn(1700);
  const early = await wait('r', (all) =>
    all.some(({ limit, state }) => limit === 'core_hours' && state === 'warned'),
  );
  expect(early.find(({ limit }) => limit === 'memory_bytes')).toMatchObject({
    remaining: 0,
    state: 'exceeded',
  });
  expect(early.find(({ limit }) => limit === 'gpu_hours')).toEqual({
    limit: 'gpu_hours',
    value: 1,
    state: 'unknown',
  });
  await agent.restart();
  await burner.burn(500);
  await progress('t', 2);
  await wait('r', (all) => all.some(({ limit, state }) => limit === 'core_hours' && state === 'exceeded'));
  await agent.restart();
  await progress('u', 10);
  await burner.burn(2000);
  const late = await wait('r', (all) =>
    all.some(({ limit, state }) => limit === 'cost' && state === 'exceeded'),
  );
  for (const { value, used, remaining } of late) {
    if (used !== undefined) expect(remaining).toBeCloseTo(Math.max(0, value - used), 9);
  }
  await end('r');
  const all = await told('r');
  for (const limit of ['core_hours', 'cost', 'memory_bytes', 'steps builder:b/tasker:t', 'steps tasker']) {
    expect(ofLimit(all, limit), limit).toEqual([`warning ${limit}`, `exceeded ${limit}`]);
  }
  expect(all).toHaveLength(10);
  expect(burner.child.exitCode ?? burner.child.signalCode).toBe(null);
  const { data } = (await agent.client.result('run.get', {
    run_id: 'r',
    file: 'constraints/constraints.json',
  })) as { data: string };
  const document = constraintsDocument.parse(JSON.parse(Buffer.from(data, 'base64').toString()));
  expect(document.constraints.map(({ limit, outcome }) => `${limit} ${outcome}`)).toEqual([
    ...[
      'runtime_seconds kept',
      'core_hours exceeded',
      'cost exceeded',
      'memory_bytes exceeded',
      'gpu_hours unknown',
    ],
    ...['steps kept', 'steps exceeded', 'steps exceeded', 'episodes kept'],
  ]);
  const { http } = JSON.parse(readFileSync(join(agent.folder, 'state', 'agent.json'), 'utf8'));
  const metrics = await (await fetch(`http://${http}/metrics`)).text();
  expect(metrics).toMatch(/lezea_run_limit_used_ratio\{run="r",limit="steps",level="tasker"\} 1\n/);
});

it('of the wall time is told in time, to the run’s own connection, and goes on over a kill', {
  timeout: 60_000,
}, async () => {
  await burnerIn('r', { limits: { runtime_seconds: 5 } });
  const begun = performance.now();
  const { params } = await agent.client.until(({ method }) => method === 'limit');
  expect(params).toMatchObject({ event: 'limit_warning', limit: 'runtime_seconds', state: 'warned' });
  const seconds = (performance.now() - begun) / 1000;
  expect(seconds).toBeGreaterThan(3);
  // 80 % are 4 s; a checkpoint later, on a machine that has other work too.
  expect(params?.used as number).toBeGreaterThanOrEqual(4);
  expect(params?.used as number).toBeLessThan(4 + 3);
  await agent.restart();
  await wait('r', ([state]) => state?.state === 'exceeded');
  expect(await told('r')).toEqual(['warning runtime_seconds', 'exceeded runtime_seconds']);
});

it('of an experiment is of its three runs, and a fourth is refused only where it asks', {
  timeout: 60_000,
}, async () => {
  const experiment = { core_hours: 1.5 / 3600 };
  for (const runId of ['a', 'b', 'c']) {
    const { burn } = await burnerIn(runId, {
      experiment: 'demo',
      ...(runId === 'a' ? { limits: { experiment } } : {}),
    });
    await burn(620);
    if (runId === 'b') await agent.restart();
    await wait(runId, ([state]) => (state?.used ?? 0) * 3600 > 0.6 * (runId.charCodeAt(0) - 96));
    await end(runId);
  }
  expect(await told('a')).toEqual([]);
  expect(await told('b')).toEqual(['warning core_hours demo']);
  expect(await told('c')).toEqual(['exceeded core_hours demo']);
  const limits = { on_exceeded: 'refuse' };
  expect(await agent.client.refusal('run.start', { run_id: 'd', experiment: 'demo', limits })).toBe(
    'over_budget',
  );
  expect((await agent.client.result('run.start', { run_id: 'd', experiment: 'demo' })).limits).toMatchObject([
    { experiment: 'demo', state: 'exceeded', remaining: 0 },
  ]);
});

it('ends the command that asked for it, with SIGTERM and then SIGKILL, and nothing beside it', {
  timeout: 60_000,
}, async () => {
  const bystander = await burnerIn('beside', { limits: { runtime_seconds: 0.1 } });
  const stubborn = 'trap "echo asked" TERM; echo up; while :; do sleep 0.1; done';
  const words = [
    '--limit',
    'runtime_seconds=1',
    '--on-limit',
    'terminate',
    '--limit-grace',
    '1',
    '--run-id',
    'r',
  ];
  const child = spawn(process.execPath, [BIN, 'run', ...words, 'sh', '-c', stubborn], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, LEZEA_MONITOR_SOCKET: agent.socket },
  });
  agent.own(child);
  let out = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
  });
  const [code] = await once(child, 'close');
  expect({ code, asked: out.includes('asked') }).toEqual({ code: 137, asked: true });
  // The command waits for the run's end only so long.
  const run = () => agent.client.result('run.get', { run_id: 'r' });
  await expect.poll(async () => (await run()).status, { timeout: 20_000 }).toBe('KILLED');
  const { reason } = await run();
  expect(reason).toMatch(/^limit runtime_seconds of 1 exceeded: ended by signal 9/);
  const all = await told('r');
  expect(all.slice(0, 2)).toEqual(['warning runtime_seconds', 'exceeded runtime_seconds']);
  expect(all).toEqual(expect.arrayContaining(['signalled SIGTERM', 'signalled SIGKILL']));
  expect(await told('beside')).toEqual(['warning runtime_seconds', 'exceeded runtime_seconds']);
  expect(bystander.child.exitCode ?? bystander.child.signalCode).toBe(null);
});

const PROGRAM = `
import json, sys, time
import lezea_monitor as lm

heard = []
def hear(what):
    heard.append(what)
    print("heard", what, flush=True)
run = lm.start_run("demo", run_id="py", limits={"core_hours": 2 / 3600, "scopes": {"tasker:t": {"steps": 3}}},
                   on_limit=lambda limit: hear("%s %s" % (limit["event"], limit["limit"])))
while not run.should_stop:
    with run.tasker("t"):
        end = time.process_time() + 0.05
        while time.process_time() < end:
            sum(range(100))
stopped = time.process_time()
while len(heard) < 2:
    time.sleep(0.01)
sys.stdin.readline()  # what is reported to an agent that dies within the second is not counted
with run.tasker("t"):
    run.progress(steps=3)
while len(heard) < 4:
    time.sleep(0.01)
limits = run.limits
stop = run.should_stop
run.end()
print(json.dumps({"heard": heard, "limits": limits, "stopped": stopped, "stop": stop}), flush=True)
`;

it('are the same to a Python program’s callback, should_stop and what remains, over a kill', {
  timeout: 60_000,
}, async () => {
  const child = spawn('python3', ['-c', PROGRAM], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: {
      ...process.env,
      PYTHONPATH: join(import.meta.dirname, '../../../python'),
      LEZEA_MONITOR_SOCKET: agent.socket,
    },
  });
  agent.own(child);
  const closed = once(child, 'close');
  let out = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
  });
  await expect.poll(() => out, { timeout: 20_000 }).toContain('heard limit_warning core_hours\n');
  await agent.restart();
  child.stdin.end('\n');
  expect((await closed)[0]).toBe(0);
  const { heard, limits, stopped, stop } = JSON.parse(out.trim().split('\n').at(-1) as string);
  const each = (limit: string) => [`limit_warning ${limit}`, `limit_exceeded ${limit}`];
  expect(heard).toEqual([...each('core_hours'), ...each('steps')]);
  expect(stop).toBe(true);
  expect(limits).toMatchObject([
    { limit: 'core_hours', remaining: 0, state: 'exceeded' },
    { limit: 'steps', scope: 'tasker:t', used: 3, remaining: 0, ratio: 1, state: 'exceeded' },
  ]);
  // The program read it a tick, a checkpoint and a turn later, on a machine that has other work too.
  expect(stopped).toBeGreaterThan(1.9);
  expect(stopped).toBeLessThan(2 + 3);
  const all = await told('py');
  expect(ofLimit(all, 'core_hours')).toEqual(['warning core_hours', 'exceeded core_hours']);
  expect(ofLimit(all, 'steps tasker:t')).toEqual(['warning steps tasker:t', 'exceeded steps tasker:t']);
});
