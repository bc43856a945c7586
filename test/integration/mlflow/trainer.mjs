// A training program for the tests: runs, one after the other, with layers inside builders. Reads its orders (JSON) from its
// argument and, where it is to be held, a line of standard input before the end of each run; prints `held RUN` and `ended RUN`.

import { createInterface } from 'node:readline';
import { startRun } from '../../../dist/client/index.js';

const { runs, tracker, builders = 2, layers = 2, rank, worldSize, hold = false } = JSON.parse(process.argv[2]);
const lines = hold ? createInterface({ input: process.stdin })[Symbol.asyncIterator]() : undefined;

function burn(ms) {
  const { user } = process.cpuUsage();
  while (process.cpuUsage().user - user < ms * 1000) Math.sqrt(ms);
}

for (const { id, mlflowRun } of runs) {
  const place = { mlflow_tracking_uri: tracker, mlflow_run_id: mlflowRun };
  const run = await startRun({ runId: id, experiment: 'whole', tracker: place, rank, worldSize });
  if (!run.active) process.exit(4);
  for (let b = 0; b < builders; b++) {
    run.builder(`b${b}`, () => {
      burn(0.5);
      for (let l = 0; l < layers; l++) run.layer(`l${l}`, () => burn(0.5));
    });
  }
  if (lines) {
    console.log(`held ${id}`);
    await lines.next();
  }
  if ((await run.end()) === undefined) process.exit(5);
  console.log(`ended ${id}`);
}
process.exit(0);
