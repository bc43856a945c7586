// What the agent's event loop is woken for and kept from, with the real agent: idle, and with the documents of a run of
// 10 000 scopes. What is measured is printed.

import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as passes } from 'node:timers/promises';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { loadAddon } from '../../../src/native/addon.js';
import { AgentProcess } from '../../unit/support/agent-process.js';
import { temporaryFolder } from '../../unit/support/bench.js';
import { Client } from '../../unit/support/ipc-bench.js';

let folder: ReturnType<typeof temporaryFolder>;
let agent: AgentProcess;
let client: Client;
let sleeper: ChildProcess;

async function start(probe: boolean): Promise<string> {
  agent = new AgentProcess(folder.path, { probe });
  const { http } = await agent.ready();
  client = await Client.connect(agent.socket);
  await client.result('run.start', { run_id: 'r' });
  await client.result('session.open', { run_id: 'r', pid: sleeper.pid, t_ns: now() });
  return http as string;
}

const now = () => Number(loadAddon().monotonicNs());

beforeEach(() => {
  folder = temporaryFolder();
  sleeper = spawn('sleep', ['300']);
});

afterEach(() => {
  client.close();
  sleeper.kill();
  agent.child.kill('SIGKILL');
  folder.remove();
});

it('sampling wakes JavaScript once a second: the timer of the checkpoint, and its sample', async () => {
  await start(false);
  const status = `/proc/${agent.pid}/task/${agent.pid}/status`;
  const slept = () => Number(/^voluntary_ctxt_switches:\s*(\d+)/m.exec(readFileSync(status, 'utf8'))?.[1]);
  await passes(3000);
  const [before, begun] = [slept(), performance.now()];
  await passes(5000);
  const perSecond = ((slept() - before) / (performance.now() - begun)) * 1000;
  process.stdout.write(
    `an idle agent with one run: ${perSecond.toFixed(1)} wakes of the main thread a second\n`,
  );
  // At ten samples a second it would be more than ten.
  expect(perSecond).toBeLessThan(6);
}, 30_000);

it('documents of a run of 10 000 scopes are made in slices', async () => {
  const http = await start(true);
  const { session } = await client.result('session.open', { run_id: 'r', t_ns: now() });
  for (let batch = 0; batch < 20; batch += 1) {
    const scopes = Array.from({ length: 500 }, (_, n) => {
      const id = batch * 500 + n + 1;
      return { id, parent: id % 10 === 1 ? 0 : id - 1, level: 'layer', name: `a_name_of_some_length_${id}` };
    });
    client.notify('scope.define', { session, scopes });
  }
  await client.result('run.usage', { run_id: 'r', fresh: true });
  const steps: [string, () => Promise<unknown>][] = [
    ['run.get', () => client.result('run.get', { run_id: 'r' })],
    [
      'run.get of the summary, live',
      () => client.result('run.get', { run_id: 'r', file: 'resources/summary.json' }),
    ],
    ['/api/v1/runs/r', async () => (await fetch(`http://${http}/api/v1/runs/r`)).text()],
    ['/metrics, the first', async () => (await fetch(`http://${http}/metrics`)).text()],
    ['/metrics, a further one', async () => (await fetch(`http://${http}/metrics`)).text()],
    [
      'run.end with its files',
      () => client.result('run.end', { run_id: 'r', status: 'FINISHED', all: true }),
    ],
    [
      'run.get of the summary, ended',
      () => client.result('run.get', { run_id: 'r', file: 'resources/summary.json' }),
    ],
  ];
  for (const [title, step] of steps) {
    await agent.loopDelay();
    const begun = performance.now();
    await step();
    const took = performance.now() - begun;
    const stop = await agent.loopDelay();
    process.stdout.write(`${title}: ${took.toFixed(0)} ms, loop stopped ${stop.toFixed(0)} ms\n`);
    expect(stop, title).toBeLessThan(2000);
  }
}, 60_000);
