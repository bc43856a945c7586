// `bugreport` of a whole agent in which secrets were planted wherever one can be, and without any agent.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { parse } from 'yaml';
import type { BugReport } from '../../../src/cli/commands/bugreport.js';
import { loadAddon } from '../../../src/native/addon.js';
import { AgentProcess } from '../support/agent-process.js';
import { temporaryFolder } from '../support/bench.js';
import { Client } from '../support/ipc-bench.js';
import { start } from './command-line.js';

const SECRET = 'planted5ecret';

let folder: ReturnType<typeof temporaryFolder>;
let agent: AgentProcess | undefined;

beforeEach(() => {
  folder = temporaryFolder();
});

afterEach(async () => {
  agent?.child.kill('SIGKILL');
  await agent?.exit;
  agent = undefined;
  folder.remove();
});

/** As the account that the agent is of would ask. */
const ask = (config: string, ...args: string[]) =>
  start(['bugreport', ...args], {
    env: {
      HOME: folder.path,
      LEZEA_MONITOR_CONFIG: config,
      MLFLOW_TRACKING_PASSWORD: SECRET,
      AWS_SECRET_ACCESS_KEY: SECRET,
    },
  }).outcome;

it('has every part that the agent and the machine can say, and no secret', async () => {
  const secretFile = join(folder.path, 'webhook.key');
  writeFileSync(secretFile, `${SECRET}${SECRET}${SECRET}`, { mode: 0o600 });
  const config = join(folder.path, 'config.yaml');
  const state = join(folder.path, 'state');
  writeFileSync(
    config,
    `agent: { mode: user }\nstate: { dir: ${state} }\nwebhook: { enabled: true, url: "http://127.0.0.1:9/x", secret_file: ${secretFile} }\n`,
  );
  agent = new AgentProcess(folder.path, { args: ['--config', config] });
  await agent.ready();
  const client = await Client.connect(agent.socket);
  const tags = { api_key: SECRET, from: `https://me:${SECRET}@git.example.com/a` };
  await client.result('run.start', { run_id: 'hush-hush', tags });
  await client.result('session.open', { run_id: 'hush-hush', t_ns: Number(loadAddon().monotonicNs()) });
  await client.result('run.end', { run_id: 'hush-hush', status: 'FAILED', reason: `password=${SECRET}` });
  client.close();

  const { code, stdout, stderr } = await ask(config, '--socket', agent.socket);
  expect([code, stderr]).toEqual([0, '']);
  expect(stdout).not.toContain(SECRET);
  expect(stdout).not.toContain('hush-hush');
  const report = parse(stdout) as BugReport;
  expect(report).toMatchObject({
    schema: 'lezea.bugreport/v1',
    program: { node: process.version },
    parts: {
      doctor: { probed_by: 'agent', agent: { running: true, mode: 'user' } },
      kernel: { version: expect.stringContaining('Linux'), cgroup: expect.any(Number) },
      health: { checks: expect.arrayContaining([expect.objectContaining({ name: 'sampler' })]) },
      deliveries: { states: { waiting: 1 }, more: false },
      node: { schema: 'lezea.environment/v1' },
      state: { folder: state, file_bytes: expect.any(Object), free_bytes: expect.any(Number) },
    },
  });
  const { configuration, counters } = report.parts as {
    configuration: { key: string }[];
    counters: string[];
  };
  expect(configuration).toContainEqual({
    key: 'webhook.secret_file',
    value: secretFile,
    source: `${config}:3`,
  });
  expect(counters.some((line) => line.startsWith('lezea_agent_runs_live '))).toBe(true);
  // What there is no service of is said; nothing else is missing.
  expect(Object.keys(report.missing).filter((name) => name !== 'service' && name !== 'log')).toEqual([]);
});

it('says why what it could not have is missing', async () => {
  mkdirSync(join(folder.path, 'empty'));
  const config = join(folder.path, 'config.yaml');
  writeFileSync(config, `log: { level: "password=${SECRET}" }\n`);
  const { code, stdout } = await ask(config, '--json', '--socket', join(folder.path, 'none.sock'));
  expect(code).toBe(0);
  expect(stdout).not.toContain(SECRET);
  const { parts, missing } = JSON.parse(stdout) as BugReport;
  expect(parts.kernel).toMatchObject({ version: expect.stringContaining('Linux') });
  expect(missing.configuration).toMatch(/log\.level .*expected/);
  for (const name of ['health', 'node', 'counters', 'deliveries'])
    expect(missing[name]).toContain('none.sock');
});
