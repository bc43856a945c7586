// Every limit of the socket: what fits is taken, one more is not, the refusal names the limit, and it is counted.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { DEFAULT_LIMITS, LIMIT_TABLE, Limiter, type LimitName } from '../../../src/attribution/limits.js';
import { TokenBucket } from '../../../src/token-bucket.js';
import { type Bench, processOf, startBench, temporaryFolder } from '../support/bench.js';
import { type Client, type IpcBench, type Message, startIpc } from '../support/ipc-bench.js';

let folder: ReturnType<typeof temporaryFolder>;
let bench: Bench;
let ipc: IpcBench;
const clients: Client[] = [];

afterEach(() => {
  for (const client of clients.splice(0)) client.close();
  ipc.server.stopAccepting();
  ipc.server.close();
  bench.close();
  folder.remove();
});

const T = 5_000_000_000;
const limiter = () => bench.attribution.limiter;

async function start(limits: Partial<Record<LimitName, number>>): Promise<void> {
  folder = temporaryFolder();
  bench = startBench(folder.path, { limits: { ...DEFAULT_LIMITS, ...limits } });
  ipc = await startIpc(bench, folder.path, join(folder.path, 'proc'));
}

/** A connection of a process of its own. */
async function connect(pid = 100): Promise<Client> {
  ipc.processes.add({ pid, ppid: 1 });
  ipc.peer = { ...ipc.peer, pid, startTicks: BigInt(pid) * 100n };
  const client = await ipc.connect();
  clients.push(client);
  await expect.poll(() => client.closed || ipc.server.connections >= clients.length).toBe(true);
  return client;
}

async function open(client: Client, runId = 'r'): Promise<string> {
  await client.result('run.start', { run_id: runId });
  return (await client.result('session.open', { run_id: runId, t_ns: T })).session as string;
}

/** What asks once more; a refusal is an answer of that code, or a `dropped` notification. */
type Use = (n: number) => Promise<Message>;

const definition = (id: number, more: object = {}) => ({
  id,
  parent: 0,
  level: 'layer',
  name: `l${id}`,
  ...more,
});

async function define(client: Client, session: string, scope: object): Promise<Message> {
  const seen = client.messages.length;
  client.notify('scope.define', { session, scopes: [scope] });
  await client.result('hello');
  const reason = client.messages.slice(seen).find(({ method }) => method === 'dropped')?.params?.reason;
  const code = /^too (many|large)/.exec(`${reason}`)?.[0].replace(' ', '_') ?? 'invalid_params';
  return reason === undefined ? { result: {} } : { error: { code: 0, message: `${reason}`, data: { code } } };
}

/** Each limit, set to a small figure, and a way to use one more of it. */
const COUNTED: Partial<Record<LimitName, { most: number; uses: () => Promise<Use> }>> = {
  idleConnections: {
    most: 3,
    uses: async () => async (n) => {
      const client = await connect(100 + n);
      return client.closed ? client.messages[0]! : client.call('hello');
    },
  },
  sessions: {
    most: 2,
    uses: async () => async (n) => {
      const client = await connect(100 + n);
      await client.result('run.start', { run_id: 'r' });
      return client.call('session.open', { run_id: 'r', t_ns: T });
    },
  },
  subscriptions: {
    most: 2,
    uses: async () => async (n) => (await connect(100 + n)).call('subscribe', { topics: ['tick'] }),
  },
  imports: {
    most: 2,
    uses: async () => async (n) => (await connect(100 + n)).call('outbox.import', { bytes: 1 }),
  },
  importBytes: {
    most: 3,
    uses: async () => async (n) => (await connect(100 + n)).call('outbox.import', { bytes: 1 }),
  },
  liveRuns: {
    most: 2,
    uses: async () => {
      const client = await connect();
      return (n) => client.call('run.start', { run_id: `r${n}` });
    },
  },
  liveScopes: {
    most: 3,
    uses: async () => {
      const [one, two] = [await connect(100), await connect(101)];
      const sessions = [await open(one, 'a'), await open(two, 'b')];
      return (n) => define([one, two][n % 2]!, sessions[n % 2]!, definition(n));
    },
  },
  liveParts: {
    most: 2,
    uses: async () => async (n) => {
      const client = await connect(100 + n);
      await client.result('run.start', { run_id: `r${n % 2}` });
      return client.call('session.open', { run_id: `r${n % 2}`, t_ns: T });
    },
  },
  liveIds: {
    most: 3,
    uses: async () => {
      const [one, two] = [await connect(100), await connect(101)];
      const sessions = [await open(one), await open(two)];
      // The same scope in each session: it is the ids that are counted.
      return (n) => define([one, two][n % 2]!, sessions[n % 2]!, definition(n, { name: 'same' }));
    },
  },
  scopesPerRun: { most: 3, uses: async () => definer((n) => definition(n)) },
  scopeDepth: { most: 4, uses: async () => definer((n) => definition(n, { parent: n - 1 })) },
  idsPerSession: { most: 3, uses: async () => definer((n) => definition(n, { name: 'same' })) },
  partsPerRun: {
    most: 2,
    uses: async () => async (n) => {
      const client = await connect(100 + n);
      await client.result('run.start', { run_id: 'r' });
      const answer = await client.call('session.open', { run_id: 'r', t_ns: T });
      client.close();
      clients.splice(clients.indexOf(client), 1);
      return answer;
    },
  },
  phasesPerRun: {
    most: 4,
    uses: async () => {
      const client = await connect();
      await open(client);
      // The time before the first phase is one too.
      await client.result('run.phase', { run_id: 'r', name: 'p0' });
      return (n) => (n < 3 ? client.call('hello') : client.call('run.phase', { run_id: 'r', name: `p${n}` }));
    },
  },
  eventsPerRun: { most: 3, uses: async () => eventer(() => ({})) },
  factsPerRun: {
    most: 3,
    uses: async () => {
      const client = await connect();
      await open(client);
      return (n) => fact(client, { [`k${n}`]: 1 });
    },
  },
  tagsPerRun: { most: 3, uses: async () => updater((n) => ({ [`k${n}`]: 'v' })) },
  threadsPerSession: { most: 2, uses: async () => enterer((n) => ({ path: 'layer:l', tid: 1000 + n })) },
  scopesPerThread: { most: 2, uses: async () => enterer((n) => ({ path: `layer:l${n}`, tid: 1000 })) },
};

