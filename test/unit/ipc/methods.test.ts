// The socket's methods over a real Unix socket: a client's whole life, whose process is whose, clocks, queries, topics.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { TrackedRun } from '../../../src/attribution/tracked-run.js';
import { NOTIFICATIONS } from '../../../src/ipc/notifications.js';
import { METHODS } from '../../../src/ipc/protocol.js';
import { type Bench, processOf, startBench, temporaryFolder } from '../support/bench.js';
import { type Client, type IpcBench, startIpc } from '../support/ipc-bench.js';

let folder: ReturnType<typeof temporaryFolder>;
let bench: Bench;
let ipc: IpcBench;
let client: Client;

function status(pid: number, numbers: number[], task = pid): void {
  const path = join(folder.path, 'proc', String(pid));
  mkdirSync(join(path, 'task', String(task)), { recursive: true });
  const text = `Name:\tfake\nNSpid:\t${numbers.join('\t')}\n`;
  if (task === pid) writeFileSync(join(path, 'status'), text);
  writeFileSync(join(path, 'task', String(task), 'status'), text);
}

beforeEach(async () => {
  folder = temporaryFolder();
  bench = startBench(folder.path);
  ipc = await startIpc(bench, folder.path, join(folder.path, 'proc'));
  for (const pid of [100, 101, 102]) {
    ipc.processes.add({ pid, ppid: pid === 100 ? 1 : pid - 1 });
    status(pid, [pid]);
  }
  client = await ipc.connect();
});

afterEach(() => {
  client.close();
  ipc.server.stopAccepting();
  ipc.server.close();
  bench.close();
  folder.remove();
});

const T = 5_000_000_000;

async function open(runId = 'r1'): Promise<string> {
  await client.result('run.start', { run_id: runId });
  return (await client.result('session.open', { run_id: runId, t_ns: T })).session as string;
}

describe('a client', () => {
  it('says hello, runs, announces, asks and ends', async () => {
    const hello = await client.result('hello', {
      client: 'test',
      version: '1',
      protocols: [1, 2],
      extra: true,
    });
    expect(hello).toMatchObject({ server: 'lezea-monitor', protocol: 1, mode: 'user', boot_id: 'boot-1' });
    const session = await open();
    expect(session).toMatch(/^[0-9a-f]{32}$/);
    client.notify('scope.define', {
      session,
      scopes: [
        { id: 5, parent: 0, level: 'builder', name: 'b0' },
        { id: 9, parent: 5, level: 'tasker', name: 't/1', label: 'bad' },
        { id: 6, parent: 5, level: 'tasker', name: 't1' },
      ],
    });
    const dropped = await client.until((message) => message.method === 'dropped');
    expect(dropped.params).toMatchObject({ session, ids: [9] });
    client.notify('scope.enter', { session, scope: 6, t_ns: T });
    client.notify('scope.exit', { session, scope: 6 });
    const run = bench.attribution.store.find('r1')[0]!;
    const slot = run.scope('builder:b0/tasker:t1')!.slot;
    bench.sampler.spend(processOf(100), 2_000_000_000n, slot);
    bench.sampler.spend(processOf(100), 500_000_000n);
    const usage = await client.result('run.usage', { run_id: 'r1', scope: 'builder:b0', fresh: true });
    expect(usage).toMatchObject({
      scope: 'builder:b0',
      self: { cpu_seconds: 0 },
      inclusive: { cpu_seconds: 2 },
    });
    const whole = await client.result('run.usage', { run_id: 'r1' });
    expect(whole).toMatchObject({
      scope: null,
      inclusive: { cpu_seconds: 2.5 },
      unattributed: { cpu_seconds: 0.5 },
    });
    expect(bench.sampler.enters.map((enter) => [enter.tid, enter.slot, enter.activation])).toEqual([
      [100, slot, true],
      [100, 0, false],
    ]);
    const end = await client.result('run.end', { run_id: 'r1', status: 'FINISHED' });
    expect(end).toEqual({ final: true, status: 'FINISHED', totals: { cpu_seconds: 2.5 } });
  });

  it('keeps a part when its connection goes, and voids its announcements', async () => {
    await open();
    client.close();
    await expect.poll(() => bench.sampler.calls.some((call) => call.startsWith('closeSession'))).toBe(true);
    expect(bench.sampler.processes.size).toBe(1);
    expect(bench.attribution.sessions.count).toBe(0);
  });

  it('maps refused ids to the nearest defined ancestor', async () => {
    const session = await open();
    const deep = Array.from({ length: 18 }, (_, i) => ({
      id: i + 1,
      parent: i,
      level: 'layer',
      name: `l${i}`,
    }));
    client.notify('scope.define', { session, scopes: deep });
    const first = await client.until(
      (message) => message.method === 'dropped' && /scopeDepth/.test(`${message.params?.reason}`),
    );
    expect(first.params?.ids).toEqual([17]);
    const second = await client.until(
      (message) => message.method === 'dropped' && /parent/.test(`${message.params?.reason}`),
    );
    expect(second.params?.ids).toEqual([18]);
    const handle = [...bench.attribution.store.live()][0]!;
    const deepest = [...handle.scopes()].at(-1)!;
    const maps = [...bench.sampler.maps].filter(([key]) => /:(16|17|18)$/.test(key)).map(([, slot]) => slot);
    expect(maps).toEqual([deepest.slot, deepest.slot, deepest.slot]);
  });

  it('refuses to give an id a second meaning', async () => {
    const session = await open();
    const define = (name: string) =>
      client.notify('scope.define', { session, scopes: [{ id: 1, parent: 0, level: 'layer', name }] });
    define('a');
    define('a');
    define('b');
    const dropped = await client.until((message) => message.method === 'dropped');
    expect(dropped.params?.reason).toMatch(/already means/);
    await client.result('run.usage', { run_id: 'r1', scope: 'layer:a' });
    expect(client.messages.filter((message) => message.method === 'dropped')).toHaveLength(1);
  });
});

