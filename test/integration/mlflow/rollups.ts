// Live rollups at a real MLflow server: a whole agent, a real program, and a network that goes and comes back.

import { writeFileSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { hostname } from 'node:os';
import { join } from 'node:path';
import BetterSqlite3 from 'better-sqlite3';
import { expect, it } from 'vitest';
import { liveKey } from '../../../src/delivery/mlflow/keys.js';
import { start } from '../../unit/cli/command-line.js';
import { AgentProcess } from '../../unit/support/agent-process.js';
import { temporaryFolder } from '../../unit/support/bench.js';
import type { Bench } from './bench.js';

const KEEP = 3;
const SETTINGS = ['enabled=true', 'interval_seconds=1', `keep=${KEEP}`];
/** Uses some CPU until there is a file of that name. */
const PROGRAM = 'while [ ! -e "$0" ]; do i=0; while [ $i -lt 3000 ]; do i=$((i+1)); done; sleep 0.2; done';

export function rollupsCases(bench: Bench): void {
  it('has what a running run has used so far, bounded while the network is gone, and never more than its total', async () => {
    const folder = temporaryFolder();
    const network = await Network.start(bench.server.address);
    const sets = SETTINGS.map((setting) => `tracker.rollups.${setting}`);
    const agent = new AgentProcess(folder.path, { args: sets.flatMap((each) => ['--set', each]) });
    try {
      const { http } = await agent.ready();
      const runId = await bench.startRun();
      const rows = (key: string) => bench.server.metricRows(runId).filter((row) => row.key === key);
      const live = () => rows(liveKey(hostname(), 'cpu_seconds'));
      const waiting = { timeout: 60_000, interval: 200 };
      const stop = join(folder.path, 'stop');
      const env = { MLFLOW_TRACKING_URI: network.address, MLFLOW_RUN_ID: runId };
      const running = start(['run', '--socket', agent.socket, 'sh', '-c', PROGRAM, stop], { env });
      await expect.poll(() => live().length, waiting).toBeGreaterThanOrEqual(2);

      await network.cut();
      const dropped = async () => {
        const text = await (await fetch(`http://${http}/metrics`)).text();
        return Number(/^lezea_agent_outbox_rollups_dropped_total (\d+)$/m.exec(text)?.[1]);
      };
      await expect.poll(dropped, waiting).toBeGreaterThanOrEqual(2);
      const database = new BetterSqlite3(join(folder.path, 'state', 'state.db'), { readonly: true });
      expect(database.prepare('SELECT count(*) FROM rollups').pluck().get()).toBe(KEEP);
      database.close();
      const before = live().length;
      await network.mend();
      await expect.poll(() => live().length, waiting).toBeGreaterThan(before + KEEP);

      writeFileSync(stop, '');
      expect((await running.outcome).code).toBe(0);
      await expect.poll(() => rows('resources/total/cpu_seconds').length, waiting).toBe(1);
      const points = live();
      const values = points.map(({ value }) => value);
      expect(values).toEqual(values.toSorted((a, b) => a - b));
      expect(new Set(points.map(({ step }) => step)).size).toBe(points.length);
      const [total] = rows('resources/total/cpu_seconds');
      expect(values.at(-1)).toBeGreaterThan(0);
      expect(values.at(-1)).toBeLessThanOrEqual(total!.value);
      expect(rows(liveKey(hostname(), 'cpu_cores')).length).toBeGreaterThan(1);
    } finally {
      agent.child.kill('SIGKILL');
      await agent.exit;
      await network.cut();
      folder.remove();
    }
  }, 180_000);
}

/** Between the agent and the server; cut, it refuses connections. */
class Network {
  readonly #to: URL;
  readonly #open = new Set<Socket>();
  #server: Server | undefined;
  #port = 0;

  static async start(to: string): Promise<Network> {
    const made = new Network(to);
    await made.mend();
    return made;
  }

  private constructor(to: string) {
    this.#to = new URL(to);
  }

  get address(): string {
    return `http://127.0.0.1:${this.#port}${this.#to.pathname.replace(/\/$/, '')}`;
  }

  async mend(): Promise<void> {
    const server = createServer((near) => {
      const far = connect(Number(this.#to.port), this.#to.hostname);
      for (const [from, into] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#open.add(from);
        from.on('error', () => into.destroy());
        from.on('close', () => this.#open.delete(from));
        from.pipe(into);
      }
    });
    await new Promise<void>((resolve) => server.listen(this.#port, '127.0.0.1', resolve));
    this.#port = (server.address() as { port: number }).port;
    this.#server = server;
  }

  async cut(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (!server) return;
    const closed = new Promise((resolve) => server.close(resolve));
    for (const socket of this.#open) socket.destroy();
    await closed;
  }
}
