// Limits on the command line: the words, and what of them reaches the agent.

import { afterEach, beforeEach, expect, test } from 'vitest';
import { limitsOf } from '../../../src/cli/limit-options.js';
import { FakeAgent } from '../client/fake-agent.js';
import { cli } from './command-line.js';

let agent: FakeAgent;

beforeEach(async () => {
  agent = await FakeAgent.start();
});

afterEach(() => agent.stop());

const run = (...args: string[]) => cli(['run', ...args], { env: { LEZEA_MONITOR_SOCKET: agent.path } });

test('words become what an agent takes', () => {
  const limit = [
    ...['core_hours=1.5', 'memory_bytes=8e9', 'steps@builder:b=2/tasker:a@b=10', 'episodes@tasker=5'],
    ...['steps@tasker=7', 'experiment.cost=250'],
  ];
  expect(limitsOf({ limit, onLimit: 'terminate', limitGrace: '2.5' })).toEqual({
    core_hours: 1.5,
    memory_bytes: 8e9,
    scopes: { 'builder:b=2/tasker:a@b': { steps: 10 } },
    levels: { tasker: { episodes: 5, steps: 7 } },
    experiment: { cost: 250 },
    on_exceeded: 'terminate',
    grace_seconds: 2.5,
  });
  expect(limitsOf({})).toBeUndefined();
});

test.each([
  ['core_hours', /expected NAME=VALUE/],
  ['core_hour=1', /did you mean core_hours/],
  ['core_hours=', /a number above 0/],
  ['core_hours=ten', /a number above 0/],
  ['core_hours=-1', /a number above 0/],
  ['steps@Tasker=1', /lower-case/],
  ['steps@tasker:=1', /not the path of a scope/],
  ['runtime_seconds@tasker=1', /no limit of a level/],
  ['experiment.memory_bytes=1', /no limit of an experiment/],
  ['experiment.steps@tasker=1', /of the whole experiment/],
])('--limit %s is refused', (limit, fault) => {
  expect(() => limitsOf({ limit: [limit] })).toThrow(fault);
});

test('the run is started with them', async () => {
  const { code, stdout } = await run('--limit', 'steps=5', '--on-limit', 'tell', 'echo', 'hello');
  expect({ code, stdout }).toEqual({ code: 0, stdout: 'hello\n' });
  expect(agent.of('run.start')[0]?.params.limits).toEqual({ steps: 5, on_exceeded: 'tell' });
});

test('over budget: not run, where that was asked for', async () => {
  agent.answers['run.start'] = () => new Error('over_budget');
  const { code, stdout, stderr } = await run(
    '--limit',
    'experiment.steps=5',
    '--on-limit',
    'refuse',
    'echo',
    'no',
  );
  expect({ code, stdout, stderr }).toEqual({
    code: 1,
    stdout: '',
    stderr: 'lezea-monitor: refused: over_budget\n',
  });
});

test('bad words: exit status 2 before anything is started', async () => {
  for (const args of [
    ['--limit', 'steps=0'],
    ['--on-limit', 'kill'],
    ['--limit-grace', 'x'],
  ]) {
    const { code, stdout, stderr } = await run(...args, 'echo', 'no');
    expect({ code, stdout, lines: stderr.trimEnd().split('\n').length }).toEqual({
      code: 2,
      stdout: '',
      lines: 1,
    });
  }
  expect(agent.received).toEqual([]);
});