async function definer(scope: (n: number) => object): Promise<Use> {
  const client = await connect();
  const session = await open(client);
  return (n) => define(client, session, scope(n));
}

async function eventer(data: (n: number) => object): Promise<Use> {
  const client = await connect();
  await open(client);
  return (n) => client.call('run.event', { run_id: 'r', event: 'e', data: data(n) });
}

async function updater(tags: (n: number) => object): Promise<Use> {
  const client = await connect();
  await open(client);
  return (n) => client.call('run.update', { run_id: 'r', tags: tags(n) });
}

async function enterer(where: (n: number) => object): Promise<Use> {
  const client = await connect();
  const session = await open(client);
  for (const tid of [100, 1000, 1001, 1002, 1003]) {
    const path = join(folder.path, 'proc', '100', 'task', String(tid));
    mkdirSync(path, { recursive: true });
    for (const file of [join(path, 'status'), join(folder.path, 'proc', '100', 'status')])
      writeFileSync(file, `NSpid:\t${tid}\n`);
  }
  return (n) => client.call('scope.enter', { session, ...where(n) });
}

/** Each limit of a size, set to a small figure, and a request of just so many. */
const SIZED: Partial<
  Record<LimitName, { most: number; ask: (client: Client, size: number) => Promise<Message> }>
> = {
  requestBytes: {
    most: 200,
    ask: (client, size) => {
      const id = size;
      const frame = JSON.stringify({ jsonrpc: '2.0', id, method: 'hello', params: { x: '' } });
      client.raw(`${frame.replace('""', `"${'x'.repeat(size - frame.length)}"`)}\n`);
      return client.until((message) => message.id === id || message.id === null);
    },
  },
  fieldLength: {
    most: 1024,
    ask: (client, size) => client.call('run.start', { run_id: 'e', experiment: 'x'.repeat(size) }),
  },
  nameBytes: {
    most: 6,
    ask: (client, size) => client.call('run.start', { run_id: 'n', name: `${'x'.repeat(size - 4)}üü` }),
  },
  // {"a":""} is 8 bytes.
  eventBytes: { most: 20, ask: (client, size) => event(client, { a: 'x'.repeat(size - 8) }) },
  eventBytesPerRun: {
    most: 20,
    ask: async (client, size) => {
      const runId = `r${size}`;
      await client.result('run.start', { run_id: runId });
      await client.result('run.event', { run_id: runId, event: 'e', data: { a: 'x' } });
      return client.call('run.event', { run_id: runId, event: 'e', data: { a: 'x'.repeat(size - 17) } });
    },
  },
  eventLevels: {
    most: 3,
    ask: (client, size) =>
      event(client, JSON.parse(`${'{"a":'.repeat(size - 1)}{}${'}'.repeat(size - 1)}`) as object),
  },
  // A key, and a text of two characters more.
  factBytes: { most: 20, ask: (client, size) => fact(client, { k: 'x'.repeat(size - 3) }) },
  factBytesPerRun: {
    most: 20,
    ask: async (client, size) => {
      await fact(client, { a: 1 });
      return fact(client, { k: 'x'.repeat(size - 5) });
    },
  },
  factLevels: {
    most: 3,
    ask: (client, size) =>
      fact(client, { k: JSON.parse(`${'['.repeat(size - 1)}1${']'.repeat(size - 1)}`) as object }),
  },
  tagBytesPerRun: {
    most: 10,
    ask: (client, size) => client.call('run.update', { run_id: 'r', tags: { k: 'x'.repeat(size - 1) } }),
  },
};

