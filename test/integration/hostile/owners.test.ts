// The real agent in system mode, and peers in other accounts, PID and user namespaces: what is not theirs does not exist for
// them, every refusal has its word and is counted, and the run of a bystander is none the worse.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadAddon } from '../../../src/native/addon.js';
import { AgentProcess } from '../../unit/support/agent-process.js';
import { temporaryFolder } from '../../unit/support/bench.js';
import { Client } from '../../unit/support/ipc-bench.js';
import { asUser, noAccounts, PeerProcess } from '../../unit/support/peer-process.js';

const ALICE = 54_321;
const MALLORY = 54_322;
/** Root in a PID namespace of its own, and an account that is root only inside its user namespace. */
const CONTAINER = ['unshare', '--pid', '--fork', '--kill-child'];
const PRETENDER = [...asUser(MALLORY), 'unshare', '--user', '--map-root-user'];

let folder: ReturnType<typeof temporaryFolder>;
let agent: AgentProcess;
let http: string;
const peers: PeerProcess[] = [];
const others: ChildProcess[] = [];
const now = () => Number(loadAddon().monotonicNs());

async function peer(...prefix: string[]): Promise<PeerProcess> {
  const made = await PeerProcess.start(agent.socket, prefix);
  peers.push(made);
  return made;
}

async function errorsCounted(word: string): Promise<number> {
  const text = await (await fetch(`http://${http}/metrics`)).text();
  const found = new RegExp(`^lezea_agent_request_errors_total\\{code="${word}"\\} (\\d+)$`, 'm').exec(text);
  return Number(found?.[1] ?? 0);
}

/** The refusal's word; it must have been counted. */
async function refused(by: PeerProcess, method: string, params: object): Promise<string | undefined> {
  const word = await by.refusal(method, params);
  // What was rendered lately is shown again for a moment.
  if (word !== undefined) await expect.poll(() => errorsCounted(word), { timeout: 3000 }).toBeGreaterThan(0);
  return word;
}

