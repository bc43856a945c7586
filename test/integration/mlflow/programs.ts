// Real training programs, the real agent and a real MLflow server: whatever becomes of the program, its totals are at the
// tracker, value by value, with how it ended and why; and its own documents are its own.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { formatRun } from '../../../src/cli/commands/show.js';
import { AgentProcess } from '../../unit/support/agent-process.js';
import { temporaryFolder } from '../../unit/support/bench.js';
import { type Bench, START_MS, SUMMARY, TEST_MS, tagsOf } from './bench.js';
import { delivered, ended, expectedMetrics } from './whole-run.js';

const REPOSITORY = resolve(import.meta.dirname, '../../..');
/** How the program ends; what `show` and the tags say of it; what MLflow's own status is in the end. */
const ENDS = [
  ['before', 'FINISHED', '', 'FINISHED'],
  ['after', 'FINISHED', '', 'FINISHED'],
  ['left', 'FINISHED', '', 'FINISHED'],
  ['crashed', 'FAILED', 'ValueError: no more data', 'FINISHED|FAILED'],
  ['interrupted', 'INTERRUPTED', 'KeyboardInterrupt', 'FINISHED|FAILED|KILLED'],
  ['terminated', 'INTERRUPTED', 'ended by signal 15 (SIGTERM)', 'KILLED'],
  ['killed', 'KILLED', 'ended by signal 9 (SIGKILL)', 'KILLED'],
  ['oom', 'KILLED', 'killed by the kernel: out of memory', 'KILLED'],
  ['status', 'FAILED', 'exit code 3', 'FAILED'],
  ['lost', 'LOST', 'exited with code 0 without saying that it was done', 'FAILED'],
] as const;

export const EVERY_WAY: readonly string[] = ['documents', ...ENDS.map(([mode]) => mode)];

export function programCases(bench: Bench, mlflow: string, modes: readonly string[]): void {
  describe('training programs', { timeout: TEST_MS }, () => {
    let folder: ReturnType<typeof temporaryFolder>;
    let agent: AgentProcess;
    let programs: Programs;

    beforeAll(async () => {
      folder = temporaryFolder();
      agent = new AgentProcess(folder.path);
      await agent.ready();
      programs = await Programs.start(join(dirname(mlflow), 'python'), bench.server.address, agent.socket);
    }, START_MS);

    afterAll(async () => {
      await programs?.stop();
      agent?.child.kill('SIGTERM');
      await agent?.exit;
      folder?.remove();
    });

    const possible = ENDS.filter(
      ([mode]) => modes.includes(mode) && (mode !== 'oom' || memoryCgroups() !== ''),
    );
    it.each(possible)('%s: %s', async (mode, status, reason, atTracker) => {
      const { runId, mlflowRun } = await programs.run(mode);
      const summary = await ended(agent.socket, runId);
      expect(summary.run).toMatchObject({ status, ...(reason === '' ? {} : { reason }) });
      expect(formatRun(summary)).toContain(reason === '' ? status : `${status}: ${reason}`);
      await delivered(agent.socket, runId);
      const { info, data } = await bench.stored(mlflowRun);
      expect(info.status).toMatch(new RegExp(`^(${atTracker})$`));
      const tags = { 'lezea_monitor.status': status, 'lezea_monitor.reason': reason };
      expect(tagsOf({ info, data })).toMatchObject(tags);
      const found = Object.fromEntries((data.metrics ?? []).map(({ key, value }) => [key, value]));
      expect(found).toEqual(expectedMetrics(summary));
      expect(Object.keys(found).length).toBeGreaterThan(60);
      // Each figure once.
      expect(bench.server.metricRows(mlflowRun)).toHaveLength(Object.keys(found).length);
      expect(JSON.parse(String(bench.server.artifact(mlflowRun, SUMMARY)))).toEqual(summary);
    });

    it.runIf(modes.includes('documents'))(
      'a program that logs documents of the same names keeps its own, and ours are there',
      async () => {
        const { runId, mlflowRun } = await programs.run('documents');
        const summary = await ended(agent.socket, runId);
        await delivered(agent.socket, runId);
        const { server } = bench;
        for (const path of ['environment/full.json', 'constraints/constraints.json', SUMMARY]) {
          expect(String(server.artifact(mlflowRun, path))).toMatch(/^the program's own/);
        }
        expect(JSON.parse(String(server.artifact(mlflowRun, `lezea-monitor/${SUMMARY}`)))).toEqual(summary);
        expect(tagsOf(await bench.stored(mlflowRun))).toMatchObject({
          [`lezea_monitor.artifact.${SUMMARY}`]: `lezea-monitor/${SUMMARY}`,
        });
      },
    );
  });
}

/** Where root makes memory cgroups: of version 2, or 1 where that has no memory controller; empty where there are none. */
function memoryCgroups(): string {
  const places = ['/sys/fs/cgroup/memory', '/sys/fs/cgroup'];
  const isPlace = (path: string) =>
    existsSync(`${path}/cgroup.procs`) &&
    (existsSync(`${path}/memory.limit_in_bytes`) ||
      /\bmemory\b/.test(readFileSync(`${path}/cgroup.subtree_control`, 'utf8')));
  return process.getuid?.() === 0 ? (places.find(isPlace) ?? '') : '';
}

/** The program of programs. */
class Programs {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  #count = 0;

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.#lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  }

  static async start(python: string, address: string, socket: string): Promise<Programs> {
    const { LEZEA_RUN_ID: _run, ...rest } = process.env;
    const env = { ...rest, PYTHONPATH: join(REPOSITORY, 'python'), LEZEA_MONITOR_SOCKET: socket };
    const child = spawn(
      python,
      [join(import.meta.dirname, 'program.py'), address, `${memoryCgroups()}/lezea-test-`],
      {
        stdio: ['pipe', 'pipe', 'ignore'],
        env: { ...env, PYTHONDONTWRITEBYTECODE: '1', MLFLOW_DISABLE_TELEMETRY: 'true' },
      },
    );
    const programs = new Programs(child);
    await once(child, 'spawn');
    expect((await programs.#lines.next()).value).toBe('ready');
    return programs;
  }

  async run(mode: string): Promise<{ runId: string; mlflowRun: string }> {
    this.#count += 1;
    const runId = `${mode}-${this.#count}`;
    this.#child.stdin!.write(`${mode} ${runId}\n`);
    for (;;) {
      const { value, done } = await this.#lines.next();
      if (done) throw new Error('the program of programs has ended');
      const [id, mlflowRun, status] = String(value).split(' ');
      // MLflow writes of its own to standard output.
      if (id === runId && status !== undefined) return { runId, mlflowRun: mlflowRun! };
    }
  }

  async stop(): Promise<void> {
    const ended = once(this.#child, 'exit');
    this.#child.stdin!.end();
    await ended;
  }
}
