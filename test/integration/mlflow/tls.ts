// A whole agent and a tracker behind TLS, a path prefix and a password: who is not trusted is told nothing, and what is to be
// delivered waits until the configuration says whom to trust.

import { expect, it } from 'vitest';
import { temporaryFolder } from '../../unit/support/bench.js';
import { Bench } from './bench.js';
import { makeCertificates } from './certificates.js';
import { startProxy } from './proxy.js';
import type { RealServer } from './real-server.js';
import { WholeAgent } from './whole-agent.js';
import { expectThere } from './whole-run.js';

export function tlsCases(server: () => RealServer, admin: { username: string; password: string }): void {
  it('is delivered to over TLS by an agent that knows its authority, and told nothing by another', async () => {
    const bench = new Bench(server());
    const folder = temporaryFolder();
    const { caFile, key, cert } = makeCertificates(folder.path);
    const proxy = await startProxy(server().address, { prefix: '/secure/ml', tls: { key, cert } });
    const agent = new WholeAgent();
    try {
      const password = agent.write('password', admin.password);
      const tracker = { username: admin.username, password_file: password };
      const config = () => agent.write('config.yaml', JSON.stringify({ tracker }));
      const args = ['--config', config()];
      await agent.start({ args });
      const mlflowRun = await bench.startRun();
      const orders = {
        builders: 1,
        layers: 1,
        runs: [{ id: 'tls', mlflowRun }],
        tracker: `${proxy.address}/secure/ml`,
      };
      await agent.train(orders).says('ended tls');
      const summary = await agent.ended('tls');
      const listed = () => agent.ask<Listed>('outbox.list', {});
      await expect
        .poll(async () => (await listed()).sinks[0]?.failures, { timeout: 20_000 })
        .toBeGreaterThan(2);
      const { deliveries, sinks } = await listed();
      expect(deliveries).toMatchObject([{ state: 'waiting', dead: 0, delivered: 0 }]);
      expect(sinks[0]!.error).toMatch(/^GET https:.*certificate.*ca_file/);
      const shown = await agent.cli('outbox', 'ls');
      expect(shown.stdout).toContain('ca_file');
      expect(await agent.cli('outbox', 'fsck')).toMatchObject({ code: 0 });

      Object.assign(tracker, { ca_file: caFile });
      config();
      agent.process.child.kill('SIGHUP');
      const read = await agent.process.said(({ msg }) => msg === 'the configuration was read again');
      expect(read).toMatchObject({ applied: [], waiting_for_restart: ['tracker.ca_file'] });
      expect(proxy.requests()).toBe(0);
      expect(bench.server.metricRows(mlflowRun)).toEqual([]);
      await agent.stop();
      await agent.start({ args });
      await agent.delivered('tls');
      await expectThere(bench, mlflowRun, summary);
    } finally {
      await agent.remove();
      await proxy.close();
      folder.remove();
    }
  });
}

interface Listed {
  deliveries: { state: string; dead: number; delivered: number }[];
  sinks: { failures: number; error?: string }[];
}
