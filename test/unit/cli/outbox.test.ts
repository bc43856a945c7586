// outbox ls, show and retry: the real program against an agent's real socket and database.

import { afterEach, beforeEach, expect, it } from 'vitest';
import { SendError } from '../../../src/delivery/model.js';
import { OutboxBench } from '../support/outbox-bench.js';

let agent: OutboxBench;

beforeEach(async () => {
  agent = await OutboxBench.start();
});

afterEach(() => agent.stop());

const sends = (verdict: 'poison' | 'refused' | 'retry', said: string) => () => {
  throw new SendError(verdict, said);
};

it('nothing waits: a line, and exit code 0', async () => {
  expect(await agent.cli('ls')).toMatchObject({
    code: 0,
    stdout: 'nothing waits to be delivered\n',
    stderr: '',
  });
  expect(JSON.parse((await agent.cli('ls', '--json')).stdout)).toEqual({
    deliveries: [],
    sinks: [],
    more: false,
  });
});

it('a delivered run is listed with --all only', async () => {
  await agent.ended('r1');
  await expect.poll(() => agent.list()[0]?.doneMs).toBeDefined();
  expect((await agent.cli('ls')).stdout).toBe('nothing waits to be delivered\n');
  const { code, stdout } = await agent.cli('ls', '--all');
  expect(code).toBe(0);
  expect(stdout).toMatch(
    /^ID {2}RUN +ATTEMPT +STATE +WAITING +WITH CLIENT +DEAD +DELIVERED +BYTES +AGE +SINK +SAID\n/,
  );
  expect(stdout).toMatch(/^ 1 {2}r1 +1 +delivered +0 +0 +0 +5 +0 B .* mlflow http:\/\/tracker:5000$/m);
  expect(stdout).toMatch(/^mlflow http:\/\/tracker:5000 +\d{4}-.* +0 +-$/m);
});

it('a place that lets nobody in: exit code 1 and why, until it is tried again', async () => {
  agent.bench.sink.script = sends('refused', '401 from the tracker');
  await agent.ended('r1');
  await expect.poll(() => agent.bench.outbox.sinks()[0]?.refused).toBeDefined();
  const listed = await agent.cli('ls', '--run', 'r1');
  expect(listed.code).toBe(1);
  expect(listed.stdout).toMatch(/^mlflow .* refused: 401 from the tracker$/m);
  expect((await agent.cli('ls', '--run', 'r2')).code).toBe(0);
  agent.bench.sink.script = () => undefined;
  expect(await agent.cli('retry', '1')).toMatchObject({ code: 0, stderr: '' });
  await expect.poll(() => agent.list()[0]?.doneMs).toBeDefined();
});

it('what a place will never take is shown, item by item, and tried again by --all', async () => {
  agent.bench.sink.script = sends('poison', '400: bad \u001b[31mkey');
  await agent.ended('r1');
  await expect.poll(() => agent.list()[0]?.waiting).toBe(0);
  expect((await agent.cli('ls', '--json')).code).toBe(1);
  const shown = await agent.cli('show', '1');
  expect(shown.code).toBe(0);
  expect(shown.stdout).toContain('mlflow_run_id: abc\n');
  expect(shown.stdout).toMatch(/^ITEM +STAGE +KIND +BY +DEAD +BYTES +SAID\n/m);
  expect(shown.stdout).toMatch(/^ +\d+ +1 +figures +agent +dead +\d+ B +400: bad \uFFFD\[31mkey$/m);
  const { delivery, items, more } = JSON.parse((await agent.cli('show', '1', '--json')).stdout);
  expect(delivery).toMatchObject({ id: 1, state: 'failed', kind: 'mlflow', address: 'http://tracker:5000' });
  expect([items.length, more]).toEqual([delivery.dead, false]);
  const last = items.find(({ kind }: { kind: string }) => kind === 'end').id;
  const body = agent.bench.outbox.item(1, last)!.body!;
  expect((await agent.cli('show', '1', '--item', `${last}`)).stdout).toBe(`${body}\n`);
  expect(JSON.parse((await agent.cli('show', '1', '--item', `${last}`, '--json')).stdout).body).toBe(body);
  agent.bench.sink.script = () => undefined;
  const again = await agent.cli('retry', '--all', '--json');
  expect(JSON.parse(again.stdout).deliveries).toMatchObject([{ id: 1, dead: 0 }]);
  await expect.poll(() => agent.list()[0]?.doneMs).toBeDefined();
});

it('another owner’s deliveries are not there, for any command', async () => {
  agent.bench.sink.script = sends('retry', 'later');
  await agent.ended('r1');
  agent.comeAs(2000);
  expect((await agent.cli('ls', '--all')).stdout).toBe('nothing waits to be delivered\n');
  for (const args of [
    ['show', '1'],
    ['show', '1', '--item', '1'],
    ['retry', '1'],
    ['show', '77'],
  ]) {
    const { code, stdout, stderr } = await agent.cli(...args);
    expect([code, stdout, stderr]).toEqual([1, '', `lezea-monitor: no delivery ${args[1]}\n`]);
  }
  const client = await agent.connect();
  const file = { delivery: 1, file: 'events.jsonl' };
  expect(await client.refusal('outbox.file', file)).toBe('unknown_delivery');
  agent.comeAs(1000);
  expect(await (await agent.connect()).result('outbox.file', file)).toMatchObject({ size: 10, eof: true });
});

it('items come page by page', async () => {
  await agent.bench.deliveries.stop();
  await agent.ended('r1');
  const client = await agent.connect();
  const whole = await client.result('outbox.show', { delivery: 1 });
  const ids: number[] = [];
  for (let more = true; more; ) {
    const page = await client.result('outbox.show', { delivery: 1, after: ids.at(-1) ?? 0, limit: 2 });
    ids.push(...(page.items as { id: number }[]).map(({ id }) => id));
    more = page.more as boolean;
  }
  expect(ids).toEqual((whole.items as { id: number }[]).map(({ id }) => id));
  expect(await client.refusal('outbox.item', { delivery: 1, item: 999 })).toBe('unknown_delivery');
  expect(await client.refusal('outbox.file', { delivery: 1, file: '../state.db' })).toBe('invalid_params');
});
