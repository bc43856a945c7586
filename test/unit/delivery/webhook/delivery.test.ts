// From the end of a run to a receiver of webhooks that fails in every way: each line is there once, with the run's figures.
// A real database, a real HTTP server, the real program for bundles; the fake sampler.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Run } from '../../../../src/attribution/model.js';
import type { DeliveriesOptions } from '../../../../src/delivery/deliveries.js';
import { WebhookSink, type WebhookSinkOptions } from '../../../../src/delivery/webhook/sink.js';
import {
  type Bench,
  callerOf,
  openRequest,
  processOf,
  startBench,
  temporaryFolder,
} from '../../support/bench.js';
import { endedRun } from '../../support/ended-run.js';
import { OutboxBench } from '../../support/outbox-bench.js';
import { ScriptedSink } from '../../support/scripted-sink.js';
import { type Fault, KEY, type ReceivedLine, WebhookReceiver } from '../../support/webhook-receiver.js';

const ME = callerOf(100);
/** More than there is room for in one request. */
const LAYERS = 400;

/** Others may need the machine. */
const eventually = <T>(look: () => T) => expect.poll(look, { timeout: 15_000 });

let folder: ReturnType<typeof temporaryFolder>;
let receiver: WebhookReceiver;
let bench: Bench;
let sink: WebhookSink;

beforeEach(async () => {
  folder = temporaryFolder();
  receiver = await WebhookReceiver.start();
});

afterEach(async () => {
  await bench?.deliveries.stop();
  bench?.close();
  await receiver.close();
  folder.remove();
});

const sinkName = () => `webhook ${receiver.url}`;

function makeSink(more: Partial<WebhookSinkOptions> = {}): WebhookSink {
  return new WebhookSink({
    version: '1.2',
    address: receiver.url,
    key: KEY,
    timeoutMs: 5000,
    nowMs: () => bench.clock.nowMs,
    ...more,
  });
}

function webhook(more: Partial<WebhookSinkOptions> = {}): Partial<DeliveriesOptions> {
  sink = makeSink(more);
  return {
    sinks: { webhook: sink, mlflow: new ScriptedSink() },
    everyRun: { kind: 'webhook', address: receiver.url, settings: {} },
  };
}

function start(delivery: Partial<DeliveriesOptions> = {}, into = folder.path): void {
  const all = delivery.sinks ? delivery : { ...webhook(), ...delivery };
  bench = startBench(into, { checkpointIntervalMs: 1 }, undefined, all);
}

/** A run of so many layers, each of which used another time, that has ended. */
async function ended(runId = 'r', layers = LAYERS, tracker: Record<string, string> = {}): Promise<Run> {
  const { commands } = bench.attribution;
  const { run } = commands.start(ME, { runId, tracker, tags: { team: 'a' } });
  const session = await commands.openSession(ME, openRequest(runId, 100));
  const definitions = Array.from({ length: layers }, (_, n) => {
    return { id: n + 1, parent: n < 2 ? 0 : 1, level: n < 2 ? 'network' : 'layer', name: `n${n}` };
  });
  commands.defineScopes(session, definitions);
  let ns = 1_000_000_007n;
  for (const { slot } of run.scopes()) {
    ns += 1_000_003n;
    bench.sampler.spend(processOf(100), ns, slot);
  }
  bench.sampler.spend(processOf(100), 5n);
  return (await commands.end(ME, { runId, status: 'FINISHED', all: true })).run;
}

const list = (all = true) => bench.deliveries.list(ME, { all });
const delivered = () => eventually(() => list().every(({ doneMs }) => doneMs !== undefined)).toBe(true);

/** What came says what the run says, each line once. */
function expectWhole(run: Run, lines: readonly ReceivedLine[] = receiver.lines): void {
  const own = lines.filter(({ run_id, attempt }) => run_id === run.runId && attempt === run.attempt);
  const inOrder = own.toSorted((a, b) => a.line - b.line);
  expect(inOrder.map(({ line }) => line)).toEqual(inOrder.map((_, at) => at + 1));
  expect(inOrder.at(-1)).toMatchObject({ type: 'end', lines: inOrder.length });
  expect(inOrder[0]).toMatchObject({ type: 'run', status: 'FINISHED', totals: run.totals.toColumns() });
  const said = inOrder.filter(({ type }) => type === 'scope');
  expect(said.map(({ path, self, inclusive }) => ({ path, self, inclusive }))).toEqual(
    [...run.scopes()].map((scope) => ({
      path: scope.path,
      self: scope.self.toColumns(),
      inclusive: scope.inclusive().toColumns(),
    })),
  );
}

/** Every try of an id had the same bytes, and each was signed. */
function expectSame(): void {
  expect(receiver.wrong).toEqual([]);
  for (const bodies of receiver.tries.values()) expect(new Set(bodies).size).toBe(1);
}

/** The faults one after the other, then none. */
function script(...faults: Fault[]): void {
  receiver.fault = (_asked, count) => faults[count - 1];
}

