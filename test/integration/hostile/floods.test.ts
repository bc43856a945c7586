// The real agent under floods over its socket: it lives, its memory and its event loop stay within bounds, and a bystander
// is answered and measured as if nothing were. What is measured is printed.

import { chmodSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { loadAddon } from '../../../src/native/addon.js';
import { AgentProcess } from '../../unit/support/agent-process.js';
import { temporaryFolder } from '../../unit/support/bench.js';
import { Bystander } from '../../unit/support/bystander.js';
import { Client, type Message } from '../../unit/support/ipc-bench.js';
import { asUser, noAccounts, PeerProcess } from '../../unit/support/peer-process.js';

/** Most that a flood may add to resident memory, MiB; longest stop of the event loop and longest answer, ms. */
const MOST_MIB = 120;
/** On a machine of its own it is tens of ms; other programs have the processors too: it is not seconds. */
const MOST_STOP_MS = 3000;
const MOST_ANSWER_MS = 5000;

const MALLORY = 54_322;

let folder: ReturnType<typeof temporaryFolder>;
let agent: AgentProcess;
let http: string;
let bystander: Bystander;
const sockets: Socket[] = [];
const peers: PeerProcess[] = [];

beforeAll(async () => {
  folder = temporaryFolder();
  chmodSync(folder.path, 0o755);
  agent = new AgentProcess(folder.path, { mode: 'system', probe: true });
  http = (await agent.ready()).http as string;
  bystander = await Bystander.start(agent.socket);
});

afterAll(() => {
  bystander.kill();
  agent.child.kill('SIGKILL');
  folder.remove();
});

let before: { now: number; peak: number };

beforeEach(async () => {
  await bystander.burn(50);
  before = agent.memory();
  agent.forgetPeak();
  await agent.loopDelay();
});

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  for (const peer of peers.splice(0)) peer.end();
  await expect.poll(() => connections(), { timeout: 18_000 }).toBe(1);
});

async function metric(name: string): Promise<number> {
  const text = await (await fetch(`http://${http}/metrics`)).text();
  const line = text.split('\n').find((each) => each.startsWith(`${name} `));
  return Number(line?.split(' ').at(-1) ?? 0);
}

const connections = () => metric('lezea_agent_connections');

/** What a flood may cost; `work` resolves when it is over. */
async function endure(title: string, work: Promise<unknown>): Promise<void> {
  const answer = await bystander.longestAnswer(work);
  const stop = await agent.loopDelay();
  const { peak, now } = agent.memory();
  const figures = `${title}: memory ${before.now.toFixed(0)} MiB, peak ${peak.toFixed(0)}, after ${now.toFixed(0)}; loop stopped ${stop.toFixed(0)} ms; longest answer ${answer.toFixed(0)} ms`;
  process.stdout.write(`${figures}\n`);
  expect(peak - before.now, figures).toBeLessThan(MOST_MIB);
  expect(stop, figures).toBeLessThan(MOST_STOP_MS);
  expect(answer, figures).toBeLessThan(MOST_ANSWER_MS);
}

/** A socket that is written to and, unless told so, never read from. */
async function deaf(): Promise<Socket> {
  const socket = createConnection(agent.socket);
  sockets.push(socket);
  socket.on('error', () => undefined);
  await new Promise((resolve) => socket.once('connect', resolve));
  socket.pause();
  return socket;
}

/** Writes all of it, as fast as it is taken; gives up after so long. */
function pour(socket: Socket, text: string, times: number, mostMs = 5000): Promise<number> {
  return new Promise((resolve) => {
    let written = 0;
    const stop = () => {
      clearTimeout(timer);
      resolve(written);
    };
    const timer = setTimeout(stop, mostMs);
    const go = () => {
      while (written < times) {
        written += 1;
        if (!socket.write(text)) {
          socket.once('drain', go);
          return;
        }
      }
      socket.once('close', stop);
      if (socket.writableLength === 0) stop();
      else socket.once('drain', stop);
    };
    go();
  });
}

async function session(client: Client, runId: string): Promise<string> {
  await client.result('run.start', { run_id: runId });
  const opened = await client.result('session.open', {
    run_id: runId,
    t_ns: Number(loadAddon().monotonicNs()),
  });
  return opened.session as string;
}

const hello = '{"jsonrpc":"2.0","id":1,"method":"hello"}\n';