describe('a start while the run is being finished', () => {
  it('waits for the end and is the next attempt', async () => {
    await open();
    let letGo: () => void = () => undefined;
    bench.sampler.gate = new Promise((resolve) => {
      letGo = resolve;
    });
    const [starter, asker] = [await ipc.connect(), await ipc.connect()];
    const end = client.result('run.end', { run_id: 'r1', status: 'FINISHED', all: true });
    await expect.poll(() => [...bench.attribution.store.live()][0]?.status).toBe('FINISHING');
    const again = starter.result('run.start', { run_id: 'r1' });
    expect(await asker.result('run.start', { run_id: 'r2' })).toMatchObject({ created: true });
    letGo();
    expect(await end).toMatchObject({ final: true });
    expect(await again).toEqual({ run_id: 'r1', created: true });
    expect(await client.result('run.get', { run_id: 'r1' })).toMatchObject({ attempt: 2 });
    for (const each of [starter, asker]) each.close();
  });
});

describe('an event', () => {
  it('is refused when it is nested deeper than its readers can follow', async () => {
    await open();
    const nested = (levels: number) => JSON.parse(`{"x":${'['.repeat(levels)}${']'.repeat(levels)}}`);
    await client.result('run.event', { run_id: 'r1', event: 'flat', data: nested(31) });
    const deep = { run_id: 'r1', event: 'deep', data: nested(2000) };
    expect(await client.refusal('run.event', deep)).toBe('too_large');
  });
});

