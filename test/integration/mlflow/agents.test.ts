// Whole agents and a real server of the newest MLflow 3: what is between them, and what becomes of them.

import { afterAll, beforeAll, describe } from 'vitest';
import { Bench, START_MS, TEST_MS } from './bench.js';
import { offlineCases } from './offline.js';
import { outageCases } from './outage.js';
import { installedMlflow } from './real-server.js';
import { rebootCases } from './reboot.js';
import { twoAgentsCases } from './two-agents.js';

const { mlflow, missing } = installedMlflow(3);

describe.skipIf(!mlflow)(`whole agents and MLflow 3${missing}`, { timeout: TEST_MS }, () => {
  const bench = new Bench();
  beforeAll(() => bench.start(mlflow!), START_MS);
  afterAll(() => bench.stop());
  offlineCases(bench);
  twoAgentsCases(bench);
  rebootCases(bench);
  outageCases(bench);
});