describe('one connection', () => {
  it('a million definitions of scopes: ten thousand are kept, the others refused', async () => {
    const client = await Client.connect(agent.socket);
    sockets.push(client.socket);
    const token = await session(client, 'million');
    const lines = Array.from({ length: 1000 }, (_, batch) => {
      const scopes = Array.from({ length: 1000 }, (_, n) => ({
        id: batch * 1000 + n + 1,
        parent: 0,
        level: 'l',
        name: `${batch}-${n}`,
      }));
      const params = { session: token, scopes };
      return `${JSON.stringify({ jsonrpc: '2.0', method: 'scope.define', params })}\n`;
    });
    for (const line of lines) client.raw(line);
    const refusals = () => metric('lezea_agent_refusals_total{limit="scopesPerRun"}');
    const refused = expect.poll(refusals, { timeout: 15_000, interval: 200 }).toBeGreaterThan(50_000);
    await endure('a million definitions', Promise.resolve(refused));
    client.close();
    const other = await Client.connect(agent.socket);
    sockets.push(other.socket);
    await other.result('run.end', { run_id: 'million', status: 'FAILED', all: true });
  });

  it('lines of 64 KiB pass, longer ones are refused, and a gigabyte without an end is held by nobody', async () => {
    const client = await Client.connect(agent.socket);
    sockets.push(client.socket);
    const frame = '{"jsonrpc":"2.0","id":7,"method":"hello","params":{"x":""}}';
    const exact = frame.replace('""', `"${'x'.repeat(65_536 - frame.length)}"`);
    client.raw(`${exact}\n`);
    expect((await client.until(({ id }) => id === 7)).result).toBeDefined();
    client.raw(`${exact} \n`);
    const refused = await client.until(({ id }) => id === null);
    expect(refused.error).toMatchObject({ data: { code: 'too_large' } });
    expect(refused.error?.message).toMatch(/the limit requestBytes is 65536$/);
    const flood = pour(await deaf(), 'x'.repeat(1 << 20), 1024, 4000);
    await endure('a line without an end', flood);
    await client.result('hello');
  });

  it('invalid UTF-8, half a line, one byte at a time, and bombs of JSON are answered or waited for', async () => {
    const client = await Client.connect(agent.socket);
    sockets.push(client.socket);
    const half = await deaf();
    half.write('{"jsonrpc":"2.0","id":1,"meth');
    const bombs = [
      `${'['.repeat(30_000)}${']'.repeat(30_000)}`,
      `${'{"a":'.repeat(10_000)}1${'}'.repeat(10_000)}`,
      `{"jsonrpc":"2.0","id":${'9'.repeat(60_000)},"method":"hello"}`,
      `{"jsonrpc":"2.0","id":1e400,"method":"hello"}`,
      `{"jsonrpc":"2.0","id":2,"method":"run.list","params":{"limit":${'9'.repeat(400)}}}`,
      `{"jsonrpc":"2.0","id":3,"method":"run.start","params":{"run_id":"p","tags":{"__proto__":"x","constructor":"y"}}}`,
      `{"jsonrpc":"2.0","id":4,"method":"run.event","params":{"run_id":"p","event":"e","data":{"__proto__":{"polluted":1}}}}`,
      `{"jsonrpc":"2.0","id":5,"method":"hello","id":6,"method":"no.such","method":"hello"}`,
      `{"jsonrpc":"2.0","id":7,"method":"hello","params":${'{"a":'.repeat(10_000)}1${'}'.repeat(10_000)}}`,
      `{"jsonrpc":"2.0","id":8,"method":"hello","__proto__":{"method":"no.such"}}`,
    ];
    const work = (async () => {
      client.raw(Buffer.from([0xff, 0xfe, 0x80, 0x0a, 0xc3, 0x28, 0x0a, 0xed, 0xa0, 0x80, 0x0a]));
      for (const bomb of bombs) client.raw(`${bomb}\n`);
      await client.result('run.end', { run_id: 'p', status: 'FINISHED', all: true });
      for (const byte of '{"jsonrpc":"2.0","id":99,"method":"hello"}\n') {
        client.raw(byte);
        await new Promise((resolve) => setImmediate(resolve));
      }
      await client.until(({ id }) => id === 99);
    })();
    await endure('bombs', work);
    const answers = new Map(client.messages.map((message) => [message.id, message]));
    expect(answers.get(2)?.error?.data?.code).toBe('invalid_params');
    expect(answers.get(3)?.result).toBeDefined();
    expect(answers.get(4)?.result).toEqual({});
    expect(answers.get(6)?.result).toBeDefined();
    expect(answers.get(8)?.result).toBeDefined();
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
    half.write('od":"hello"}\n');
    half.resume();
    await new Promise((resolve) => half.once('data', resolve));
  });

  it('a hundred thousand requests at once: the first twenty thousand pass, the others wait', async () => {
    const client = await Client.connect(agent.socket);
    sockets.push(client.socket);
    const waits = () => metric('lezea_agent_waits_total{limit="requestTokens"}');
    const handled = () => metric('lezea_agent_requests_total');
    const [waited, begun] = [await waits(), await handled()];
    client.raw(hello.repeat(100_000));
    const slow = { timeout: 60_000, interval: 200 };
    const burst = expect.poll(handled, slow).toBeGreaterThan(begun + 19_000);
    await endure('100 000 requests at once', Promise.resolve(burst));
    await expect.poll(waits, slow).toBeGreaterThan(waited);
    expect((await handled()) - begun).toBeLessThan(60_000);
  }, 130_000);
});

