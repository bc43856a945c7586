// What the environment says of the tracker, as the agent may hear it: never a secret.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { trackerOf } from '../../../src/client/tracker.js';
import { temporaryFolder } from '../support/bench.js';

const folder = temporaryFolder();
afterEach(() => folder.remove());
const HOME = folder.path;

it.each([
  ['nothing', {}, undefined],
  ['a server', { MLFLOW_TRACKING_URI: 'http://t:5000/ml' }, { mlflow_tracking_uri: 'http://t:5000/ml' }],
  ['a run only', { MLFLOW_RUN_ID: 'abc' }, { mlflow_run_id: 'abc' }],
  [
    'a password in the address',
    { MLFLOW_TRACKING_URI: 'https://me:hunter2@t/ml?token=s#x' },
    { mlflow_tracking_uri: 'https://t/ml', mlflow_credentials: 'client' },
  ],
  [
    'a token beside it',
    { MLFLOW_TRACKING_URI: 'https://t', MLFLOW_TRACKING_TOKEN: 's3cret' },
    { mlflow_tracking_uri: 'https://t', mlflow_credentials: 'client' },
  ],
  ['a folder', { MLFLOW_TRACKING_URI: '/data/my runs' }, { mlflow_tracking_uri: 'file:///data/my%20runs' }],
  [
    'a name of MLflow’s',
    { MLFLOW_TRACKING_URI: 'databricks://p' },
    { mlflow_tracking_uri: 'databricks://p' },
  ],
  ['a database', { MLFLOW_TRACKING_URI: 'sqlite:////x/m.db' }, { mlflow_tracking_uri: 'sqlite:////x/m.db' }],
])('%s', (_what, env, expected) => {
  const found = trackerOf({ HOME, ...env });
  expect(found).toEqual(expected);
  expect(JSON.stringify(found ?? {})).not.toMatch(/hunter2|s3cret|token=/);
});

it('credentials that MLflow has saved are the program’s own', () => {
  mkdirSync(join(HOME, '.mlflow'), { recursive: true });
  writeFileSync(join(HOME, '.mlflow', 'credentials'), '[mlflow]');
  expect(trackerOf({ HOME, MLFLOW_TRACKING_URI: 'http://t' })).toMatchObject({
    mlflow_credentials: 'client',
  });
});