describe('an ended run', () => {
  it('is there whole, whatever tracker it has', async () => {
    start();
    const [one, other] = [
      await ended('r'),
      await ended('s', 3, { mlflow_tracking_uri: 'http://t:1', mlflow_run_id: 'x' }),
    ];
    await delivered();
    expectWhole(one);
    expectWhole(other);
    expectSame();
    expect(
      list()
        .map((each) => each.sink)
        .sort(),
    ).toEqual(['mlflow http://t:1', sinkName(), sinkName()]);
    expect(receiver.asked.length).toBeGreaterThan(2);
    expect(receiver.asked[0]).toMatchObject({ method: 'POST', url: '/totals' });
    expect(receiver.asked[0]!.headers).toMatchObject({
      'content-type': 'application/x-ndjson',
      'user-agent': 'lezea-monitor/1.2',
      'webhook-timestamp': '1700000000',
    });
  });

  it('is there once after errors, refused connections, and answers that never came', async () => {
    const lost = [{ kept: true }, {}, { kept: true }];
    const later = [500, 503, 408, 425, 409].map((status) => ({ status, kept: status === 503 }));
    script(...lost, ...later, { status: 429, headers: { 'retry-after': '0' } }, { kept: true });
    start();
    const run = await ended();
    await delivered();
    expectWhole(run);
    expectSame();
    expect(bench.deliveries.sinks(ME, list())).toMatchObject([{ failures: 0 }]);
  });

  it('is there once after the agent was killed before it heard the answer', async () => {
    script({ status: 503, kept: true });
    const courier = { limits: { firstMs: 60_000, mostMs: 60_000 }, refusedMs: 60_000, random: () => 1 };
    start({ courier });
    const run = await ended();
    await eventually(() => list()[0]!.error ?? bench.deliveries.sinks(ME, list())[0]!.error).toMatch(/503/);
    bench.crash(join(folder.path, 'later'));
    start({ courier }, join(folder.path, 'later'));
    bench.clock.nowMs += 61_000;
    bench.deliveries.retry(ME, list()[0]!.id);
    await delivered();
    expectWhole(run);
    expectSame();
    const first = receiver.asked[0]!.headers;
    const again = receiver.asked
      .slice(1)
      .find(({ headers }) => headers['webhook-id'] === first['webhook-id']);
    expect(again!.headers['webhook-timestamp']).toBe('1700000061');
  });

  it('says of a later attempt what the run has used in all', async () => {
    start();
    const [first, second] = [await ended('r', 3), await ended('r', 3)];
    await delivered();
    expectWhole(first);
    const [, run] = receiver.of('run');
    expect(run).toMatchObject({ attempt: 2, delivery: `${second.key}-2` });
    expect((run!.totals as { cpu_seconds: number }).cpu_seconds).toBeCloseTo(
      first.totals.value('cpu_seconds')! + second.totals.value('cpu_seconds')!,
      9,
    );
  });

  it('waits where the agent is offline', async () => {
    start({ offline: true });
    await ended();
    bench.deliveries.wake();
    expect(list()).toMatchObject([{ sink: sinkName(), withClient: 0, dead: 0, delivered: 0 }]);
    expect(list()[0]!.waiting).toBeGreaterThan(1);
    expect(receiver.asked).toEqual([]);
  });

  it('waits for an address that the agent has no other key for, and nothing is sent to another', async () => {
    start({ everyRun: { kind: 'webhook', address: `${receiver.url}/old`, settings: {} } });
    await ended();
    await eventually(() => bench.deliveries.sinks(ME, list())[0]!.refused).toMatch(
      /there is no key for .*old$/,
    );
    expect(receiver.asked).toEqual([]);
    expect(list()).toMatchObject([{ dead: 0, delivered: 0 }]);
  });
});