describe('many connections', () => {
  it('64 that ask without reading: nobody is read from whose answers nobody reads', async () => {
    const all = await Promise.all(Array.from({ length: 60 }, deaf));
    const list = '{"jsonrpc":"2.0","id":1,"method":"node.status"}\n'.repeat(100);
    await endure('60 deaf connections', Promise.all(all.map((socket) => pour(socket, list, 1000, 4000))));
    const waits = () => metric('lezea_agent_waits_total{limit="queuedBytes"}');
    await expect.poll(waits, { timeout: 10_000 }).toBeGreaterThanOrEqual(60);
  });

  it('60 that hear of every tick and never read', async () => {
    const subscribe = '{"jsonrpc":"2.0","id":1,"method":"subscribe","params":{"topics":["tick","run"]}}\n';
    const all = await Promise.all(Array.from({ length: 60 }, deaf));
    await Promise.all(all.map((socket) => pour(socket, subscribe, 1)));
    const ticks = (async () => {
      for (let n = 0; n < 300; n += 1) await bystander.burn(1).then(() => fresh());
    })();
    await endure('60 deaf subscribers', ticks);
    expect(await metric('lezea_agent_refusals_total{limit="subscriptions"}')).toBe(44);
  });

  it('60 that send as fast as they can, and read', async () => {
    const all = await Promise.all(Array.from({ length: 60 }, deaf));
    for (const socket of all) socket.resume();
    await endure('60 loud connections', Promise.all(all.map((s) => pour(s, hello.repeat(100), 1000, 4000))));
  });

  it.skipIf(noAccounts)(
    '10 000 connections of one account, then of five',
    async () => {
      const alone = await PeerProcess.start(agent.socket, asUser(MALLORY));
      peers.push(alone);
      let counts: Awaited<ReturnType<PeerProcess['crowd']>> | undefined;
      const crowd = async () => {
        counts = await alone.crowd(10_000);
      };
      await endure('10 000 connections of one account', crowd());
      // Those that failed found the queue of connections full: the kernel says so to whoever will not wait.
      expect(counts?.accepted).toBe(64);
      expect((counts?.refused ?? 0) + (counts?.failed ?? 0)).toBe(9936);
      const told = (await alone.order({ op: 'first' })) as Message;
      expect(told.error?.data?.code).toBe('too_many');
      expect(told.error?.message).toMatch(/the limit idleConnections is 64$/);
      await alone.order({ op: 'drop' });
      await expect.poll(() => connections(), { timeout: 18_000 }).toBe(1);
      const five = await Promise.all(
        [1, 2, 3, 4, 5].map((n) => PeerProcess.start(agent.socket, asUser(MALLORY + n))),
      );
      peers.push(...five);
      // An account whose connections found the queue full, of the others' too, comes again.
      const fill = async (peer: PeerProcess) => {
        for (let held = 0; held < 64; ) held += (await peer.crowd(2000)).accepted;
      };
      await endure('10 000 connections of five accounts', Promise.all(five.map(fill)));
      await expect.poll(connections, { timeout: 10_000 }).toBe(1 + 5 * 64);
    },
    90_000,
  );
});

async function fresh(): Promise<void> {
  const client = await Client.connect(agent.socket);
  client.notify('run.usage', { run_id: 'bystander', fresh: true });
  client.close();
}

it('the bystander got what it used, and its books balance', async () => {
  await bystander.burn(200);
  const summary = await bystander.end();
  const cpu = summary.totals.cpu_seconds.value as number;
  expect(cpu).toBeGreaterThan(bystander.used * 0.97);
  expect(cpu).toBeLessThan(bystander.used * 1.3 + 0.1);
  expect(summary.conservation.cpu_seconds.residual).toBe('0');
  expect(await metric('lezea_agent_conservation_violations_total')).toBe(0);
  expect(agent.lines.filter((line) => line.level === 'error' || line.level === 'fatal')).toEqual([]);
});
