// Limits in the client: what is sent, what is heard, and when the program is called back.

import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { type Limit, type LimitEvent, type Run, startRun } from '../../../src/client/index.js';
import { mergedLimits } from '../../../src/client/limits.js';
import { FakeAgent } from './fake-agent.js';

let agent: FakeAgent;
let run: Run | undefined;
let states: Limit[];
let heard: string[];

beforeEach(async () => {
  states = [{ limit: 'steps', value: 10, used: 1, remaining: 9, ratio: 0.1, state: 'ok' }];
  heard = [];
  agent = await FakeAgent.start();
  agent.answers['run.start'] = () => ({ run_id: 'r', created: true, limits: states });
  agent.answers['run.update'] = () => ({ limits: states });
  agent.answers['run.usage'] = () => ({ run_id: 'r', scope: null, limits: states });
});

afterEach(async () => {
  await run?.end();
  run = undefined;
  await agent.stop();
});

const onLimit = ({ event, limit }: LimitEvent) => void heard.push(`${event} ${limit}`);
const start = async (more: object = {}) => {
  run = await startRun({ socket: agent.path, onLimit, ...more });
  return run;
};
const reached = (state: 'warned' | 'exceeded', more: object = {}) => ({
  ...{ limit: 'steps', value: 10, used: state === 'warned' ? 8 : 10, state },
  ...more,
});
const tell = (params: object) =>
  agent.send({ jsonrpc: '2.0', method: 'limit', params: { run_id: 'r', attempt: 1, event: 'x', ...params } });

test('are said at the start, changed by name, and said again as they are then to an agent that has forgotten them', async () => {
  const at = await start({ limits: { steps: 10, levels: { tasker: { steps: 5 } } } });
  expect(agent.of('run.start')[0]?.params.limits).toEqual({ steps: 10, levels: { tasker: { steps: 5 } } });
  expect(at.limits).toEqual(states);
  expect(await at.setLimits({ steps: 100, levels: { tasker: { steps: null } } })).toBe(true);
  agent.answers['run.update'] = () => new Error('too_many');
  expect(await at.setLimits({ steps: 5 })).toBe(false);
  await agent.die();
  agent.answers['session.open'] = () =>
    agent.of('run.start').length > 1 ? { session: '2'.padStart(32, '0') } : new Error('unknown_run');
  await agent.listen();
  await agent.until(() => agent.of('run.update').length === 3);
  const said = { steps: 100, levels: { tasker: { steps: null } } };
  expect(agent.of('run.start')[1]?.params.limits).toBeUndefined();
  expect(agent.of('run.update')[2]?.params).toEqual({ run_id: 'r', limits: said });
});

test('are not said again to an agent that has the run: others may have changed them', async () => {
  const at = await start({ limits: { steps: 10 } });
  await agent.die();
  states = [{ limit: 'steps', value: 99, used: 1, remaining: 98, ratio: 0.01, state: 'ok' }];
  agent.answers['run.update'] = () => ({ limits: states });
  await agent.listen();
  await expect.poll(() => at.limits).toEqual(states);
  expect(agent.of('run.start')).toHaveLength(1);
  expect(agent.of('run.update').map(({ params }) => params)).toEqual([{ run_id: 'r' }]);
});

test('the program is called back once each, and may be again where a limit is raised', async () => {
  const at = await start();
  expect(at.shouldStop).toBe(false);
  for (const params of [reached('warned'), reached('warned'), reached('exceeded'), reached('warned')])
    tell(params);
  await expect.poll(() => at.shouldStop).toBe(true);
  // An answer that is older than the notification takes nothing back.
  await at.usage();
  expect(at.shouldStop).toBe(true);
  expect(heard).toEqual(['limit_warning steps', 'limit_exceeded steps']);
  states = [{ limit: 'steps', value: 100, used: 10, state: 'ok' }];
  await at.setLimits({ steps: 100 });
  expect(at.shouldStop).toBe(false);
  tell(reached('warned', { value: 100, used: 80 }));
  await expect.poll(() => heard.length).toBe(3);
});

test('a callback that throws harms nobody; a budget that was used up is told at once', async () => {
  states = [{ limit: 'cost', experiment: 'e', value: 1, used: 2, state: 'exceeded' }];
  const at = await start({
    onLimit: (limit: LimitEvent) => {
      onLimit(limit);
      throw new Error('the program’s own');
    },
  });
  expect(at.shouldStop).toBe(true);
  await expect.poll(() => heard).toEqual(['limit_warning cost', 'limit_exceeded cost']);
  expect(await at.usage()).toBeDefined();
});

test('an async callback that is rejected harms nobody either', async () => {
  states = [{ limit: 'cost', experiment: 'e', value: 1, used: 2, state: 'exceeded' }];
  const unhandled = vi.fn();
  process.on('unhandledRejection', unhandled);
  await start({
    onLimit: async (limit: LimitEvent) => {
      onLimit(limit);
      throw new Error('the program’s own');
    },
  });
  await expect.poll(() => heard).toEqual(['limit_warning cost', 'limit_exceeded cost']);
  await new Promise((resolve) => setImmediate(resolve));
  process.off('unhandledRejection', unhandled);
  expect(unhandled).not.toHaveBeenCalled();
});

test('what was missed is heard from the next agent, and asked for where something was left out', async () => {
  const at = await start();
  await agent.die();
  states = [{ limit: 'steps', value: 10, used: 8, state: 'warned' }];
  await agent.listen();
  await expect.poll(() => heard).toEqual(['limit_warning steps']);
  states = [{ limit: 'steps', value: 10, used: 10, state: 'exceeded' }];
  agent.send({ jsonrpc: '2.0', method: 'resync', params: { lost: 1 } });
  await expect.poll(() => at.shouldStop).toBe(true);
});

test('reading it asks once a second, and no more', async () => {
  const at = await start();
  states = [{ limit: 'steps', value: 10, used: 10, state: 'exceeded' }];
  const begun = performance.now();
  await expect.poll(() => at.shouldStop, { interval: 5, timeout: 5000 }).toBe(true);
  const seconds = (performance.now() - begun) / 1000;
  expect(agent.of('run.usage').length).toBeLessThanOrEqual(1 + seconds);
});

test('a start over budget is refused where that was asked for; without an agent there are no limits', async () => {
  agent.answers['run.start'] = () => new Error('over_budget');
  await expect(startRun({ socket: agent.path })).rejects.toMatchObject({ code: 'over_budget' });
  const none = await startRun({ socket: '/nowhere', limits: { steps: 3 } });
  expect([none.shouldStop, none.limits, await none.setLimits({ steps: 2 })]).toEqual([false, [], false]);
});

test('merging keeps what is not named', () => {
  expect(mergedLimits({ steps: 1, scopes: { a: { steps: 2 } } }, { scopes: { b: { cost: null } } })).toEqual({
    steps: 1,
    scopes: { a: { steps: 2 }, b: { cost: null } },
  });
});