describe('who is whose', () => {
  it('binds a living descendant from outside, and no one else', async () => {
    await client.result('run.start', { run_id: 'r1' });
    await client.result('session.open', { run_id: 'r1', pid: 102, t_ns: T });
    expect(bench.sampler.calls.at(-1)).toMatch(/^bind 0 102:/);
    ipc.processes.add({ pid: 200, ppid: 1 });
    expect(await client.refusal('session.open', { run_id: 'r1', pid: 200, t_ns: T })).toBe('not_authorized');
    ipc.processes.add({ pid: 201, ppid: 100, uid: 1001 });
    expect(await client.refusal('session.open', { run_id: 'r1', pid: 201, t_ns: T })).toBe('not_authorized');
    ipc.processes.add({ pid: 202, ppid: 100, pidNamespace: 8n });
    expect(await client.refusal('session.open', { run_id: 'r1', pid: 202, t_ns: T })).toBe('not_authorized');
    expect(await client.refusal('session.open', { run_id: 'r1', pid: 999, t_ns: T })).toBe('not_authorized');
  });

  it('takes an orphan that is bound to the caller’s run', async () => {
    await open();
    bench.sampler.fork(processOf(100), processOf(300));
    await bench.checkpoint();
    ipc.processes.add({ pid: 300, ppid: 1 });
    await client.result('session.open', { run_id: 'r1', pid: 300, t_ns: T });
  });

  it('refuses a connection whose process is gone', async () => {
    await client.result('run.start', { run_id: 'r1' });
    ipc.processes.remove(100);
    expect(await client.refusal('session.open', { run_id: 'r1', t_ns: T })).toBe('not_authorized');
  });

  it('knows a namespaced client by the numbers it sees itself', async () => {
    ipc.peer = { ...ipc.peer, pid: 500, startTicks: 50_000n, pidNamespace: 8n };
    ipc.processes.add({ pid: 500, ppid: 1, pidNamespace: 8n });
    status(500, [500, 7]);
    status(500, [501, 8], 501);
    const inside = await ipc.connect();
    await inside.result('run.start', { run_id: 'r1' });
    await inside.result('session.open', { run_id: 'r1', pid: 7, tid: 8, t_ns: T });
    expect(bench.attribution.sessions.count).toBe(1);
    expect(bench.attribution.store.find('r1')[0]?.owner.pidNamespace).toBe(8n);
    expect(await inside.refusal('session.open', { run_id: 'r1', tid: 99, t_ns: T })).toBe('invalid_params');
    expect(await inside.refusal('session.open', { run_id: 'r1', pid: 101, t_ns: T })).toBe('unsupported');
    inside.close();
  });

  it('hides other owners’ runs and sessions', async () => {
    const session = await open();
    ipc.peer = { ...ipc.peer, pid: 101, uid: 1001, startTicks: 10_100n };
    const other = await ipc.connect();
    expect(await other.refusal('run.usage', { run_id: 'r1' })).toBe('unknown_run');
    expect(await other.refusal('run.get', { run_id: 'r1' })).toBe('unknown_run');
    expect(await other.refusal('run.end', { run_id: 'r1', status: 'KILLED', all: true })).toBe('unknown_run');
    expect(await other.refusal('scope.enter', { session, path: 'a:b' })).toBe('invalid_params');
    expect(await other.result('run.list')).toEqual({ runs: [] });
    other.close();
    for (const uid of [0, 4242]) {
      ipc.peer = { ...ipc.peer, uid };
      const privileged = await ipc.connect();
      expect(await privileged.result('run.usage', { run_id: 'r1' })).toMatchObject({ run_id: 'r1' });
      expect((await privileged.result('run.list')).runs).toHaveLength(1);
      privileged.close();
    }
    ipc.peer = { ...ipc.peer, uid: 0, pidNamespace: 9n };
    const containerRoot = await ipc.connect();
    expect(await containerRoot.refusal('run.get', { run_id: 'r1' })).toBe('unknown_run');
    containerRoot.close();
  });

  it('refuses a clock that is not ours, unless the time namespace explains it', async () => {
    await client.result('run.start', { run_id: 'r1' });
    for (const t of [T - 1_500_000_000, T + 1_500_000_000, 0]) {
      expect(await client.refusal('session.open', { run_id: 'r1', t_ns: t })).toBe('clock_mismatch');
    }
    ipc.processes.add({ pid: 100, ppid: 1, clockOffsetNs: 100_000_000_000n });
    expect(await client.refusal('session.open', { run_id: 'r1', t_ns: T })).toBe('clock_mismatch');
    await client.result('session.open', { run_id: 'r1', t_ns: T + 100_000_000_000 });
  });

  it('answers already_bound for a session of its own in another run', async () => {
    await open('r1');
    await client.result('run.start', { run_id: 'r2' });
    expect(await client.refusal('session.open', { run_id: 'r2', t_ns: T })).toBe('already_bound');
  });
});

