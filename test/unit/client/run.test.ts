// The client against an agent on a real socket: what it says, what it survives, and how a program's end becomes a run's.

import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Run, startRun } from '../../../src/client/index.js';
import { FakeAgent } from './fake-agent.js';

let agent: FakeAgent;

beforeEach(async () => {
  agent = await FakeAgent.start();
});

afterEach(() => agent.stop());

describe('a run', () => {
  let run: Run;

  beforeEach(async () => {
    run = await startRun({ experiment: 'e', socket: agent.path });
  });

  afterEach(() => run.end());

  test('is started, and this process is bound to it', () => {
    expect(run.id).toBe('made-1');
    expect(agent.of('run.start')[0]?.params).toEqual({ experiment: 'e' });
    expect(agent.of('session.open')[0]?.params).toEqual({ run_id: 'made-1', t_ns: expect.any(Number) });
  });

  test('scopes are defined once, parents first, and entered and left in order', async () => {
    for (let step = 0; step < 2; step++) run.builder('b0', () => run.tasker('t/1', () => undefined));
    await agent.until(() => agent.of('scope.exit').length === 4);
    expect(agent.of('scope.define').flatMap(({ params }) => params.scopes)).toEqual([
      { id: 1, parent: 0, level: 'builder', name: 'b0' },
      { id: 2, parent: 1, level: 'tasker', name: 't%2F1', label: 't/1' },
    ]);
    const moves = agent
      .of('scope.enter', 'scope.exit')
      .map(({ method, params }) => `${method} ${params.scope}`);
    const once = ['scope.enter 1', 'scope.enter 2', 'scope.exit 2', 'scope.exit 1'];
    expect(moves).toEqual([...once, ...once]);
    const times = agent.of('scope.enter', 'scope.exit').map(({ params }) => params.t_ns);
    expect(times).toEqual([...times].sort((a, b) => a - b));
  });

  test('what a function returns comes back, and what it throws too', async () => {
    expect(run.layer('fc', () => 5)).toBe(5);
    await expect(run.layer('fc', async () => Promise.reject(new Error('x')))).rejects.toThrow('x');
  });

  test('children find it in the environment, until it ends', async () => {
    expect(process.env.LEZEA_RUN_ID).toBe('made-1');
    expect(process.env.LEZEA_MONITOR_SOCKET).toBe(agent.path);
    await run.end();
    expect(process.env.LEZEA_RUN_ID).toBeUndefined();
    expect(process.env.LEZEA_MONITOR_SOCKET).toBeUndefined();
  });

  test('a second start joins it; one for another run records nothing', async () => {
    expect(await startRun()).toBe(run);
    expect((await startRun({ runId: 'other', socket: agent.path })).active).toBe(false);
    expect(agent.of('run.start')).toHaveLength(1);
  });

  test('usage is what the agent says; undefined where it says nothing', async () => {
    const usage = {
      run_id: 'made-1',
      scope: 'builder:b0',
      status: 'RUNNING',
      self: {},
      inclusive: { cpu_seconds: 2 },
    };
    agent.answers['run.usage'] = () => usage;
    expect(await run.usage('builder:b0', { fresh: true })).toEqual(usage);
    expect(agent.of('run.usage')[0]?.params).toEqual({ run_id: 'made-1', scope: 'builder:b0', fresh: true });
    agent.answers['run.usage'] = () => new Error('invalid_params');
    expect(await run.usage('builder:none')).toBeUndefined();
  });

  test('progress counts in the current scope; what JSON cannot say is dropped and counted', async () => {
    run.builder('b0', () => run.progress({ steps: 2 }));
    run.progress({ episodes: 1 });
    run.event('odd', { big: 1n });
    run.event('fine', { n: 1 });
    await agent.until(() => agent.of('run.event').length > 0);
    expect(agent.of('run.progress').map(({ params }) => params)).toEqual([
      { run_id: 'made-1', scope: 'builder:b0', steps: 2 },
      { run_id: 'made-1', episodes: 1 },
    ]);
    expect(agent.of('run.event').map(({ params }) => params)).toEqual([
      { run_id: 'made-1', event: 'fine', data: { n: 1 } },
    ]);
    expect(run.dropped).toBe(1);
  });

  test('facts are told; a refusal is a warning, and no agent is none', async () => {
    await run.facts({ seeds: [1], gone: null, tags: { team: 'nlp' } });
    expect(agent.of('run.update').map(({ params }) => params)).toEqual([
      { run_id: 'made-1', facts: { seeds: [1], gone: null }, tags: { team: 'nlp' } },
    ]);
    agent.answers['run.update'] = () => new Error('too_large');
    await expect(run.facts({ a: 1n })).resolves.toBeUndefined();
    await expect(run.facts({ a: 1 })).resolves.toBeUndefined();
    expect(agent.of('run.update')).toHaveLength(2);
  });

  test('ends once, with totals', async () => {
    expect(await run.end('FAILED', 'enough')).toEqual({ cpu_seconds: 1.5 });
    expect(await run.end()).toBeUndefined();
    expect(agent.of('run.end').map(({ params }) => params)).toEqual([
      { run_id: 'made-1', status: 'FAILED', reason: 'enough' },
    ]);
    expect(run.active).toBe(false);
    expect(run.builder('late', () => 1)).toBe(1);
  });

  test('an agent that is restarted hears everything again, and where the thread is', async () => {
    await run.builder('b0', async () => {
      await agent.until(() => agent.of('scope.enter').length > 0);
      await agent.die();
      agent.received.length = 0;
      await agent.listen();
      await agent.until(() => agent.of('scope.define').length > 0);
    });
    expect(agent.of('session.open').map(({ params }) => params.run_id)).toEqual(['made-1']);
    expect(agent.of('run.start')).toEqual([]);
    run.tasker('t', () => undefined);
    await agent.until(() => agent.of('scope.exit').length > 0);
    const session = agent.of('scope.define')[0]?.params.session;
    expect(agent.of('scope.enter').every(({ params }) => params.session === session)).toBe(true);
    const back = agent.of('scope.enter').filter(({ params }) => params.scope === 1);
    expect(back.every(({ params }) => params.activation === false)).toBe(true);
  });
});

