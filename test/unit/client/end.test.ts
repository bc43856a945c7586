// The end of a run that meets an agent which is being stopped: the next one tells what the run came to.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { startRun } from '../../../src/client/index.js';
import { type Bench, processOf, startBench, temporaryFolder } from '../support/bench.js';
import { type IpcBench, startIpc } from '../support/ipc-bench.js';

const SELF = 100;
let folder: ReturnType<typeof temporaryFolder>;
let closing: (() => void)[];

beforeEach(() => {
  folder = temporaryFolder();
  closing = [() => folder.remove()];
  const task = join(folder.path, 'proc', String(SELF), 'task', String(SELF));
  mkdirSync(task, { recursive: true });
  for (const at of [join(task, 'status'), join(task, '../../status')])
    writeFileSync(at, `Name:\tfake\nNSpid:\t${SELF}\n`);
});

afterEach(() => {
  for (const close of closing.reverse()) close();
});

async function life(writeFiles: () => Promise<void>): Promise<Bench & { ipc: IpcBench }> {
  const bench = startBench(folder.path, { writeFiles });
  const ipc = await startIpc(bench, folder.path, join(folder.path, 'proc'));
  ipc.processes.add({ pid: SELF, ppid: 1 });
  ipc.processes.monotonicNs = () => process.hrtime.bigint();
  closing.push(() => {
    ipc.server.stopAccepting();
    ipc.server.close();
    bench.close();
  });
  return { ...bench, ipc };
}

it('is told by the next agent, which begins no attempt', async () => {
  let begun: () => void = () => undefined;
  const writing = new Promise<void>((resolve) => {
    begun = resolve;
  });
  const first = await life(() => {
    begun();
    return new Promise(() => undefined);
  });
  const run = await startRun({ socket: first.ipc.path, runId: 'r' });
  first.sampler.spend(processOf(SELF), 2_000_000_000n);
  const ended = run.end();
  await writing;
  first.ipc.server.stopAccepting();
  first.ipc.server.stopServing();
  await first.attribution.stop();
  first.ipc.server.close();
  closing.pop();
  first.close();

  const second = await life(async () => undefined);
  expect(await ended).toMatchObject({ cpu_seconds: 2 });
  expect(second.attribution.store.find('r')).toMatchObject([{ attempt: 1, status: 'FINISHED' }]);
});
