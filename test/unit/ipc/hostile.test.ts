// Clients that mean no good: garbage, half and endless lines, wrong types, floods, readers that do not read.

import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DEFAULT_LIMITS } from '../../../src/attribution/limits.js';
import { LineSplitter } from '../../../src/ipc/framing.js';
import { listenOn, removeStale } from '../../../src/ipc/listen.js';
import {
  type Bench,
  callerOf,
  openRequest,
  processOf,
  startBench,
  temporaryFolder,
} from '../support/bench.js';
import { Client, type IpcBench, startIpc } from '../support/ipc-bench.js';

let folder: ReturnType<typeof temporaryFolder>;
let bench: Bench;
let ipc: IpcBench;
let client: Client;

const SMALL = {
  ...DEFAULT_LIMITS,
  idleConnections: 3,
  sessions: 2,
  liveRuns: 2,
  scopesPerRun: 3,
  eventsPerRun: 2,
  tagsPerRun: 2,
};

beforeEach(async () => {
  folder = temporaryFolder();
  bench = startBench(folder.path, { limits: SMALL });
  ipc = await startIpc(bench, folder.path, join(folder.path, 'proc'));
  ipc.processes.add({ pid: 100, ppid: 1 });
  client = await ipc.connect();
});

afterEach(() => {
  client.close();
  ipc.server.stopAccepting();
  ipc.server.close();
  bench.close();
  folder.remove();
});

const alive = () => client.result('hello', {});

describe('lines', () => {
  it('answers garbage and goes on', async () => {
    client.raw('not json\n{"jsonrpc":"1.0"}\n[]\n{"jsonrpc":"2.0","id":7,"method":"no.such"}\nnull\n\n\n');
    client.raw(Buffer.from([0xff, 0xfe, 0x00, 0x0a]));
    const refused = await client.until((message) => message.id === 7);
    expect(refused.error).toMatchObject({ code: -32601, data: { code: 'unsupported' } });
    await alive();
    const codes = client.messages.filter((message) => message.error).map((message) => message.error?.code);
    expect(codes).toEqual([-32700, -32600, -32600, -32601, -32600, -32700]);
  });

  it('waits for the other half of a line', async () => {
    const line = JSON.stringify({ jsonrpc: '2.0', id: 77, method: 'hello', params: {} });
    for (const character of `${line}\n`) client.raw(character);
    expect((await client.until((message) => message.id === 77)).result).toBeDefined();
  });

  it('refuses a line of 1 MB without keeping it, and takes the next', async () => {
    client.raw(`{"jsonrpc":"2.0","id":1,"method":"hello","params":{"x":"${'a'.repeat(1_000_000)}"}}\n`);
    const refused = await client.until((message) => message.error?.data?.code === 'too_large');
    expect(refused.id).toBeNull();
    await alive();
  });

  it('takes exactly 64 KiB', () => {
    const splitter = new LineSplitter();
    const fits = Buffer.concat([Buffer.alloc(65_536, 'a'), Buffer.from('\n')]);
    expect([...splitter.push(fits)]).toEqual(['a'.repeat(65_536)]);
    const tooLong = Buffer.concat([Buffer.alloc(65_537, 'a'), Buffer.from('\nb\n')]);
    expect([...splitter.push(tooLong)]).toEqual([undefined, 'b']);
    expect([...splitter.push(Buffer.alloc(65_537, 'a'))]).toEqual([undefined]);
    expect([...splitter.push(Buffer.alloc(65_537, 'a'))]).toEqual([]);
    expect(splitter.held).toBe(0);
    expect([...splitter.push(Buffer.from('x\ny\n'))]).toEqual(['y']);
  });

  it('refuses wrong types with invalid_params', async () => {
    const wrong: [string, object][] = [
      ['run.start', { run_id: 7 }],
      ['run.start', { run_id: '../etc' }],
      ['run.start', { tags: { a: { b: 1 } } }],
      ['run.start', { name: 'a/b' }],
      ['run.start', { name: '\u202Eevil' }],
      ['session.open', { run_id: 'x', t_ns: 'now' }],
      ['session.open', { run_id: 'x', t_ns: -1 }],
      ['session.open', { run_id: 'x', t_ns: 1.5 }],
      ['session.open', { run_id: 'x', t_ns: 1, pid: 0 }],
      ['scope.define', { session: 'x', scopes: [] }],
      ['scope.enter', { session: '0'.repeat(32), scope: 1, path: 'a:b' }],
      ['scope.enter', { session: '0'.repeat(32), scope: 1 }],
      ['run.progress', { run_id: 'x', steps: -1 }],
      ['run.progress', { run_id: 'x', steps: Number.NaN }],
      ['run.usage', { run_id: 'x', fresh: 'yes' }],
      ['run.end', { run_id: 'x', status: 'LOST' }],
      ['run.list', { limit: 1e9 }],
      ['subscribe', { topics: ['everything'] }],
    ];
    for (const [method, params] of wrong) {
      expect(await client.refusal(method, params), `${method} ${JSON.stringify(params)}`).toBe(
        'invalid_params',
      );
    }
    client.raw('{"jsonrpc":"2.0","id":900,"method":"hello","params":[1]}\n');
    expect((await client.until((message) => message.id === 900)).error?.code).toBe(-32600);
    for (const method of ['__proto__', 'constructor', 'toString']) {
      expect((await client.call(method)).error?.code).toBe(-32601);
    }
  });

  it('takes hostile definitions one by one', async () => {
    const session = await openSession();
    const scopes = [
      null,
      7,
      'x',
      [],
      {},
      { id: -1 },
      { id: 1.5 },
      { id: 2 ** 33 },
      { id: 4, parent: -1, level: 'a', name: 'b' },
    ];
    client.notify('scope.define', {
      session,
      scopes: [...scopes, { id: 5, parent: 5, level: 'a', name: 'b' }],
    });
    client.notify('scope.define', { session, scopes: [{ id: 6, parent: 0, level: 'total', name: 'b' }] });
    client.notify('scope.define', { session, scopes: [{ id: 7, parent: 0, level: 'A', name: 'b' }] });
    client.notify('scope.define', {
      session,
      scopes: [{ id: 8, parent: 0, level: 'a', name: 'x'.repeat(129) }],
    });
    client.notify('scope.define', { session, scopes: [{ id: 9, parent: 0, level: 'a', name: 'fine' }] });
    await client.result('run.usage', { run_id: 'r1', scope: 'a:fine' });
    const ids = client.messages
      .filter((m) => m.method === 'dropped')
      .flatMap((m) => m.params?.ids as number[]);
    expect(ids).toEqual([5, 4, 6, 7, 8]);
  });
});