test('the end waits for an agent that is being restarted', async () => {
  const run = await startRun({ socket: agent.path });
  await agent.die();
  const ended = run.end();
  await agent.listen();
  expect(await ended).toEqual({ cpu_seconds: 1.5 });
});

test('phases that were named while no agent was there are said in their order', async () => {
  agent.answers['run.phase'] = () => ({});
  const run = await startRun({ socket: agent.path });
  await agent.die();
  const named = ['load', 'train', 'eval'];
  const said = named.map((name) => run.phase(name));
  await agent.listen();
  await Promise.all(said);
  expect(agent.of('run.phase').map(({ params }) => params.name)).toEqual(named);
  await run.end();
});

test('an agent that came back without its memory is told of the run again', async () => {
  const run = await startRun({ socket: agent.path, experiment: 'e' });
  await agent.die();
  agent.answers['session.open'] = () =>
    agent.of('run.start').length > 1 ? { session: '2'.padStart(32, '0') } : new Error('unknown_run');
  await agent.listen();
  await agent.until(() => agent.of('session.open').length === 3);
  expect(agent.of('run.start')[1]?.params).toMatchObject({ run_id: 'made-1', experiment: 'e' });
  await run.end();
});

test('of a run that has ended meanwhile no attempt is begun, and its totals are told', async () => {
  const run = await startRun({ socket: agent.path });
  agent.answers['session.open'] = () => new Error('run_ended');
  await agent.die();
  await agent.listen();
  await agent.until(() => agent.of('session.open').length === 2);
  expect(await run.end()).toEqual({ cpu_seconds: 1.5 });
  expect(agent.of('run.start')).toHaveLength(1);
});

test('an agent that refuses from now on is not waited for', async () => {
  const run = await startRun({ socket: agent.path });
  await agent.die();
  agent.answers['run.end'] = () => new Error('unknown_run');
  const ended = run.end();
  await agent.listen();
  expect(await ended).toBeUndefined();
  expect(agent.of('run.end')).toHaveLength(1);
});

test('without an agent everything does nothing', async () => {
  const run = await startRun({ socket: join(agent.folder, 'none.sock') });
  expect(run.active).toBe(false);
  expect(run.builder('b0', () => 7)).toBe(7);
  const entered = run.enter('layer', 'x');
  entered.exit();
  run.progress({ steps: 1 });
  run.event('x');
  await run.phase('p');
  expect(await run.usage()).toBeUndefined();
  expect(await run.end()).toBeUndefined();
  expect(process.env.LEZEA_RUN_ID).toBeUndefined();
});

describe('the end of a program', () => {
  const client = fileURLToPath(new URL('../../../dist/client/index.js', import.meta.url));

  /** Runs a program with the built client; resolves to its exit code. */
  function program(body: string): Promise<{ code: number | null; stderr: string }> {
    const { LEZEA_RUN_ID: _run, ...env } = process.env;
    const text = `import { startRun } from ${JSON.stringify(client)};\nconst run = await startRun();\n${body}`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', text], {
      env: { ...env, LEZEA_MONITOR_SOCKET: agent.path },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (piece: string) => {
      stderr += piece;
    });
    return new Promise((resolve) => child.on('close', (code) => resolve({ code, stderr })));
  }

  test.each([
    ['run.builder("b", () => 1);', 0, { status: 'FINISHED' }],
    ['process.exit(4);', 4, { status: 'FAILED', reason: 'exit code 4' }],
    ['process.exitCode = 5;', 5, { status: 'FAILED', reason: 'exit code 5' }],
    ['throw new TypeError("bad");', 1, { status: 'FAILED', reason: 'TypeError: bad' }],
    ['Promise.reject(new Error("lost"));', 1, { status: 'FAILED', reason: 'Error: lost' }],
  ])('%s', async (body, code, expected) => {
    expect((await program(body)).code).toBe(code);
    await agent.until(() => agent.of('run.end').length > 0);
    expect(agent.of('run.end').map(({ params }) => params)).toEqual([{ run_id: 'made-1', ...expected }]);
  });

  test('the client alone does not keep a program alive, and no agent is one warning', async () => {
    await agent.die();
    const { code, stderr } = await program('await startRun(); run.builder("b", () => 1);');
    expect(code).toBe(0);
    expect(stderr.match(/LezeaMonitorWarning/g)).toHaveLength(1);
  });
});
