// The agent as the unit starts it, an ordinary user with ambient capabilities: by /proc/PID/task/*/status the sampling
// thread alone has them, what only they can read is read, and a program that the agent starts has none. Needs root, to give
// capabilities away.

import { spawnSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { loadAddon } from '../../../src/native/addon.js';
import { AgentProcess } from '../../unit/support/agent-process.js';
import { temporaryFolder } from '../../unit/support/bench.js';
import { Client } from '../../unit/support/ipc-bench.js';
import { asUser, noAccounts, PeerProcess } from '../../unit/support/peer-process.js';
import { type ThreadStatus, threadsOf } from '../../unit/support/service-bench.js';
import { type Tree, treeForAnybody } from '../../unit/support/tree-for-anybody.js';

const NOBODY = 65_534;
const BIT = { net_admin: 1n << 12n, sys_ptrace: 1n << 19n, dac_read_search: 1n << 2n };
type Capability = keyof typeof BIT;
const AS_NOBODY = ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups'];

let folder: ReturnType<typeof temporaryFolder>;
let agent: AgentProcess | undefined;
let tree: Tree;
const copies = temporaryFolder();

beforeAll(() => {
  if (noAccounts !== undefined) return;
  chmodSync(copies.path, 0o755);
  tree = treeForAnybody(AS_NOBODY, copies.path);
}, 60_000);

afterAll(() => {
  copies.remove();
});

beforeEach(() => {
  folder = temporaryFolder();
  chmodSync(folder.path, 0o755);
  for (const name of ['s', 'state', 'said']) {
    mkdirSync(join(folder.path, name));
    chownSync(join(folder.path, name), NOBODY, NOBODY);
  }
});

afterEach(() => {
  agent?.child.kill('SIGKILL');
  agent = undefined;
  folder.remove();
});

/** As systemd does with AmbientCapabilities= and CapabilityBoundingSet=. */
async function start(capabilities: Capability[], args: string[] = []): Promise<AgentProcess> {
  const sets = ['-all', ...capabilities.map((name) => `+${name}`)].join(',');
  const given = [`--bounding-set=${sets}`, `--inh-caps=${sets}`, `--ambient-caps=${sets}`, '--'];
  agent = new AgentProcess(folder.path, { mode: 'system', args, through: [...AS_NOBODY, ...given], tree });
  await agent.ready();
  return agent;
}

/** What a thread may use or pass on, and whether it can be given more. */
function setsOf(thread: ThreadStatus) {
  const bits = (name: string) => BigInt(`0x${thread.field(name)}`);
  return {
    permitted: bits('CapPrm'),
    effective: bits('CapEff'),
    inheritable: bits('CapInh'),
    ambient: bits('CapAmb'),
    noNewPrivileges: thread.field('NoNewPrivs'),
  };
}

/** For use, and nothing to pass on. */
const only = (mask: bigint) => ({
  permitted: mask,
  effective: mask,
  inheritable: 0n,
  ambient: 0n,
  noNewPrivileges: '1',
});

function expectOnly(pid: number, masks: Record<string, bigint>): void {
  const threads = threadsOf(pid);
  expect(threads.length).toBeGreaterThan(8);
  expect(threads.map(({ name }) => name)).toEqual(expect.arrayContaining(Object.keys(masks)));
  for (const thread of threads) {
    expect(setsOf(thread), `thread ${thread.name}`).toEqual(only(masks[thread.name] ?? 0n));
  }
  expect(threads.filter(({ name }) => name === 'lezea-sampler')).toHaveLength(1);
}

const MIB = 2 ** 20;
/** Reads and writes by a program of root's that is gone before the next tick, 16 MiB. */
const SHORT_LIVED = ['dd', 'if=/dev/zero', 'of=/dev/null', 'bs=1M', 'count=16', 'status=none'];

/** Totals of a run of root's: a process that stays a while, and what it starts. */
function rootsRun(socket: string, command: string): Record<string, { value: number }> {
  const file = join(folder.path, 'summary.json');
  const words = ['run', '--quiet', '--socket', socket, '--summary', file, '--', 'bash', '-c', command];
  const done = spawnSync(tree.node, [tree.program, ...words], { encoding: 'utf8' });
  expect({ status: done.status, said: done.stderr }).toEqual({ status: 0, said: '' });
  return JSON.parse(readFileSync(file, 'utf8')).totals;
}

/** Why this machine's kernel delivers no exit records to anybody. */
const noRecords = loadAddon()
  .probeSources([])
  .filter(({ name, state }) => name === 'exit_records' && state !== 'ok')
  .map(({ reason }) => reason)[0];

describe.skipIf(noAccounts !== undefined)('an agent with ambient capabilities (as root)', () => {
  it('has CAP_NET_ADMIN in its sampling thread alone, where exit records of other users come in', async ({
    skip,
  }) => {
    const { pid, socket } = await start(['net_admin']);
    expectOnly(pid, { 'lezea-sampler': BIT.net_admin });
    if (noRecords !== undefined) return skip(`this kernel tells of no task's end: ${noRecords}`);
    const client = await Client.connect(socket);
    const { sources } = (await client.result('node.status', {})) as {
      sources: { name: string; state: string }[];
    };
    client.close();
    expect(sources.find(({ name }) => name === 'exit_records')?.state).toBe('ok');
    const totals = rootsRun(socket, `${SHORT_LIVED.join(' ')}; sleep 0.3`);
    expect(totals.io_logical_read_bytes?.value).toBeGreaterThanOrEqual(16 * MIB);
    // Also after it has worked, with every thread that it needs for it.
    expectOnly(pid, { 'lezea-sampler': BIT.net_admin });
  });

  it('knows root and operators, though it may not look into their processes, and no container’s root', async () => {
    const { socket } = await start(['net_admin'], ['--set', 'operators=54323']);
    const runsSeenBy = async (prefix: string[]) => {
      const peer = await PeerProcess.start(socket, prefix);
      const { result } = await peer.call('run.list');
      peer.end();
      const { runs } = result as { runs: { run_id: string }[] };
      return runs.map((run) => run.run_id);
    };
    const owner = await PeerProcess.start(socket, asUser(54_321));
    await owner.call('run.start', { run_id: 'theirs' });
    expect(await runsSeenBy(asUser(54_321))).toEqual(['theirs']);
    expect(await runsSeenBy([])).toEqual(['theirs']);
    expect(await runsSeenBy(asUser(54_323))).toEqual(['theirs']);
    expect(await runsSeenBy(asUser(54_322))).toEqual([]);
    const container = ['unshare', '--pid', '--fork', '--kill-child'];
    expect(await runsSeenBy(container)).toEqual([]);
    expect(await runsSeenBy([...container, ...asUser(54_321)])).toEqual([]);
    owner.end();
  });

  it('gives a program that it starts none', async () => {
    const file = join(folder.path, 'said', 'status');
    const program = join(folder.path, 'nvidia-smi');
    writeFileSync(program, `#!/bin/sh\ncat /proc/self/status > ${file}.new && mv ${file}.new ${file}\n`, {
      mode: 0o755,
    });
    const gpus = ['--set', 'gpu.nvml=false', '--set', `gpu.nvidia_smi_path=${program}`];
    const running = await start(['net_admin'], gpus);
    const { http } = await running.ready();
    await fetch(`http://${http}/metrics`);
    await expect.poll(() => existsSync(file), { timeout: 10_000 }).toBe(true);
    expect(setsOf({ tid: 0, name: 'cat', field: statusField(file) })).toEqual(only(0n));
  });

  it('with those of proc-fallback reads /proc of other users there, and has a thread with the one for memory', async () => {
    const args = ['--set', 'sampling.sources.taskstats.enabled=false'];
    const { pid, socket } = await start(['sys_ptrace', 'dac_read_search'], args);
    expectOnly(pid, {
      'lezea-sampler': BIT.sys_ptrace | BIT.dac_read_search,
      'lezea-rollups': BIT.sys_ptrace,
    });
    const itself =
      'while read -r -n 65536 x; do :; done < <(head -c 4194304 /dev/zero | tr "\\0" a); sleep 0.5';
    const totals = rootsRun(socket, itself);
    expect(totals.io_logical_read_bytes?.value).toBeGreaterThanOrEqual(4 * MIB);
  });
});

it('an agent of root keeps what root has', async ({ skip }) => {
  if (noAccounts !== undefined) return skip(noAccounts);
  agent = new AgentProcess(folder.path, { mode: 'system' });
  await agent.ready();
  const own = setsOf({ tid: 0, name: 'self', field: statusField('/proc/self/status') });
  for (const thread of threadsOf(agent.pid)) expect(setsOf(thread)).toEqual(own);
  expect(own.permitted).not.toBe(0n);
});

it('an agent without capabilities starts as one', async ({ skip }) => {
  if (noAccounts !== undefined) return skip(noAccounts);
  agent = new AgentProcess(folder.path, {
    mode: 'system',
    through: [...AS_NOBODY, '--inh-caps=-all', '--'],
    tree,
  });
  await agent.ready();
  for (const thread of threadsOf(agent.pid)) expect(setsOf(thread).permitted).toBe(0n);
  expect(agent.lines.filter(({ msg }) => msg.includes('capabilities'))).toEqual([]);
});

function statusField(path: string): ThreadStatus['field'] {
  const text = readFileSync(path, 'utf8');
  return (name) => new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(text)?.[1];
}
