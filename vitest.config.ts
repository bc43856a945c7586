// How the TypeScript tests run: one process per file, so that the addon and SQLite are loaded as in production.

import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    // Real trackers are no part of `npm test`: they are named to be tested against (CONTRIBUTING.md).
    exclude: process.env.LEZEA_MLFLOW_3 || process.env.LEZEA_MLFLOW_2 ? [] : ['test/integration/mlflow/**'],
    include: ['test/unit/**/*.test.ts', 'test/integration/**/*.test.ts'],
    pool: 'forks',
    // More than there are cores: many wait for an agent, a clock or a disk.
    maxWorkers: 3,
    testTimeout: 20_000,
    hookTimeout: 20_000,
  },
});
