// Who is let in by a real MLflow server with basic auth.

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MlflowSink, type MlflowSinkOptions } from '../../../src/delivery/mlflow/sink.js';
import type { SendError } from '../../../src/delivery/model.js';
import { endedRun } from '../../unit/support/ended-run.js';
import { START_MS, type StoredRun, SUMMARY, TEST_MS } from './bench.js';
import { deliver, targetOf } from './courier.js';
import { installedMlflow, RealServer } from './real-server.js';
import { tlsCases } from './tls.js';

export function authCases(major: 2 | 3): void {
  const { mlflow, missing } = installedMlflow(major);

  describe.skipIf(!mlflow)(`MLflow ${major} with basic auth${missing}`, { timeout: TEST_MS }, () => {
    const admin = { username: 'admin', password: 'correct horse' };
    // MLflow 2 has its interface outside the prefix, for something in front to put it there.
    const staticPrefix = major === 3 ? '/team' : '';
    let server: RealServer;
    beforeAll(async () => {
      server = await RealServer.start(mlflow!, { admin, ...(staticPrefix && { staticPrefix }) });
    }, START_MS);
    afterAll(() => server?.stop());
    tlsCases(() => server, admin);

    it('takes a run from who may write, and says who is not let in', async () => {
      const made = await server.call<{ run: StoredRun }>('POST', 'mlflow/runs/create', {
        experiment_id: '0',
        start_time: 1,
      });
      const runId = made.run.info.run_id;
      const reader = { username: 'reader', password: 'reader password' };
      await server.call('POST', 'mlflow/users/create', reader);
      const run = endedRun();
      const target = targetOf(server.address, runId);
      const send = async (credentials: MlflowSinkOptions['credentials']) => {
        const sink = new MlflowSink({ version: '0', credentials, timeoutMs: 60_000, readFile: run.readFile });
        return deliver(sink, run, target)
          .then(
            () => undefined,
            (error: unknown) => error as SendError,
          )
          .finally(() => sink.close());
      };
      const wrong = await send({ ...admin, password: 'wrong-password' });
      expect(wrong).toMatchObject({ verdict: 'refused', message: expect.stringContaining('401') });
      expect(wrong!.message).not.toContain('wrong-password');
      expect(await send({})).toMatchObject({ verdict: 'refused' });
      expect(await send({ token: 'a token' })).toMatchObject({ verdict: 'refused' });
      expect(await send(reader)).toMatchObject({
        verdict: 'refused',
        message: expect.stringContaining('403'),
      });
      expect(server.metricRows(runId)).toEqual([]);
      // A user name wins over a token.
      expect(await send({ ...admin, token: 'a token' })).toBeUndefined();
      expect(server.metricRows(runId).length).toBeGreaterThan(0);
      expect(server.artifact(runId, SUMMARY)).toEqual(await run.readFile(run, SUMMARY));
    });
  });
}
