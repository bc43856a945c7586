// A frozen run beside the one that goes on.

import { expect, it } from 'vitest';
import type { Run } from '../../../src/attribution/model.js';
import { callerOf, openRequest, processOf, startBench, temporaryFolder } from '../support/bench.js';

it('a frozen run is of one moment, whatever is published and defined later', async () => {
  const folder = temporaryFolder();
  const bench = startBench(folder.path);
  const { commands } = bench.attribution;
  const { run } = commands.start(callerOf(100), { runId: 'r' });
  const session = await commands.openSession(callerOf(100), openRequest('r', 100, { birthScope: 'a:x/b:y' }));
  const slot = (path: string) => run.scope(path)!.slot;
  bench.sampler.spend(processOf(100), 5n, slot('a:x/b:y'));
  bench.sampler.spend(processOf(100), 2n, run.unattributedSlot);
  await bench.checkpoint();
  const still = run.frozen();
  const seen = (of: Run) => ({
    total: of.totals.native('cpu_seconds'),
    unattributed: of.unattributed.native('cpu_seconds'),
    scopes: [...of.scopes()].map((scope) => [scope.path, scope.inclusive().native('cpu_seconds')]),
  });
  const then = {
    total: 7n,
    unattributed: 2n,
    scopes: [
      ['a:x', 5n],
      ['a:x/b:y', 5n],
    ],
  };
  expect(seen(still)).toEqual(then);
  commands.defineScopes(session, [
    { id: 1, parent: 0, level: 'a', name: 'x' },
    { id: 2, parent: 1, level: 'b', name: 'z' },
  ]);
  for (const path of ['a:x', 'a:x/b:y', 'a:x/b:z']) bench.sampler.spend(processOf(100), 100n, slot(path));
  await bench.checkpoint();
  expect(seen(still)).toEqual(then);
  expect(seen(run)).toMatchObject({ total: 307n });
  bench.close();
  folder.remove();
});
