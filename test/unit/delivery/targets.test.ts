// Who brings a run's totals to its tracker, by what the run said and what the agent's configuration allows.

import { expect, it } from 'vitest';
import { mlflowPlace, standingOf, type TargetRules } from '../../../src/delivery/targets.js';

const USER: TargetRules = { mode: 'user', addresses: [], hasCredentials: false };
const SYSTEM: TargetRules = { ...USER, mode: 'system', addresses: ['https://listed/mlflow/'] };
const at = (uri: string, more: object = {}) => ({ mlflow_tracking_uri: uri, mlflow_run_id: 'abc', ...more });

it.each([
  ['a server, in user mode', at('http://any:5000'), USER, { by: 'agent' }],
  ['a server that is listed', at('https://listed/mlflow'), SYSTEM, { by: 'agent' }],
  ['a server that is not listed', at('http://10.0.0.1:5000'), SYSTEM, { by: 'client', reason: /addresses/ }],
  [
    'an address that only begins like one',
    at('https://listed/mlflow-evil'),
    SYSTEM,
    { by: 'client', reason: /addr/ },
  ],
  ['a file store', at('file:///home/me/mlruns'), USER, { by: 'client', reason: /itself can write/ }],
  ['a database', at('sqlite:////tmp/m.db'), USER, { by: 'client', reason: /itself can write/ }],
  [
    'credentials of the program',
    at('http://any', { mlflow_credentials: 'client' }),
    USER,
    { by: 'client', reason: /cred/ },
  ],
  [
    'credentials of both',
    at('http://any', { mlflow_credentials: 'client' }),
    { ...USER, hasCredentials: true },
    { by: 'agent' },
  ],
  [
    'artifacts elsewhere',
    at('http://any', { mlflow_artifact_uri: 's3://b/1' }),
    USER,
    { by: 'client', reason: /s3:/ },
  ],
  [
    'artifacts at the server',
    at('http://any', { mlflow_artifact_uri: 'mlflow-artifacts:/0/1' }),
    USER,
    { by: 'agent' },
  ],
  ['no run yet', { mlflow_tracking_uri: 'http://any' }, USER, { by: 'nobody', reason: /mlflow_run_id/ }],
  ['no address', { mlflow_run_id: 'abc' }, USER, { by: 'nobody', reason: /mlflow_tracking_uri/ }],
  ['a run to be made', { mlflow_tracking_uri: 'http://any', mlflow_create: 'true' }, USER, { by: 'agent' }],
] as const)('%s', (_what, settings, rules, { by, ...more }) => {
  const standing = standingOf(settings, rules);
  expect(standing?.by).toBe(by);
  if ('reason' in more) expect(standing?.reason).toMatch(more.reason as RegExp);
  else expect(standing?.reason).toBeUndefined();
});

it('no tracker at all', () => {
  expect(standingOf({}, USER)).toBeUndefined();
  expect(standingOf({ other: 'x' }, USER)).toBeUndefined();
});

it('where only the documents are the client’s, the figures are the agent’s', () => {
  const place = mlflowPlace(at('http://any/', { mlflow_artifact_uri: 's3://b/1' }), USER);
  expect(place).toMatchObject({ bearer: 'agent', documents: 'client', target: { address: 'http://any' } });
});