describe.skipIf(noAccounts)(`owners${noAccounts ? `: ${noAccounts}` : ''}`, () => {
  let alice: PeerProcess;
  let session: string;

  beforeAll(async () => {
    folder = temporaryFolder();
    chmodSync(folder.path, 0o755);
    agent = new AgentProcess(folder.path, { mode: 'system' });
    http = (await agent.ready()).http as string;
    alice = await peer(...asUser(ALICE));
    await alice.call('run.start', { run_id: 'secret', tags: { k: 'v' } });
    const opened = await alice.call('session.open', { run_id: 'secret', t_ns: now() });
    session = opened.result?.session as string;
    expect(session).toMatch(/^[0-9a-f]{32}$/);
  });

  afterAll(() => {
    for (const each of peers) each.end();
    for (const other of others) other.kill('SIGKILL');
    agent.child.kill('SIGKILL');
    folder.remove();
  });

  it.each([
    ['another account', asUser(MALLORY)],
    ['root in a PID namespace of its own', CONTAINER],
    ['an account that is root in its user namespace only', PRETENDER],
    [
      'the owner itself in another PID namespace',
      [...asUser(ALICE), 'unshare', '--user', '--pid', '--fork', '--kill-child'],
    ],
  ])('%s finds nothing of the run, whatever it asks', async (_who, prefix) => {
    const mallory = await peer(...prefix);
    const run = { run_id: 'secret' };
    for (const [method, params] of [
      ['run.usage', run],
      ['run.usage', { ...run, fresh: true }],
      ['run.get', run],
      ['run.get', { ...run, file: 'resources/summary.json' }],
      ['run.get', { ...run, file: '../../state.db' }],
      ['run.end', { ...run, status: 'FAILED' }],
      ['run.end', { ...run, status: 'FAILED', all: true }],
      ['run.update', { ...run, tags: { k: 'x' } }],
      ['run.event', { ...run, event: 'e' }],
      ['run.phase', { ...run, name: 'p' }],
      ['run.progress', { ...run, steps: 1 }],
    ] as const) {
      expect([method, await refused(mallory, method, params)]).toEqual([method, 'unknown_run']);
    }
    expect(await refused(mallory, 'session.open', { ...run, t_ns: now() })).toBe('unknown_run');
    expect((await mallory.call('run.list')).result).toEqual({ runs: [] });
    expect(JSON.stringify((await mallory.call('node.status')).result)).not.toContain('secret');
    expect((await mallory.call('outbox.list', { all: true })).result).toEqual({
      deliveries: [],
      sinks: [],
      more: false,
    });
  });

  it('a run of the same id is another run', async () => {
    const mallory = await peer(...asUser(MALLORY));
    expect((await mallory.call('run.start', { run_id: 'secret' })).result).toMatchObject({ created: true });
    const ended = await mallory.call('run.end', { run_id: 'secret', status: 'KILLED', all: true });
    expect(ended.result).toMatchObject({ final: true });
    const own = await alice.call('run.get', { run_id: 'secret' });
    expect(own.result).toMatchObject({ status: 'RUNNING', owner_uid: ALICE, tags: { k: 'v' } });
  });

  it.each([
    ['another account', asUser(MALLORY)],
    ['another process of the owner', asUser(ALICE)],
    ['root', []],
  ])('the token of a session is worth nothing to %s', async (_who, prefix) => {
    const mallory = await peer(...prefix);
    const define = { session, scopes: [{ id: 1, parent: 0, level: 'layer', name: 'stolen' }] };
    expect(await refused(mallory, 'scope.define', define)).toBe('invalid_params');
    expect(await refused(mallory, 'scope.enter', { session, path: 'layer:stolen' })).toBe('invalid_params');
    expect(await refused(mallory, 'scope.exit', { session, path: 'layer:stolen' })).toBe('invalid_params');
    expect(await alice.refusal('run.usage', { run_id: 'secret', scope: 'layer:stolen' })).toBe(
      'invalid_params',
    );
  });

  it('the token of a session that was closed is worth nothing to anyone', async () => {
    const mallory = await peer(...asUser(MALLORY));
    await mallory.call('run.start', { run_id: 'short' });
    const first = await mallory.call('session.open', { run_id: 'short', t_ns: now() });
    const again = await mallory.call('session.open', { run_id: 'short', t_ns: now() });
    const old = { session: first.result?.session, path: 'layer:l' };
    expect(await refused(mallory, 'scope.enter', old)).toBe('invalid_params');
    const live = { session: again.result?.session, path: 'layer:l' };
    expect((await mallory.call('scope.enter', live)).result).toEqual({});
    await mallory.order({ op: 'drop' });
    await expect.poll(() => mallory.refusal('scope.enter', live), { timeout: 3000 }).toBe('invalid_params');
  });

  it('nobody binds a process that is not its own', async () => {
    const mallory = await peer(...asUser(MALLORY));
    await mallory.call('run.start', { run_id: 'mine' });
    const gone = spawn('true');
    await once(gone, 'exit');
    for (const pid of [alice.pid, process.pid, 1, agent.pid, gone.pid as number, 4_194_303]) {
      const claim = { run_id: 'mine', pid, t_ns: now() };
      expect([pid, await refused(mallory, 'session.open', claim)]).toEqual([pid, 'not_authorized']);
    }
    const container = await peer(...CONTAINER);
    await container.call('run.start', { run_id: 'mine' });
    // Its own numbers are not the machine's: what it calls 2 is nobody it may speak of.
    const claim = { run_id: 'mine', pid: 2, t_ns: now() };
    expect(['not_authorized', 'unsupported']).toContain(await refused(container, 'session.open', claim));
  });

  it('a process that was bound and ended is not found again under its number', async () => {
    const owner = await peer(...asUser(ALICE));
    await owner.call('run.start', { run_id: 'reuse' });
    await owner.call('session.open', { run_id: 'reuse', t_ns: now() });
    owner.end();
    await once(owner.child, 'exit');
    await expect
      .poll(async () => (await alice.call('run.get', { run_id: 'reuse' })).result?.status, { timeout: 8000 })
      .toBe('KILLED');
    const after = await alice.call('run.get', { run_id: 'reuse' });
    expect(after.result).toMatchObject({ processes: 0, reason: expect.stringMatching(/signal 9|SIGKILL/) });
  });

  it('only the process that began a run ends all of it', async () => {
    const worker = await peer(...asUser(ALICE));
    await worker.call('session.open', { run_id: 'secret', t_ns: now() });
    const all = { run_id: 'secret', status: 'FAILED', all: true };
    expect(await refused(worker, 'run.end', all)).toBe('not_authorized');
    expect((await alice.call('run.get', { run_id: 'secret' })).result?.status).toBe('RUNNING');
  });

  it('nobody hears of what is not theirs; root of this machine sees all', async () => {
    const mallory = await Client.connect(agent.socket);
    const seen = await mallory.result('run.list');
    expect((seen.runs as { run_id: string }[]).map((run) => run.run_id)).toContain('secret');
    mallory.close();
    const watcher = await peer(...asUser(MALLORY));
    expect(await refused(watcher, 'subscribe', { topics: ['tick', 'everything'] })).toBe('invalid_params');
    await watcher.call('subscribe', { topics: ['tick', 'run'] });
    for (let n = 0; n < 3; n += 1) await alice.call('run.usage', { run_id: 'secret', fresh: true });
    await alice.call('run.start', { run_id: 'secret-2' });
    const heard = (await watcher.order({ op: 'heard' })) as string;
    expect(heard).not.toContain('secret');
  });

  it('file names lead nowhere but to the documents of the run', async () => {
    for (const file of [
      '../../../state.db',
      '/etc/passwd',
      'resources/../../x',
      'events.jsonl\u0000',
      '',
      '.',
    ]) {
      const word = await refused(alice, 'run.get', { run_id: 'secret', file });
      expect([file, word]).toEqual([file, 'invalid_params']);
    }
    const past = await alice.call('run.get', {
      run_id: 'secret',
      file: 'resources/summary.json',
      offset: Number.MAX_SAFE_INTEGER,
    });
    expect(past.result).toMatchObject({ data: '', eof: true });
  });

  it('after all this the run is what it was', async () => {
    const state = await alice.call('run.get', { run_id: 'secret' });
    expect(state.result).toMatchObject({ status: 'RUNNING', tags: { k: 'v' }, progress: { steps: 0 } });
    const ended = await alice.call('run.end', { run_id: 'secret', status: 'FINISHED', all: true });
    expect(ended.result).toMatchObject({ final: true });
    const file = await alice.call('run.get', { run_id: 'secret', file: 'resources/summary.json' });
    const summary = JSON.parse(Buffer.from(file.result?.data as string, 'base64').toString());
    expect(summary.conservation.cpu_seconds.residual).toBe('0');
    expect(summary.scopes).toEqual([]);
  });
});