async function openSession(): Promise<string> {
  await client.result('run.start', { run_id: 'r1' });
  return (await client.result('session.open', { run_id: 'r1', t_ns: 5_000_000_000 })).session as string;
}

describe('limits', () => {
  it('closes connections past the limit with a reason', async () => {
    const others = [await ipc.connect(), await ipc.connect()];
    const fourth = await ipc.connect();
    const refused = await fourth.until((message) => message.error !== undefined);
    expect(refused.error?.message).toMatch(/idleConnections is 3/);
    await fourth.untilClosed();
    ipc.peer = { ...ipc.peer, uid: 1001 };
    const neighbour = await ipc.connect();
    await neighbour.result('hello');
    for (const other of [...others, neighbour]) other.close();
    expect(bench.attribution.limiter.refusals.get('idleConnections')).toBe(1);
  });

  it('bounds runs, scopes, tags and events', async () => {
    const session = await openSession();
    await client.result('run.start', { run_id: 'r2' });
    expect(await client.refusal('run.start', { run_id: 'r3' })).toBe('too_many');
    const scopes = [1, 2, 3, 4].map((id) => ({ id, parent: 0, level: 'layer', name: `l${id}` }));
    client.notify('scope.define', { session, scopes });
    const dropped = await client.until((message) => message.method === 'dropped');
    expect(dropped.params).toMatchObject({ ids: [4] });
    expect(dropped.params?.reason).toMatch(/scopesPerRun is 3/);
    expect(await client.refusal('scope.enter', { session, path: 'layer:l5' })).toBe('too_many');
    expect(await client.refusal('run.update', { run_id: 'r1', tags: { a: '1', b: '2', c: '3' } })).toBe(
      'too_many',
    );
    for (let i = 0; i < 2; i += 1) await client.result('run.event', { run_id: 'r1', event: 'x' });
    expect(await client.refusal('run.event', { run_id: 'r1', event: 'x' })).toBe('too_many');
    const big = { run_id: 'r1', event: 'x', data: { a: 'x'.repeat(20_000) } };
    expect(await client.refusal('run.event', big)).toBe('too_large');
  });

  it('bounds sessions per owner, and the token of another is worth nothing', async () => {
    const { commands } = bench.attribution;
    commands.start(callerOf(1), { runId: 'r' });
    const session = await commands.openSession(callerOf(1), openRequest('r', 1));
    await commands.openSession(callerOf(2), openRequest('r', 2));
    await expect(commands.openSession(callerOf(3), openRequest('r', 3))).rejects.toMatchObject({
      code: 'too_many',
    });
    expect(() => commands.session(callerOf(1, 2000), session.token)).toThrow(/no such session/);
  });

  it('loses notifications for a reader that does not read, says so, and slows nothing', async () => {
    await client.result('subscribe', { topics: ['tick'] });
    await openSession();
    client.socket.pause();
    const tags = Object.fromEntries([['k', 'v'.repeat(4000)]]);
    await bench.attribution.commands.update(callerOf(100), 'r1', { tags });
    for (let i = 0; i < 6000; i += 1) {
      bench.sampler.spend(processOf(100), 1n);
      await bench.checkpoint();
      if (ipc.server.lostNotifications > 3) break;
    }
    expect(ipc.server.lostNotifications).toBeGreaterThan(3);
    client.socket.resume();
    const resync = await client.until((message) => message.method === 'resync');
    expect(resync.params?.lost).toBeGreaterThan(0);
    await alive();
  });

  it('stops reading from a peer that asks and does not read', async () => {
    client.socket.pause();
    const line = `${JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'hello', params: {} })}\n`;
    for (let i = 0; i < 100; i += 1) client.raw(line.repeat(100));
    await expect.poll(() => client.socket.writableLength > 0 && stable()).toBe(true);
    const handled = ipc.server.requests.handled;
    expect(handled).toBeLessThan(10_000);
    client.socket.resume();
    await expect.poll(() => ipc.server.requests.handled, { timeout: 15_000 }).toBe(10_000);
  });

  let last = -1;
  function stable(): boolean {
    const same = last === ipc.server.requests.handled;
    last = ipc.server.requests.handled;
    return same && last > 0;
  }
});

