// What others are shown of a place's words.

import { expect, it } from 'vitest';
import { aboutPlace } from '../../../src/delivery/about-place.js';

it.each([
  ['GET http://t/api/2.0/mlflow/runs/get: 503 (run 0af3 is busy)', 'it answers 503'],
  ['POST http://t:5000/log-batch: 403; start the server with this host', 'it answers 403'],
  ['POST http://t:5000/secret: connect ECONNREFUSED 10.0.0.1:5000', 'it cannot be reached: ECONNREFUSED'],
  ['GET https://t/x: SELF_SIGNED_CERT_IN_CHAIN', 'it cannot be reached: SELF_SIGNED_CERT_IN_CHAIN'],
  ['resources/summary.json of run secret: other nodes deliver theirs', 'it does not take totals'],
])('%s', (words, expected) => {
  const state = { name: 'mlflow http://t', failures: 2, retryMs: 5, delivery: 7 };
  expect(aboutPlace({ ...state, error: words, refused: words })).toEqual({
    name: 'mlflow http://t',
    failures: 2,
    retryMs: 5,
    error: expected,
    refused: expected,
  });
  expect(aboutPlace({ name: 'x', failures: 0, retryMs: 0 })).toEqual({ name: 'x', failures: 0, retryMs: 0 });
});
