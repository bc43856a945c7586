// The whole agent with a webhook: a real run of a real program, what the receiver has of it against summary.json, and where
// the key is not.

import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { cli } from '../cli/command-line.js';
import { AgentProcess } from '../support/agent-process.js';
import { temporaryFolder } from '../support/bench.js';
import { SECRET_TEXT, WebhookReceiver } from '../support/webhook-receiver.js';

/** Others may need the machine. */
const eventually = <T>(look: () => T) => expect.poll(look, { timeout: 15_000 });

let folder: ReturnType<typeof temporaryFolder>;
let receiver: WebhookReceiver;
let agent: AgentProcess | undefined;

beforeEach(async () => {
  folder = temporaryFolder();
  receiver = await WebhookReceiver.start();
  writeFileSync(join(folder.path, 'key'), `${SECRET_TEXT}\n`, { mode: 0o600 });
});

afterEach(async () => {
  agent?.child.kill('SIGKILL');
  await agent?.exit;
  await receiver.close();
  folder.remove();
});

function startAgent(mode: 'user' | 'system', ...set: string[]): AgentProcess {
  const all = ['webhook.enabled=true', `webhook.url=${receiver.url}`, ...set];
  agent = new AgentProcess(folder.path, { mode, args: all.flatMap((each) => ['--set', each]) });
  return agent;
}

/** Every file below a folder. */
function filesBelow(path: string): string[] {
  return readdirSync(path, { recursive: true })
    .map((name) => join(path, String(name)))
    .filter((name) => statSync(name).isFile());
}

// The first system agent of a machine makes folders that only root may make.
const modes = process.getuid?.() === 0 ? (['user', 'system'] as const) : (['user'] as const);

it.each(modes)(
  'in %s mode sends what summary.json says, signed with a key that is nowhere to be read',
  async (mode) => {
    const { http } = (await startAgent(mode, `webhook.secret_file=${join(folder.path, 'key')}`).ready()) as {
      http?: string;
    };
    const socket = ['--socket', join(folder.path, 's', 'agent.sock')];
    const script = 'i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done';
    const ran = await cli([
      'run',
      ...socket,
      '--scope',
      'builder:b/layer:l',
      '--tag',
      'team=a',
      'sh',
      '-c',
      script,
    ]);
    expect(ran.code).toBe(0);
    await eventually(() => receiver.of('end')).toHaveLength(1);
    const [run] = receiver.of('run');
    const state = join(folder.path, 'state');
    const [summaryFile] = filesBelow(join(state, 'runs')).filter((name) => name.endsWith('summary.json'));
    const summary = JSON.parse(readFileSync(summaryFile!, 'utf8'));
    expect(run).toMatchObject({
      run_id: summary.run.id,
      attempt: 1,
      status: 'FINISHED',
      tags: { team: 'a' },
      started_at: summary.run.started_at,
      ended_at: summary.run.ended_at,
    });
    const values = Object.entries(summary.totals as Record<string, { value: number }>).map(
      ([column, { value }]) => [column, value],
    );
    expect(run!.totals).toEqual(Object.fromEntries(values));
    expect((run!.totals as { cpu_seconds: number }).cpu_seconds).toBeGreaterThan(0);
    const scopes = (summary.scopes as Record<string, unknown>[]).map(({ path, self, inclusive }) => ({
      path,
      self,
      inclusive,
    }));
    expect(receiver.of('scope').map(({ path, self, inclusive }) => ({ path, self, inclusive }))).toEqual(
      scopes,
    );
    expect(scopes.map(({ path }) => path)).toEqual(['builder:b', 'builder:b/layer:l']);
    expect(receiver.wrong).toEqual([]);

    const listed = await cli(['outbox', 'ls', '--all', ...socket]);
    expect(listed).toMatchObject({ code: 0, stdout: expect.stringContaining(`webhook ${receiver.url}`) });
    const metrics = await (await fetch(`http://${http}/metrics`)).text();
    expect(metrics).toContain(`lezea_agent_sink_consecutive_failures{sink="webhook ${receiver.url}"} 0`);
    agent!.child.kill('SIGTERM');
    expect((await agent!.exit).code).toBe(0);
    const shown = [JSON.stringify(agent!.lines), listed.stdout, metrics];
    const kept = filesBelow(state).map((name) => readFileSync(name, 'latin1'));
    for (const text of [...shown, ...kept]) expect(text).not.toContain(SECRET_TEXT.slice(6));
  },
);

it('does not start without its key, and says why', async () => {
  const file = join(folder.path, 'none');
  const none = startAgent('user', `webhook.secret_file=${file}`);
  expect((await none.exit).code).not.toBe(0);
  expect(none.lines.map(({ msg }) => msg).join('\n')).toMatch(/webhook: .*none.*expected a file/);
  writeFileSync(file, 'short');
  const short = startAgent('user', `webhook.secret_file=${file}`);
  expect((await short.exit).code).not.toBe(0);
  expect(short.lines.map(({ msg }) => msg).join('\n')).toMatch(/a key of 5 bytes; expected at least 24/);
  expect(JSON.stringify(short.lines)).not.toContain('"short');
});