describe('the socket file', () => {
  it('removes a stale socket, refuses a live one and anything else', async () => {
    await expect(removeStale(ipc.path)).rejects.toThrow(/an agent is listening/);
    const file = join(folder.path, 'file');
    writeFileSync(file, '');
    await expect(removeStale(file)).rejects.toThrow(/something else/);
    await removeStale(join(folder.path, 'nothing'));
    const stale = join(folder.path, 'stale.sock');
    await leaveStale(stale);
    const server = createServer();
    await listenOn(server, stale, 'user');
    expect((await Client.connect(stale)).closed).toBe(false);
    server.close();
  });

  it('refuses a folder that others may write to, and a path too long', async () => {
    const server = createServer();
    await expect(listenOn(server, join(folder.path, 'x'.repeat(120)), 'user')).rejects.toThrow(/107 bytes/);
    await expect(listenOn(server, '/tmp/lezea-test.sock', 'user')).rejects.toThrow(/expected a folder/);
  });
});

/** A socket file as a killed agent leaves it: bound, and nobody there. */
async function leaveStale(path: string): Promise<void> {
  const { execFileSync } = await import('node:child_process');
  const script = `require('node:net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
  try {
    execFileSync(process.execPath, ['-e', script], { stdio: 'ignore' });
  } catch (error) {
    if ((error as { signal?: string }).signal !== 'SIGKILL') throw error;
  }
}
