// A whole agent with a web configuration: what it shows of whom, to whom, and that it does not start with a bad one.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { hashSync } from 'bcryptjs';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { loadAddon } from '../../../src/native/addon.js';
import { AgentProcess } from '../support/agent-process.js';
import { temporaryFolder } from '../support/bench.js';
import { Client } from '../support/ipc-bench.js';

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

// The first system agent of a machine makes folders that only root may make.
const mode = process.getuid?.() === 0 ? 'system' : 'user';

/** Its address, with a run of the name `hush` under way. */
async function start(web?: string): Promise<string> {
  const path = join(folder.path, 'web.yml');
  if (web !== undefined) writeFileSync(path, web);
  agent = new AgentProcess(folder.path, { mode, args: web === undefined ? [] : ['--web.config.file', path] });
  const { http } = await agent.ready();
  const client = await Client.connect(agent.socket);
  await client.result('run.start', { run_id: 'hush' });
  await client.result('session.open', { run_id: 'hush', t_ns: Number(loadAddon().monotonicNs()) });
  client.close();
  return `http://${http}`;
}

const as = (user: string) => ({
  headers: { authorization: `Basic ${Buffer.from(user).toString('base64')}` },
});

it('shows the names of runs to those whom it lets in, and nothing to others', async () => {
  const at = await start(`basic_auth_users: { prometheus: '${hashSync('pass', 4)}' }`);
  const metrics = await (await fetch(`${at}/metrics`, as('prometheus:pass'))).text();
  expect(metrics).toContain('lezea_run_info{run="hush"');
  const { runs } = (await (await fetch(`${at}/api/v1/runs`, as('prometheus:pass'))).json()) as {
    runs: object[];
  };
  expect(runs).toMatchObject([{ run_id: 'hush' }]);
  for (const path of ['/metrics', '/api/v1/runs', '/healthz']) {
    const refused = await fetch(`${at}${path}`, as('prometheus:wrong'));
    expect(refused.status).toBe(401);
    expect(await refused.text()).not.toContain('hush');
  }
});

it.runIf(mode === 'system')('shows no name where everybody is let in', async () => {
  const at = await start('rate_limit: { interval: 1ms, burst: 1000 }');
  const metrics = await (await fetch(`${at}/metrics`)).text();
  expect(metrics).toContain('lezea_run_info{run="');
  expect(metrics).not.toContain('hush');
  expect((await fetch(`${at}/api/v1/runs`)).status).toBe(403);
});

it('does not start with one that cannot be used, and says why', async () => {
  await expect(start('basic_auth_users: { prometheus: plain }')).rejects.toThrow();
  expect((await agent?.exit)?.code).toBe(2);
  const said = agent?.lines.map((line) => line.msg).join('\n');
  expect(said).toMatch(/web\.yml: basic_auth_users\.prometheus: expected a bcrypt hash/);
  expect(said).not.toContain('plain');
});