describe('a receiver', () => {
  it('that takes only small requests gets smaller ones, with the same lines', async () => {
    receiver.fault = ({ body }) => (body.length > 4000 ? { status: 413 } : undefined);
    start();
    const run = await ended();
    await delivered();
    expectWhole(run);
    expectSame();
  });

  it('that takes no line is not asked again, and all of it is kept', async () => {
    receiver.fault = ({ body }) => (body.length > 10 ? { status: 413 } : undefined);
    start();
    await ended('r', 4);
    await eventually(() => list()[0]!.dead).toBe(6);
    expect(list()).toMatchObject([{ waiting: 0, delivered: 0 }]);
    expect(receiver.lines).toEqual([]);
  });

  it('that does not take one item gets the others, and that one when it is asked again', async () => {
    let isFixed = false;
    receiver.fault = ({ body }) => (!isFixed && body.includes('"line":1,') ? { status: 422 } : undefined);
    start();
    const run = await ended();
    await eventually(() => list()[0]!.waiting).toBe(0);
    const [state] = list();
    expect(state).toMatchObject({ dead: 1, error: expect.stringMatching(/422 \(no: 422\)/) });
    // It was not cut: it is not its size that is wrong.
    expect(receiver.asked).toHaveLength(1 + state!.delivered);
    expect(receiver.of('run')).toEqual([]);
    isFixed = true;
    bench.deliveries.retry(ME, list()[0]!.id);
    await delivered();
    expectWhole(run);
    expectSame();
  });

  it.each([401, 403, 404, 405, 410, 302])(
    'that answers %i is asked seldom, and all is kept',
    async (status) => {
      receiver.fault = () => ({ status, headers: { location: 'http://127.0.0.1:1/' } });
      const courier = { limits: { firstMs: 1, mostMs: 2 }, refusedMs: 60_000, random: () => 0 };
      start({ courier });
      const run = await ended();
      await eventually(() => bench.deliveries.sinks(ME, list())[0]!.refused).toMatch(new RegExp(`${status}`));
      expect(receiver.asked).toHaveLength(1);
      expect(list()).toMatchObject([{ dead: 0, delivered: 0 }]);
      expect(bench.deliveries.figures()).toMatchObject([{ sink: sinkName(), refused: true, failures: 1 }]);
      receiver.fault = () => undefined;
      bench.deliveries.retry(ME, list()[0]!.id);
      await delivered();
      expectWhole(run);
    },
  );

  it('says when to come again', async () => {
    receiver.fault = () => ({ status: 429, headers: { 'retry-after': '30' } });
    start({ courier: { limits: { firstMs: 1, mostMs: 60_000 }, refusedMs: 60_000, random: () => 0 } });
    await ended();
    await eventually(() => bench.outbox.sink(sinkName()).failures).toBe(1);
    expect(bench.outbox.sink(sinkName()).retryMs).toBe(bench.clock.nowMs + 30_000);
    receiver.fault = () => ({ status: 409, headers: { 'retry-after': '7' } });
    bench.deliveries.retry(ME, list()[0]!.id);
    await eventually(() => bench.outbox.sink(sinkName()).failures).toBe(2);
    expect(bench.outbox.sink(sinkName()).retryMs).toBe(bench.clock.nowMs + 7_000);
  });
});

it('the receiver of the documentation takes what is signed, and every id once', async () => {
  const text = readFileSync(join(import.meta.dirname, '../../../../docs/delivery.md'), 'utf8');
  const program = /```python\n([^`]*)```/.exec(text)![1]!.replace('"127.0.0.1", 8000', '"127.0.0.1", PORT');
  // A free one, and told.
  const told = program
    .replace('PORT', '0')
    .replace(
      /HTTPServer\((.*)\)\.serve_forever/,
      'server = HTTPServer($1); print(server.server_port, flush=True); server.serve_forever',
    );
  const child = spawn('python3', ['-c', told], { cwd: folder.path, stdio: ['ignore', 'pipe', 'ignore'] });
  try {
    const [port] = await once(child.stdout, 'data');
    const address = `http://127.0.0.1:${String(port).trim()}/`;
    const everyRun = { kind: 'webhook', address, settings: {} } as const;
    const more = { address, nowMs: () => Date.now() };
    start({ ...webhook(more), everyRun });
    const run = await ended();
    await delivered();
    const lines = () =>
      readFileSync(join(folder.path, 'runs.jsonl'), 'utf8')
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as ReceivedLine);
    expectWhole(run, lines());
    const stranger = makeSink({ ...more, key: Buffer.alloc(24) });
    const late = makeSink({ ...more, nowMs: () => Date.now() - 600_000 });
    const target = { kind: 'webhook', address, settings: {} } as const;
    const [draft] = [...sink.plan(endedRun())];
    const send = (by: WebhookSink) =>
      by.send({ id: 1, target, run }, [{ ...draft!, id: 1 }], new AbortController().signal);
    for (const by of [stranger, late]) await expect(send(by)).rejects.toMatchObject({ verdict: 'refused' });
    expectWhole(run, lines());
    await send(sink);
    await send(sink);
    expect(lines().filter(({ run_id }) => run_id === 'demo')).toHaveLength(4);
    stranger.close();
    late.close();
  } finally {
    child.kill();
  }
});

it('a bundle brings the same items to the same receiver, which has them once, whoever is first', async () => {
  const here = await OutboxBench.start({ ...webhook(), offline: true });
  bench = here.bench;
  const there = await OutboxBench.start(webhook());
  const file = join(folder.path, 'b.lzo');
  try {
    const run = await ended('r');
    expect(await here.cli('export', file)).toMatchObject({ code: 0, stderr: '' });
    expect((await there.cli('import', file)).stdout).toContain(`1: r, attempt 1, to ${sinkName()}: waits`);
    await eventually(() => there.list().map(({ doneMs }) => doneMs !== undefined)).toEqual([true]);
    expectWhole(run);
    const before = receiver.asked.length;
    expect((await there.cli('import', file)).stdout).toContain('1 were there already');
    const listed = await there.cli('ls', '--all');
    expect(listed.stdout).toContain(sinkName());
    // The first agent has found a way out after all.
    await here.close();
    await here.open(webhook());
    await eventually(() => here.list().map(({ doneMs }) => doneMs !== undefined)).toEqual([true]);
    expect(receiver.asked).toHaveLength(2 * before);
    expectWhole(run);
    expectSame();
  } finally {
    await here.stop();
    await there.stop();
  }
});