function fact(client: Client, facts: object): Promise<Message> {
  return client.call('run.update', { run_id: 'r', facts });
}

function event(client: Client, data: object): Promise<Message> {
  return client.call('run.event', { run_id: 'r', event: 'e', data });
}

describe.each(Object.entries(COUNTED) as [LimitName, NonNullable<(typeof COUNTED)[LimitName]>][])(
  '%s',
  (limit, { most, uses }) => {
    it('takes as many as it says and refuses one more by name', async () => {
      await start({ [limit]: most });
      const use = await uses();
      for (let n = 1; n <= most; n += 1) expect((await use(n)).error, `use ${n}`).toBeUndefined();
      expect(limiter().refusals.get(limit)).toBeUndefined();
      const refused = await use(most + 1);
      expect(refused.error?.data?.code).toBe(LIMIT_TABLE[limit].past);
      expect(refused.error?.message).toMatch(new RegExp(`the limit ${limit} is ${most}$`));
      expect(limiter().refusals.get(limit)).toBe(1);
    });
  },
);

describe.each(Object.entries(SIZED) as [LimitName, NonNullable<(typeof SIZED)[LimitName]>][])(
  '%s',
  (limit, { most, ask }) => {
    it('takes what is as large as it says and refuses what is larger by name', async () => {
      await start(limit === 'fieldLength' ? {} : { [limit]: most });
      const client = await connect();
      await open(client);
      expect((await ask(client, most)).error).toBeUndefined();
      expect(limiter().refusals.get(limit)).toBeUndefined();
      const refused = await ask(client, most + 1);
      expect(refused.error?.data?.code).toBe('too_large');
      expect(refused.error?.message).toMatch(new RegExp(`the limit ${limit}`));
      expect(limiter().refusals.get(limit)).toBe(1);
    });
  },
);

/** Asks without waiting for answers in between. */
function ask(client: Client, method: string, ids: number[], params: object = {}): void {
  client.raw(ids.map((id) => `${JSON.stringify({ jsonrpc: '2.0', id, method, params })}\n`).join(''));
}

describe('what waits', () => {
  it('requestTokens: a burst passes, then the connection has to wait, and loses nothing', async () => {
    await start({ requestTokens: 5, requestTokensPerSecond: 20 });
    const client = await connect();
    ask(client, 'hello', [1, 2, 3, 4]);
    await client.until(({ id }) => id === 4);
    expect(limiter().waits.get('requestTokens')).toBeUndefined();
    ask(client, 'hello', [5, 6, 7]);
    await client.until(({ id }) => id === 7);
    expect(limiter().waits.get('requestTokens')).toBeGreaterThan(0);
    expect(client.messages.map(({ id }) => id)).toEqual([1, 2, 3, 4, 5, 6, 7]);
  });

  it('requestTokens: who waits is heard again, also when the token comes while its wait is being arranged', async () => {
    await start({ requestTokens: 1, requestTokensPerSecond: 1000 });
    let now = performance.now();
    const clock = vi.spyOn(performance, 'now').mockImplementation(() => {
      now += 0.3;
      return now;
    });
    try {
      const client = await connect();
      const ids = Array.from({ length: 200 }, (_, n) => n);
      ask(client, 'hello', ids);
      await client.until(({ id }) => id === ids.at(-1));
      expect(client.messages.map(({ id }) => id)).toEqual(ids);
    } finally {
      clock.mockRestore();
    }
  });

  it('requestTokensPerSecond: what was spent comes back at that rate, and no more than the burst is saved', () => {
    let now = 0;
    const bucket = new TokenBucket(10, 100, () => now);
    bucket.spend(10);
    expect(bucket.waitMs()).toBe(10);
    now = 10;
    expect(bucket.waitMs()).toBe(0);
    bucket.spend(6);
    expect(bucket.waitMs()).toBe(60);
    now = 60_000;
    bucket.spend(10);
    expect(bucket.waitMs()).toBe(10);
  });

  it('requestsUnderWay: further requests are not begun before others are answered', async () => {
    await start({ requestsUnderWay: 2 });
    const client = await connect();
    await open(client);
    const handled = ipc.server.requests.handled;
    let release: () => void = () => undefined;
    bench.sampler.gate = new Promise((resolve) => {
      release = resolve;
    });
    ask(client, 'run.usage', [11, 12, 13, 14], { run_id: 'r', fresh: true });
    await expect.poll(() => limiter().waits.get('requestsUnderWay')).toBe(1);
    expect(ipc.server.requests.handled - handled).toBe(2);
    release();
    await client.until(({ id }) => id === 14);
    expect(client.messages.filter(({ error }) => error)).toEqual([]);
  });

  it('queuedBytes: who does not read is not read from, and gets every answer in the end', async () => {
    await start({ queuedBytes: 65_536 });
    const client = await connect();
    client.socket.pause();
    for (let n = 0; n < 5000; n += 1) client.raw(`{"jsonrpc":"2.0","id":${n},"method":"hello"}\n`);
    await expect.poll(() => limiter().waits.has('queuedBytes')).toBe(true);
    expect(ipc.server.requests.handled).toBeLessThan(5000);
    client.socket.resume();
    await client.until((message) => message.id === 4999);
  });

  it('queuedNotificationBytes: notifications past it are lost, counted, and said to be', async () => {
    await start({ queuedNotificationBytes: 65_536 });
    const client = await connect();
    await client.result('subscribe', { topics: ['tick'] });
    await open(client);
    client.socket.pause();
    while (!limiter().refusals.has('queuedNotificationBytes')) {
      bench.sampler.spend(processOf(100), 1n);
      await bench.checkpoint();
    }
    client.socket.resume();
    const resync = await client.until(({ method }) => method === 'resync');
    expect(resync.params?.lost).toBe(limiter().refusals.get('queuedNotificationBytes'));
  });
});

