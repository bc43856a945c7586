// What holds against every real MLflow server: a run's totals arrive value by value, once, however often they are sent, and
// nobody else's run, documents and status are touched.

import { afterAll, beforeAll, describe } from 'vitest';
import { authCases } from './auth.js';
import { Bench, type Expected, START_MS, TEST_MS } from './bench.js';
import { documentsCases } from './documents.js';
import { factsCases } from './facts.js';
import { figuresCases } from './figures.js';
import { nodesCases } from './nodes.js';
import { programCases } from './programs.js';
import { installedMlflow } from './real-server.js';
import { rollupsCases } from './rollups.js';
import { runsCases } from './runs.js';
import { waysCases } from './ways.js';

export function mlflowSuite(expected: Expected): void {
  const { major } = expected;
  const { mlflow, missing } = installedMlflow(major);
  describe.skipIf(!mlflow)(`MLflow ${major}${missing}`, { timeout: TEST_MS }, () => {
    const bench = new Bench();
    beforeAll(() => bench.start(mlflow!), START_MS);
    afterAll(() => bench.stop());
    figuresCases(bench, expected);
    runsCases(bench, expected);
    documentsCases(bench);
    waysCases(bench);
    factsCases(bench, mlflow!);
    programCases(bench, mlflow!, expected.programs);
    nodesCases(bench);
    rollupsCases(bench);
  });
  authCases(major);
}