describe('queries and topics', () => {
  it('gets a run, its list line and a document in pieces', async () => {
    await client.result('run.start', {
      run_id: 'r1',
      experiment: 'e',
      name: 'n',
      tags: { k: 'v', __proto__: 'x' },
    });
    const body = Buffer.alloc(60_000, 'x');
    ipc.files.set('resources/summary.json', body);
    const state = await client.result('run.get', { run_id: 'r1' });
    expect(state).toMatchObject({
      run_id: 'r1',
      experiment: 'e',
      name: 'n',
      status: 'REGISTERED',
      attempt: 1,
      owner_uid: 1000,
      files: ['resources/summary.json'],
      phases: [],
      progress: { steps: 0, episodes: 0 },
    });
    const first = await client.result('run.get', { run_id: 'r1', file: 'resources/summary.json', offset: 0 });
    expect(first).toMatchObject({ size: 60_000, eof: false });
    const length = Buffer.from(first.data as string, 'base64').length;
    const rest = await client.result('run.get', {
      run_id: 'r1',
      file: 'resources/summary.json',
      offset: length,
    });
    expect(rest).toMatchObject({ offset: length, eof: true });
    expect((await client.result('run.list')).runs).toMatchObject([{ run_id: 'r1', status: 'REGISTERED' }]);
  });

  it('answers every method in the shape it promises', async () => {
    await open();
    const calls: [keyof typeof METHODS, object][] = [
      ['hello', {}],
      ['run.progress', { run_id: 'r1', steps: 1 }],
      ['run.usage', { run_id: 'r1', fresh: true }],
      ['run.update', { run_id: 'r1', tags: { a: 'b' }, limits: { steps: 3, gpu_hours: 1 } }],
      ['run.update', { run_id: 'r1', facts: { seeds: [1] } }],
      ['run.event', { run_id: 'r1', event: 'x', data: { a: [1] } }],
      ['run.phase', { run_id: 'r1', name: 'warmup' }],
      ['run.get', { run_id: 'r1' }],
      ['run.list', {}],
      ['node.status', {}],
      ['node.inventory', {}],
      ['agent.health', {}],
      ['outbox.list', {}],
      ['outbox.import', { bytes: 1 }],
      ['subscribe', { topics: ['run', 'tick'] }],
      ['run.end', { run_id: 'r1', status: 'FINISHED' }],
    ];
    for (const [method, params] of calls) {
      const result = await client.result(method, params);
      expect(METHODS[method].result.safeParse(result).success, method).toBe(true);
    }
    expect(await client.refusal('hello', { protocols: [2] })).toBe('unsupported');
  });

  it('takes limits, says how they stand, and tells the run’s own sessions and who asked', async () => {
    const watcher = await ipc.connect();
    const stranger = await ipc.connect();
    await watcher.result('subscribe', { topics: ['limit'] });
    const limits = { core_hours: 0.001, scopes: { 'tasker:t': { steps: 2 } }, experiment: { cost: 1 } };
    const started = await client.result('run.start', { run_id: 'r1', experiment: 'e', limits });
    expect(started.limits).toEqual([
      { limit: 'core_hours', value: 0.001, state: 'unknown' },
      { limit: 'steps', scope: 'tasker:t', value: 2, state: 'unknown' },
      { limit: 'cost', experiment: 'e', value: 1, state: 'unknown' },
    ]);
    expect(METHODS['run.start'].result.safeParse(started).success).toBe(true);
    await client.result('session.open', { run_id: 'r1', t_ns: T });
    bench.sampler.spend(processOf(100), 3_000_000_000n);
    const { limits: stand } = await client.result('run.usage', { run_id: 'r1', fresh: true });
    expect(stand).toMatchObject([{ used: 3 / 3600, state: 'warned' }, {}, {}]);
    const { params } = await watcher.until((message) => message.method === 'limit');
    expect(params).toEqual({
      ...{ run_id: 'r1', attempt: 1, event: 'limit_warning' },
      ...(stand as object[])[0],
    });
    expect(NOTIFICATIONS.limit.params.safeParse(params).success).toBe(true);
    await client.until((message) => message.method === 'limit');
    await stranger.result('run.list');
    expect(stranger.messages.filter((message) => message.method === 'limit')).toEqual([]);
    const raised = await client.result('run.update', {
      run_id: 'r1',
      limits: { core_hours: 1, experiment: { cost: null } },
    });
    expect(raised.limits).toMatchObject([{ limit: 'core_hours', value: 1, state: 'ok' }, { limit: 'steps' }]);
    for (const [given, message] of [
      [{ core_hour: 1 }, /limits\.core_hour: .*did you mean core_hours/],
      [{ scopes: { t: { steps: 1 } } }, /limits\.scopes\.t: not the path of a scope/],
    ] as const) {
      const { error } = await client.call('run.update', { run_id: 'r1', limits: given });
      expect(error).toMatchObject({
        data: { code: 'invalid_params' },
        message: expect.stringMatching(message),
      });
    }
    expect(await client.refusal('run.event', { run_id: 'r1', event: 'limit_exceeded' })).toBe(
      'invalid_params',
    );
    for (const each of [watcher, stranger]) each.close();
  });

  it('stores facts before it answers, and says which limit is in their way', async () => {
    await open();
    await client.result('run.update', { run_id: 'r1', facts: { a: { b: 1 } } });
    await client.result('run.update', {
      run_id: 'r1',
      facts: { a: { c: 'https://u:pw@h/' } },
      tags: { t: '1' },
    });
    const { store } = bench.attribution;
    const run = store.find('r1')[0]!;
    expect(store.facts(run)).toEqual({ a: { b: 1, c: 'https://h/' } });
    expect(run.tags).toEqual({ t: '1' });
    for (const facts of [[1], 'x', null]) {
      expect(await client.refusal('run.update', { run_id: 'r1', facts })).toBe('invalid_params');
    }
    let deep: unknown = 1;
    for (let level = 0; level < 17; level += 1) deep = { deep };
    expect(await client.refusal('run.update', { run_id: 'r1', facts: { deep } })).toBe('too_large');
    const many = Object.fromEntries(Array.from({ length: 256 }, (_, i) => [`k${i}`, i]));
    expect(await client.refusal('run.update', { run_id: 'r1', facts: many })).toBe('too_many');
    for (let part = 0; part < 5; part += 1) {
      const facts = { long: { [part]: 'x'.repeat(60_000) } };
      if (part < 4) await client.result('run.update', { run_id: 'r1', facts });
      else expect(await client.refusal('run.update', { run_id: 'r1', facts })).toBe('too_large');
    }
  });

  it('tells subscribers of status and figures of their own runs', async () => {
    await client.result('subscribe', { topics: ['run', 'tick'] });
    await open();
    bench.attribution.commands.start(
      { process: processOf(9), owner: { uid: 5, pidNamespace: 7n }, privileged: false },
      { runId: 'secret' },
    );
    bench.sampler.spend(processOf(100), 1_000_000_000n);
    await bench.checkpoint();
    const tick = await client.until(
      (message) => message.method === 'tick' && JSON.stringify(message).includes('cpu_seconds":1'),
    );
    expect(tick.params?.runs).toMatchObject([{ run_id: 'r1', totals: { cpu_seconds: 1 } }]);
    const seen = client.messages
      .filter((message) => message.method === 'run')
      .map((message) => message.params?.status);
    expect(seen).toEqual(['REGISTERED', 'RUNNING']);
    expect(JSON.stringify(client.messages)).not.toContain('secret');
  });

  it('carries out requests that came before the peer stopped sending', async () => {
    await client.result('run.start', { run_id: 'r1' });
    client.socket.end(
      `${JSON.stringify({ jsonrpc: '2.0', id: 'last', method: 'run.usage', params: { run_id: 'r1', fresh: true } })}\n`,
    );
    expect((await client.until((message) => message.id === 'last')).result).toMatchObject({ run_id: 'r1' });
    await client.untilClosed();
  });

  it('answers what is under way when the agent stops, and takes up nothing more', async () => {
    await open();
    const { handled } = ipc.server.requests;
    let release: () => void = () => undefined;
    bench.sampler.gate = new Promise((resolve) => {
      release = resolve;
    });
    const asked = client.result('run.usage', { run_id: 'r1', fresh: true });
    await expect.poll(() => ipc.server.requests.handled).toBe(handled + 1);
    ipc.server.stopServing();
    const late = { jsonrpc: '2.0', id: 'late', method: 'run.event', params: { run_id: 'r1', event: 'late' } };
    client.socket.end(`${JSON.stringify(late)}\n`);
    release();
    expect(await asked).toMatchObject({ run_id: 'r1' });
    await client.untilClosed();
    expect(client.messages.filter(({ id }) => id === 'late')).toEqual([]);
    expect((bench.attribution.store.find('r1')[0] as TrackedRun).events.count).toBe(0);
  });

  it('leaves unanswered what comes too late for the last sample: it is asked again of the next agent', async () => {
    await open();
    await bench.attribution.stop();
    client.socket.end(
      `${JSON.stringify({ jsonrpc: '2.0', id: 'last', method: 'run.end', params: { run_id: 'r1', status: 'FINISHED' } })}\n`,
    );
    await client.untilClosed();
    expect(client.messages.filter(({ id }) => id === 'last')).toEqual([]);
    expect(ipc.server.requests.errors.size).toBe(0);
  });
});