describe('what is let go', () => {
  it.each([
    ['endedRuns', 2],
    ['endedScopes', 4],
  ] as const)(
    '%s: the oldest of the owner leaves memory and is found again on the disk',
    async (limit, most) => {
      await start({ [limit]: most });
      const client = await connect();
      const held = () => [...bench.attribution.store.recent()].map((run) => run.runId);
      for (const runId of ['a', 'b', 'c']) {
        const session = await open(client, runId);
        for (const id of [1, 2]) await define(client, session, definition(id));
        await client.result('run.end', { run_id: runId, status: 'FINISHED' });
        if (runId === 'b') expect([held(), limiter().refusals.get(limit)]).toEqual([['a', 'b'], undefined]);
      }
      expect(held()).toEqual(['b', 'c']);
      expect(limiter().refusals.get(limit)).toBe(1);
      expect(await client.result('run.get', { run_id: 'a' })).toMatchObject({ status: 'FINISHED' });
    },
  );
});

it('every limit has a test', () => {
  const here = new Set([...Object.keys(COUNTED), ...Object.keys(SIZED)]);
  const others = Object.entries(LIMIT_TABLE).filter(
    ([, { past }]) => past !== 'too_many' && past !== 'too_large',
  );
  for (const [name] of others) here.add(name);
  here.add('stateShares'); // test/unit/state/retention.test.ts
  for (const name of ['limitsPerRun', 'experimentBudgets']) here.add(name); // test/unit/attribution/budgets.test.ts
  expect([...here].sort()).toEqual(Object.keys(LIMIT_TABLE).sort());
});

it('a session opened again takes its own place at the limit', async () => {
  await start({ sessions: 1 });
  const client = await connect();
  await open(client);
  expect(await client.result('session.open', { run_id: 'r', t_ns: T })).toHaveProperty('session');
});

it('a connection whose session was opened anew elsewhere is idle again', async () => {
  await start({ idleConnections: 1 });
  for (let n = 0; n < 2; n += 1) await open(await connect());
  const third = await connect();
  await third.untilClosed();
  expect(third.messages[0]?.error?.message).toMatch(/idleConnections is 1/);
});

it("one user id has four owners' worth, however many PID namespaces it makes; all together sixteen", () => {
  const limiter = new Limiter({ ...DEFAULT_LIMITS, liveRuns: 2 });
  const owner = (uid: number, ns: number) => ({ uid, pidNamespace: BigInt(ns) });
  const held = (...owners: [number, number][]) =>
    owners.map(([uid, ns]) => ({ owner: owner(uid, ns), count: 1 }));
  const seven = held([1, 1], [1, 2], [1, 3], [1, 4], [1, 5], [1, 6], [1, 7]);
  expect(() => limiter.admitOwner('liveRuns', owner(1, 8), seven)).not.toThrow();
  const eight = [...seven, ...held([1, 8])];
  expect(() => limiter.admitOwner('liveRuns', owner(1, 9), eight)).toThrow(
    /of one user id: the limit liveRuns is 8/,
  );
  expect(() => limiter.admitOwner('liveRuns', owner(2, 9), eight)).not.toThrow();
  const many = Array.from({ length: 32 }, (_, uid) => held([uid + 10, 1])).flat();
  expect(() => limiter.admitOwner('liveRuns', owner(2, 9), many)).toThrow(
    /of all owners: the limit liveRuns is 32/,
  );
});
