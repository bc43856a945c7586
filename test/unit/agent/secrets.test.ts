// The whole agent and a real program that captures all it can, with secrets planted wherever a program has them: none of them
// is in anything that either leaves or sends.

import { spawn } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inflateSync } from 'node:zlib';
import BetterSqlite3 from 'better-sqlite3';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { cli } from '../cli/command-line.js';
import { AgentProcess } from '../support/agent-process.js';
import { temporaryFolder } from '../support/bench.js';
import { type HttpPlace, startPlace } from '../support/http-place.js';

const SECRET = 'planted5ecret';
const URL_WITH_SECRETS = `https://x-token-auth:${SECRET}@git.example.com/a?token=${SECRET}`;
const PYTHON = join(import.meta.dirname, '../../../python');
const PROGRAM = `
import sys
import lezea_monitor as lm
url = ${JSON.stringify(URL_WITH_SECRETS)}
run = lm.start_run(run_id=sys.argv[1], capture_level="complete", tags={"from": url, "api_key": "${SECRET}"})
run.facts(data=url, hyperparameters={"lr": 0.1, "password": "${SECRET}", "db": {"url": url}}, tags={"t": url})
run.event("loaded", url=url, token="${SECRET}${SECRET}")
with run.builder("b0"):
    sum(range(300000))
run._capture.wait(30)  # longer than an end would wait
raise ConnectionError("no answer from " + url)
`;

let folder: ReturnType<typeof temporaryFolder>;
let agent: AgentProcess;
let place: HttpPlace;

beforeEach(async () => {
  folder = temporaryFolder();
  place = await startPlace();
  const info = {
    run_id: 'm1',
    status: 'RUNNING',
    lifecycle_stage: 'active',
    artifact_uri: 'mlflow-artifacts:/0/m1',
  };
  place.answer = ({ url }, response) =>
    response.end(url.includes('runs/get') ? JSON.stringify({ run: { info, data: {} } }) : '{}');
  agent = new AgentProcess(folder.path, {
    through: ['env', `AWS_SECRET_ACCESS_KEY=${SECRET}`, `HF_TOKEN=${SECRET}`],
    args: ['--log-level', 'trace'],
  });
});

afterEach(async () => {
  agent.child.kill('SIGKILL');
  await agent.exit;
  await place.close();
  folder.remove();
});

/** A folder with a program, a repository, packages and a file of passwords. */
function project(): string {
  const path = join(folder.path, 'project');
  const write = (name: string, text: string) => {
    mkdirSync(join(path, name, '..'), { recursive: true });
    writeFileSync(join(path, name), text);
  };
  write('train.py', PROGRAM);
  write('.git/HEAD', 'ref: refs/heads/main\n');
  write('.git/refs/heads/main', `${'a'.repeat(40)}\n`);
  write('.git/config', `[remote "origin"]\n\turl = ${URL_WITH_SECRETS}\n`);
  write('.netrc', `machine git.example.com login me password ${SECRET}\n`);
  const direct = { url: URL_WITH_SECRETS, vcs_info: { vcs: 'git', commit_id: 'abc' } };
  write('mine-1.0.dist-info/METADATA', 'Name: mine\nVersion: 1.0\n');
  write('mine-1.0.dist-info/direct_url.json', JSON.stringify(direct));
  write('conda/conda-meta/numpy-1.26.4-py311_0.json', JSON.stringify({ url: URL_WITH_SECRETS }));
  return path;
}

function run(runId: string, where: string, more: Record<string, string>): Promise<number | null> {
  const env = {
    PATH: '/usr/local/bin:/usr/bin:/bin',
    HOME: where,
    PYTHONPATH: PYTHON,
    LEZEA_MONITOR_SOCKET: agent.socket,
    AWS_SECRET_ACCESS_KEY: SECRET,
    WANDB_API_KEY: SECRET,
    PIP_INDEX_URL: URL_WITH_SECRETS,
    CONDA_PREFIX: join(where, 'conda'),
    CUDA_VISIBLE_DEVICES: '0',
    MLFLOW_RUN_ID: 'm1',
    ...more,
  };
  const child = spawn('python3', [join(where, 'train.py'), runId, '--api-key', SECRET], {
    cwd: where,
    env,
    stdio: 'ignore',
  });
  return new Promise((resolve) => child.on('close', resolve));
}

function filesBelow(path: string): string[] {
  return readdirSync(path, { recursive: true })
    .map((name) => join(path, String(name)))
    .filter((name) => statSync(name).isFile());
}

/** Every value of every table; what is packed, unpacked. */
function* rowsOf(path: string): Generator<string> {
  const db = new BetterSqlite3(path, { readonly: true });
  const tables = db.prepare("SELECT name FROM sqlite_master WHERE type = 'table'").pluck().all() as string[];
  for (const table of tables) {
    for (const row of db.prepare(`SELECT * FROM ${table}`).all() as Record<string, unknown>[]) {
      for (const value of Object.values(row)) {
        yield String(value);
        if (Buffer.isBuffer(value) && value[0] === 0x78) yield inflateSync(value).toString();
      }
    }
  }
  db.close();
}

it('no planted secret is in files, database, log, metrics, answers or requests', async () => {
  const { http } = (await agent.ready()) as { http?: string };
  const where = project();
  // What the agent brings; and what waits for the program's own client, which alone has the password.
  expect(await run('brought', where, { MLFLOW_TRACKING_URI: place.address })).toBe(1);
  const withPassword = {
    MLFLOW_TRACKING_URI: `http://me:${SECRET}@127.0.0.1:1/x`,
    MLFLOW_TRACKING_PASSWORD: SECRET,
  };
  expect(await run('kept', where, withPassword)).toBe(1);
  const socket = ['--socket', agent.socket];
  await expect
    .poll(
      async () =>
        JSON.parse((await cli(['outbox', 'ls', '--run', 'brought', '--json', ...socket])).stdout).deliveries,
      {
        timeout: 15_000,
      },
    )
    .toEqual([]);
  const said: string[] = [];
  for (const words of [['show', 'kept'], ['events', 'brought'], ['runs'], ['outbox', 'show', '2']])
    said.push((await cli([...words, ...socket, ...(words[0] === 'events' ? [] : ['--json'])])).stdout);
  for (const path of ['/metrics', '/api/v1/runs', '/api/v1/runs/kept'])
    said.push(await (await fetch(`http://${http}${path}`)).text());
  const state = join(folder.path, 'state');
  const files = filesBelow(state);
  said.push(...files.map((file) => readFileSync(file, 'latin1')));
  said.push(...place.asked.map(({ url, headers, body }) => `${url} ${JSON.stringify(headers)} ${body}`));
  agent.child.kill('SIGTERM');
  await agent.exit;
  said.push(...agent.lines.map((line) => JSON.stringify(line)));
  said.push(...rowsOf(join(state, 'state.db')));

  // What there is to be found was looked at.
  const all = said.join('\n');
  for (const there of [
    '"CUDA_VISIBLE_DEVICES"',
    '@ git+https://git.example.com/a@abc',
    '1.26.4=py311_0',
    '[hidden]',
  ])
    expect(all).toContain(there);
  expect(all).toContain('ConnectionError: no answer from https://git.example.com/a?token=[hidden]');
  expect(place.asked.some(({ body }) => body.includes('"params"'))).toBe(true);
  expect(files.some((file) => file.endsWith('environment/full.json'))).toBe(true);
  expect(said.filter((text) => text.includes(SECRET)).map((text) => text.slice(0, 500))).toEqual([]);
}, 60_000);
