// The connection against a server on a real Unix socket, and where it looks for one.

import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type AgentConnection, connectToAgent } from '../../../src/client/connection.js';
import { folderFault, SYSTEM_SOCKET, socketCandidates } from '../../../src/client/find-agent.js';
import { FakeAgent, silence } from './fake-agent.js';

describe('an open connection', () => {
  let agent: FakeAgent;
  let connection: AgentConnection;

  beforeEach(async () => {
    agent = await FakeAgent.start();
    connection = await connectToAgent({ socket: agent.path });
  });

  afterEach(async () => {
    connection.close();
    await agent.stop();
  });

  test('says hello first and hands answers to whoever asked', async () => {
    agent.answers.twice = ({ n }) => ({ n: 2 * n });
    const answers = await Promise.all(
      [1, 2, 3].map((n) => connection.request<{ n: number }>('twice', { n })),
    );
    expect(answers).toEqual([{ n: 2 }, { n: 4 }, { n: 6 }]);
    expect(agent.received[0]).toMatchObject({ method: 'hello', params: { protocols: [1] } });
  });

  test('passes a refusal on with its code', async () => {
    agent.answers.no = () => new Error('unknown_run');
    await expect(connection.request('no')).rejects.toMatchObject({ code: 'unknown_run' });
  });

  test('does not wait for ever', async () => {
    agent.answers.never = () => silence;
    await expect(connection.request('never', {}, 30)).rejects.toMatchObject({ code: 'timeout' });
  });

  test('tells everyone who waits when the agent goes away', async () => {
    agent.answers.never = () => silence;
    let closed = 0;
    connection.onClose = () => {
      closed += 1;
    };
    const waiting = expect(connection.request('never')).rejects.toMatchObject({ code: 'closed' });
    await agent.until(() => agent.of('never').length > 0);
    await agent.die();
    await waiting;
    expect(closed).toBe(1);
    expect(connection.notify('x', {})).toBe(false);
    await expect(connection.request('x')).rejects.toMatchObject({ code: 'closed' });
  });

  test('puts lines together that arrive in pieces, and hears notifications', async () => {
    const heard = new Promise((resolve) => {
      connection.onNotification = (method, params) => resolve([method, params]);
    });
    agent.send('{"jsonrpc":"2.0","method":"tick","par');
    agent.send('ams":{"n":1}}\n');
    expect(await heard).toEqual(['tick', { n: 1 }]);
  });

  test.each(['not json\n', 'null\n', '3\n'])('ends when it is sent %j', async (line) => {
    const closed = new Promise<void>((resolve) => {
      connection.onClose = resolve;
    });
    agent.send(line);
    await closed;
    expect(connection.isOpen).toBe(false);
  });
});

describe('looking for an agent', () => {
  let folder: string;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'lezea-find-'));
  });

  afterEach(() => rmSync(folder, { recursive: true }));

  test('a socket that was named is the only one', () => {
    expect(socketCandidates({ LEZEA_MONITOR_SOCKET: '/a' }, 5)).toEqual([{ path: '/a', ownFolder: false }]);
    expect(socketCandidates({ LEZEA_MONITOR_SOCKET: '/a' }, 5, '/b')).toEqual([
      { path: '/b', ownFolder: false },
    ]);
  });

  test('else the system one, then the own', () => {
    expect(socketCandidates({ XDG_RUNTIME_DIR: '/run/user/5', TMPDIR: '/t' }, 5)).toEqual([
      { path: SYSTEM_SOCKET, ownFolder: false },
      { path: '/run/user/5/lezea-monitor/agent.sock', ownFolder: true },
      { path: '/t/lezea-monitor-5/agent.sock', ownFolder: true },
    ]);
  });

  test('an own folder must be a folder of the user alone', () => {
    const uid = process.getuid?.() ?? -1;
    const own = join(folder, 'own');
    mkdirSync(own, { mode: 0o700 });
    expect(folderFault(join(own, 'agent.sock'), uid)).toBeUndefined();
    expect(folderFault(join(own, 'agent.sock'), uid + 1)).toMatch(/belongs to user/);
    symlinkSync(own, join(folder, 'link'));
    expect(folderFault(join(folder, 'link', 'agent.sock'), uid)).toMatch(/not a link/);
    chmodSync(own, 0o755);
    expect(folderFault(join(own, 'agent.sock'), uid)).toMatch(/mode 755: expected 700/);
    expect(folderFault(join(folder, 'none', 'agent.sock'), uid)).toMatch(/ENOENT/);
  });

  test('nobody there: no_agent, with what was tried', async () => {
    const socket = join(folder, 'none.sock');
    await expect(connectToAgent({ socket })).rejects.toMatchObject({
      code: 'no_agent',
      message: expect.stringContaining(`${socket}: ENOENT`),
    });
  });

  test('a server that never says hello is no agent', async () => {
    const agent = await FakeAgent.start();
    agent.answers.hello = () => silence;
    const attempt = connectToAgent({ socket: agent.path, timeoutMs: 30 });
    await expect(attempt).rejects.toMatchObject({ code: 'no_agent' });
    await agent.stop();
  });
});
