// What scopes had of each GPU, in the database: it comes back with the run, whatever number the device has by then.

import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { partsOfRowId } from '../../../src/native/frame.js';
import { runFault } from '../../../src/state/wholeness.js';
import {
  type Bench,
  callerOf,
  openRequest,
  processOf,
  startBench,
  temporaryFolder,
} from '../support/bench.js';

let folder: ReturnType<typeof temporaryFolder>;
let bench: Bench;
let generation = 0;

beforeEach(() => {
  folder = temporaryFolder();
  bench = startBench(join(folder.path));
});

afterEach(() => {
  bench.close();
  folder.remove();
});

function restart(): void {
  generation += 1;
  const into = join(folder.path, `g${generation}`);
  bench.crash(into);
  bench = startBench(into, {}, bench.sampler.kernel);
}

async function begin(runId: string, pid: number) {
  const { commands } = bench.attribution;
  const { run } = commands.start(callerOf(pid), { runId });
  const session = await commands.openSession(callerOf(pid), openRequest(runId, pid));
  commands.defineScopes(session, [{ id: 1, parent: 0, level: 'layer', name: 'a' }]);
  return { run, session };
}

const uj = (byGpu: ReadonlyMap<string, { native(name: 'gpu_energy_joules'): bigint | undefined }>) =>
  Object.fromEntries([...byGpu].map(([uuid, totals]) => [uuid, totals.native('gpu_energy_joules')]));

it('is stored by GPU, published once committed, and goes on after a restart', async () => {
  const { run } = await begin('r', 100);
  const { slot } = run.scope('layer:a')!;
  bench.sampler.spendOfGpu(slot, 'GPU-1', 5n);
  bench.sampler.spendOfGpu(slot, 'GPU-2', 7n);
  bench.sampler.spendOfGpu(run.unattributedSlot, 'GPU-2', 1n);
  expect(run.scope('layer:a')!.byGpu.size).toBe(0);
  await bench.checkpoint();
  expect(uj(run.scope('layer:a')!.byGpu)).toEqual({ 'GPU-1': 5n, 'GPU-2': 7n });
  const frozen = run.frozen();
  restart();
  const [again] = bench.attribution.store.find('r');
  expect(uj(again!.scope('layer:a')!.byGpu)).toEqual({ 'GPU-1': 5n, 'GPU-2': 7n });
  expect(uj(again!.unattributedByGpu)).toEqual({ 'GPU-2': 1n });
  expect([...bench.sampler.gpus.values()].sort()).toEqual(['GPU-1', 'GPU-2']);
  // More scopes and devices than at the time of the restart.
  bench.sampler.spendOfGpu(slot, 'GPU-2', 3n);
  bench.sampler.spendOfGpu(again!.unattributedSlot, 'GPU-9', 4n);
  await bench.checkpoint();
  restart();
  const [last] = bench.attribution.store.find('r');
  expect(uj(last!.scope('layer:a')!.byGpu)).toEqual({ 'GPU-1': 5n, 'GPU-2': 10n });
  expect(uj(last!.unattributedByGpu)).toEqual({ 'GPU-2': 1n, 'GPU-9': 4n });
  const [scope] = frozen.scopes();
  expect(uj(scope!.byGpu)).toEqual({ 'GPU-1': 5n, 'GPU-2': 7n });
});

it('a run of which the rows by GPU are not what its scopes had is not gone on with', async () => {
  const { run } = await begin('r', 100);
  bench.sampler.spendOfGpu(run.scope('layer:a')!.slot, 'GPU-1', 5n);
  await bench.checkpoint();
  const saved = bench.persistence.load(run.handle)!;
  expect(runFault(saved)).toBeUndefined();
  for (const id of saved.rows.keys()) if (partsOfRowId(id).gpu > 0) saved.rows.delete(id);
  expect(runFault(saved)).toBe('gpu_energy_joules by GPU does not add up');
});

it('a session names its GPUs when it is opened and later, by index', async () => {
  const { run, session } = await begin('r', 100);
  bench.attribution.commands.nameDevices(session, ['GPU-1', 'GPU-2']);
  expect([...bench.sampler.devices.values()]).toEqual(['GPU-1', 'GPU-2']);
  const again = await bench.attribution.commands.openSession(callerOf(100), {
    ...openRequest(run.runId, 100),
    devices: ['GPU-3'],
  });
  bench.attribution.commands.nameDevices(again, ['GPU-4', 'GPU-5']);
  expect(again.token).not.toBe(session.token);
  // An index keeps its GPU.
  expect([...bench.sampler.devices.values()]).toEqual(['GPU-1', 'GPU-2', 'GPU-3', 'GPU-5']);
  expect(processOf(100).pid).toBe(100);
});
