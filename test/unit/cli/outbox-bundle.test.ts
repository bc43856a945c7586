// From one agent to another by a bundle: the real program, two agents with real databases, sockets and documents. What is
// delivered there is what would have been delivered here, once.

import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import BetterSqlite3 from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SendError } from '../../../src/delivery/model.js';
import { runFolder, SUMMARY_FILE } from '../../../src/files/run-files.js';
import { callerOf, temporaryFolder } from '../support/bench.js';
import { OutboxBench } from '../support/outbox-bench.js';

let folder: ReturnType<typeof temporaryFolder>;
let bundle: string;
let here: OutboxBench;
let there: OutboxBench;

beforeEach(async () => {
  folder = temporaryFolder();
  bundle = join(folder.path, 'b.lzo');
  here = await OutboxBench.start({ offline: true });
  there = await OutboxBench.start();
});

afterEach(async () => {
  await here.stop();
  await there.stop();
  folder.remove();
});

const linesOf = (file: string) => gunzipSync(readFileSync(file)).toString().trimEnd().split('\n');
const runFolders = (agent: OutboxBench) => {
  const runs = join(agent.folder.path, 'runs');
  return existsSync(runs) ? readdirSync(runs) : [];
};
const allDelivered = (agent: OutboxBench) =>
  expect.poll(() => agent.list().every(({ doneMs }) => doneMs !== undefined)).toBe(true);
/** All that the agent keeps of what is to be delivered. */
const kept = (agent: OutboxBench) => [
  agent.bench.outbox.deliveries({ all: true }).length,
  runFolders(agent),
  existsSync(join(agent.folder.path, 'imports')) ? readdirSync(join(agent.folder.path, 'imports')) : [],
];

describe('a bundle', () => {
  it('brings to another agent what its place then gets, value by value, and twice is once', async () => {
    await here.ended('r1');
    await here.ended('r2', { mlflow_tracking_uri: 'http://other:1', mlflow_run_id: 'x' });
    const before = here.list(false);
    const exported = await here.cli('export', bundle);
    expect(exported).toMatchObject({ code: 0, stderr: '' });
    expect(exported.stdout).toMatch(/b\.lzo: 2 deliveries, 10 items, 4 documents, [\d.]+ kB\n$/);
    expect(statSync(bundle).mode & 0o777).toBe(0o600);
    expect(here.list(false)).toEqual(before);
    const imported = await there.cli('import', bundle);
    expect(imported).toMatchObject({ code: 0, stderr: '' });
    expect(imported.stdout).toBe(
      '1: r1, attempt 1, to mlflow http://tracker:5000: waits\n' +
        '2: r2, attempt 1, to mlflow http://other:1: waits\n' +
        '2 deliveries imported; 0 were there already\n',
    );
    await allDelivered(there);
    const items = before.flatMap(({ id, run }) =>
      here.bench.outbox
        .items(id, 0, 100)
        .map((item) => `${run.runId} ${item.kind} ${here.bench.outbox.item(id, item.id)!.body}`),
    );
    expect(there.got()).toEqual(items.sort());
    for (const { run } of before) {
      const theirs = there.list().find((each) => each.run.runId === run.runId)!.run;
      expect(theirs.key).not.toBe(run.key);
      for (const name of [SUMMARY_FILE, 'events.jsonl']) {
        const [a, b] = [
          join(runFolder(here.folder.path, run), name),
          join(runFolder(there.folder.path, theirs), name),
        ];
        expect(readFileSync(b).equals(readFileSync(a))).toBe(true);
      }
    }
    const again = await there.cli('import', bundle, '--json');
    expect(JSON.parse(again.stdout)).toMatchObject({ imported: 0, known: 2 });
    await allDelivered(there);
    expect(there.got()).toEqual(items);
    expect(runFolders(there)).toHaveLength(2);
    // Also where it came from: nothing is doubled.
    expect(JSON.parse((await here.cli('import', bundle, '--json')).stdout)).toMatchObject({ known: 2 });
    expect(here.list()).toEqual(before);
  });

  it('has a header, every line JSON, and ends with the checksum of all bytes before', async () => {
    await here.ended('r1');
    const { code, stdout } = await here.cli('export', bundle, '--json', '--run', 'r1');
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toEqual({
      ...{ file: bundle, deliveries: 1, items: 5, documents: 2, damaged: [] },
      bytes: statSync(bundle).size,
    });
    const lines = linesOf(bundle).map((line) => JSON.parse(line));
    expect(lines[0]).toMatchObject({
      schema: 'lezea.outbox/v1',
      node: expect.any(String),
      version: expect.any(String),
    });
    const file = readFileSync(bundle);
    const end = file.lastIndexOf(Buffer.from([0x1f, 0x8b, 8]));
    expect(lines.at(-1)).toEqual({
      sha256: createHash('sha256').update(file.subarray(0, end)).digest('hex'),
    });
    expect((await here.cli('export', bundle, '--run', 'other')).stdout).toMatch(/0 deliveries, 0 items/);
    expect(JSON.parse((await there.cli('import', bundle, '--json')).stdout)).toMatchObject({ imported: 0 });
  });

  it('goes to standard output with -, and holds the named deliveries only', async () => {
    await here.ended('r1');
    await here.ended('r2');
    const piped = await here.cliBytes('export', '-', '2');
    writeFileSync(bundle, piped);
    expect((await there.cli('import', bundle)).stdout).toMatch(/^1: r2, /);
    await allDelivered(there);
    expect(JSON.parse((await there.cli('ls', '--all', '--json')).stdout).deliveries).toHaveLength(1);
    expect(await there.cli('export', bundle, '1')).toMatchObject({
      code: 1,
      stderr: 'lezea-monitor: delivery 1: delivered: expected one that waits\n',
    });
  });

  it('with any byte changed and at any length is refused, and nothing is changed', async () => {
    const { small, check } = await smallBundle();
    await expect(check(small)).resolves.toMatchObject({ deliveries: 1 });
    for (let at = 0; at < small.length; at += 3) {
      const altered = Buffer.from(small);
      // Every third byte, one bit each, so that also bits that gzip does not look at are seen.
      altered[at]! ^= 1 << (at % 8);
      await expect(check(altered), `byte ${at}`).rejects.toThrow(/altered|no end of a bundle/);
      await expect(check(small.subarray(0, at)), `cut at ${at}`).rejects.toThrow(/cut|expected a bundle/);
    }
    await expect(check(Buffer.concat([small, Buffer.from('x')]))).rejects.toThrow(/no end of a bundle/);
    // Whoever speaks to the agent without the program gets no further.
    const altered = Buffer.from(small);
    altered[100]! ^= 1;
    const client = await there.connect();
    await client.result('outbox.import', { bytes: altered.length });
    await client.result('outbox.put', { offset: 0, data: altered.toString('base64') });
    expect((await client.call('outbox.commit')).error).toMatchObject({
      message: expect.stringMatching(/^SHA-256 .* it was altered$/),
    });
    writeFileSync(bundle, altered);
    const refused = await there.cli('import', bundle);
    expect([refused.code, refused.stdout]).toEqual([1, '']);
    expect(refused.stderr).toMatch(/^lezea-monitor: .*b\.lzo: SHA-256 .* it was altered\n$/);
    await expect.poll(() => kept(there)).toEqual([0, [], []]);
  }, 60_000);

  async function smallBundle() {
    await here.ended('r1', { mlflow_tracking_uri: 'http://t', mlflow_run_id: 'x' });
    const { checkBundle } = await import('../../../src/delivery/bundle/check.js');
    await here.cli('export', bundle);
    const path = join(folder.path, 'changed');
    const check = (bytes: Buffer) => {
      writeFileSync(path, bytes);
      return checkBundle(path, { most: 1e6, isDocument: () => true });
    };
    return { small: readFileSync(bundle), check };
  }
});

describe('whose it is, and where it goes', () => {
  it('belongs to whoever imports it; to others it is not there', async () => {
    await here.ended('r1');
    await here.cli('export', bundle);
    here.comeAs(2000);
    expect(JSON.parse((await here.cli('export', bundle + 2, '--json')).stdout)).toMatchObject({
      deliveries: 0,
    });
    expect(await here.cli('export', bundle + 2, '1')).toMatchObject({
      code: 1,
      stderr: 'lezea-monitor: no delivery 1\n',
    });
    there.comeAs(2000);
    await there.cli('import', bundle);
    await allDelivered(there);
    expect(there.bench.deliveries.list(callerOf(1, 2000), { all: true })).toHaveLength(1);
    there.comeAs(1000);
    expect((await there.cli('ls', '--all')).stdout).toBe('nothing waits to be delivered\n');
    // What another has is no reason to leave out ours.
    expect(JSON.parse((await there.cli('import', bundle, '--json')).stdout)).toMatchObject({ imported: 1 });
  });

  it('an address that the agent may not speak to becomes the client’s', async () => {
    await here.ended('r1');
    await here.cli('export', bundle);
    await there.close();
    const rules = { mode: 'system', addresses: ['http://mine:1'], hasCredentials: false } as const;
    await there.open({ rules: () => rules });
    const { stdout } = await there.cli('import', bundle);
    expect(stdout).toContain(
      "for a client to bring: the agent's tracker.addresses does not list http://tracker:5000\n",
    );
    expect(there.list()[0]).toMatchObject({ waiting: 0, withClient: 5 });
    expect(there.got()).toEqual([]);
    const { id } = there.list()[0]!;
    const client = await there.connect();
    const { item } = await client.result('outbox.take', { delivery: id });
    expect(item).toMatchObject({ kind: 'figures' });
    const several = (await client.result('outbox.take', { delivery: id, limit: 3 })) as {
      item: { id: number };
      more: { id: number }[];
    };
    expect(several).toMatchObject({ item, more: [{ kind: 'figures' }, { kind: 'figures' }] });
    const [first, ...more] = [several.item, ...several.more].map((taken) => taken.id);
    expect(await client.result('outbox.ack', { delivery: id, item: first, more })).toEqual({ left: 2 });
    const file = await client.result('outbox.file', { delivery: id, file: SUMMARY_FILE, offset: 0 });
    expect(file).toMatchObject({ eof: false });
  });

  it('an agent of the system lends its credentials to operators only', async () => {
    await here.ended('r1');
    await here.cli('export', bundle);
    await there.close();
    const rules = { mode: 'system', addresses: [TRACKER_ADDRESS], hasCredentials: true } as const;
    await there.open({ rules: () => rules });
    expect((await there.cli('import', bundle)).stdout).toMatch(
      /for a client to bring: the agent lends its name/,
    );
    expect(there.got()).toEqual([]);
    there.comeAs(4242);
    // To an operator all owners' deliveries are there.
    expect(JSON.parse((await there.cli('import', bundle, '--json')).stdout)).toMatchObject({ known: 1 });
    await here.ended('r2');
    await here.cli('export', bundle, '--run', 'r2');
    await there.cli('import', bundle);
    await expect.poll(() => there.got().length).toBe(5);
  });
});

const TRACKER_ADDRESS = 'http://tracker:5000';

describe('an import that is not finished', () => {
  async function begun() {
    await here.ended('r1');
    await here.cli('export', bundle);
    const bytes = readFileSync(bundle);
    const client = await there.connect();
    await client.result('outbox.import', { bytes: bytes.length });
    return { client, bytes };
  }

  it('goes with its connection', async () => {
    const { client, bytes } = await begun();
    await client.result('outbox.put', { offset: 0, data: bytes.subarray(0, 100).toString('base64') });
    expect(kept(there)[2]).toHaveLength(1);
    client.close();
    await expect.poll(() => kept(there)).toEqual([0, [], []]);
  });

  it('takes its pieces in order, no more than was said, and none after its end', async () => {
    const { client, bytes } = await begun();
    const put = (offset: number, data: Buffer) =>
      client.refusal('outbox.put', { offset, data: data.toString('base64') });
    expect(await client.refusal('outbox.import', { bytes: 1 })).toBe('invalid_params');
    expect(await put(5, bytes)).toBe('invalid_params');
    expect(await put(0, Buffer.concat([bytes, bytes]).subarray(0, bytes.length + 1))).toBe('invalid_params');
    expect(await client.refusal('outbox.put', { offset: 0, data: '!!!' })).toBe('invalid_params');
    expect(await put(0, bytes.subarray(0, 9))).toBeUndefined();
    expect(await client.refusal('outbox.commit')).toBe('invalid_params');
    expect(await client.refusal('outbox.commit')).toBe('invalid_params');
    await expect.poll(() => kept(there)).toEqual([0, [], []]);
    expect(there.bench.deliveries.imports.held('imports')).toEqual([]);
  });

  it('leaves nothing when the agent dies in the middle of storing it', async () => {
    await begun();
    const { outbox } = there.bench;
    const common = { owner: callerOf(1).owner, bearer: 'agent', createdMs: 1 } as const;
    const target = { kind: 'mlflow', address: TRACKER_ADDRESS, settings: {} } as const;
    const run = { key: 'abcdef0123456789', runId: 'half', attempt: 1 };
    const id = outbox.begin({ ...common, target, run });
    outbox.add(id, [{ stage: 1, kind: 'figures', body: '[]' }], 'agent');
    const folders = new (await import('../../../src/files/run-folders.js')).RunFolders(there.folder.path);
    await folders.add(
      run,
      SUMMARY_FILE,
      (async function* () {
        yield Buffer.from('x');
      })(),
    );
    there.bench.deliveries.wake();
    expect([kept(there)[0], runFolders(there), there.got()]).toEqual([1, [run.key], []]);
    await there.close();
    await there.open({});
    expect(kept(there)).toEqual([0, [], []]);
  });

  it('twice at the same time is stored once', async () => {
    const { bytes } = await begun();
    const two = await Promise.all([there.connect(), there.connect()]);
    for (const client of two) {
      await client.result('outbox.import', { bytes: bytes.length });
      await client.result('outbox.put', { offset: 0, data: bytes.toString('base64') });
    }
    const answers = await Promise.all(two.map((client) => client.result('outbox.commit')));
    expect(answers.map(({ imported }) => imported).sort()).toEqual([0, 1]);
    await allDelivered(there);
    expect([there.got().length, there.list().length, runFolders(there).length]).toEqual([5, 1, 1]);
  });
});

describe('what is damaged', () => {
  function damageItem(): number {
    const db = new BetterSqlite3(join(here.folder.path, 'state.db'));
    const row = db.prepare('SELECT id, body FROM delivery_items LIMIT 1').get() as {
      id: number;
      body: Buffer;
    };
    row.body[row.body.length - 6]! ^= 4;
    db.prepare('UPDATE delivery_items SET body = ? WHERE id = ?').run(row.body, row.id);
    db.close();
    return row.id;
  }

  it('is found by fsck, and left out of a bundle, item by item', async () => {
    await here.ended('r1');
    await here.ended('r2');
    expect(await here.cli('fsck')).toMatchObject({
      code: 0,
      stdout: '2 deliveries, 10 items, 4 documents: fine\n',
    });
    const item = damageItem();
    const { run, id } = here.list().find((each) => each.run.runId === 'r2')!;
    const summary = join(runFolder(here.folder.path, run), SUMMARY_FILE);
    const bytes = readFileSync(summary);
    bytes[70_000]! ^= 1;
    writeFileSync(summary, bytes);
    const { code, stdout } = await here.cli('fsck', '--json');
    expect(code).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({
      ...{ ok: false, deliveries: 2, items: 10, documents: 2 },
      damaged: [
        { delivery: 1, item, what: expect.stringMatching(/damaged: /) },
        {
          delivery: id,
          what: expect.stringMatching(/^document resources\/summary\.json: SHA-256 .*: expected /),
        },
      ],
    });
    expect((await here.cli('fsck')).stdout).toMatch(/^delivery 1, item 1: its body .*not fine\n$/s);
    expect(await here.cli('show', '1', '--item', `${item}`)).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^lezea-monitor: item 1: its body in the database is damaged: /),
    });
    const exported = await here.cli('export', bundle);
    expect(exported.code).toBe(1);
    expect(exported.stderr.match(/^lezea-monitor: left out: delivery/gm)).toHaveLength(2);
    expect(JSON.parse((await there.cli('import', bundle, '--json')).stdout)).toMatchObject({ imported: 2 });
    await expect.poll(() => there.got().length).toBe(8);
  });
});

describe('what is no bundle', () => {
  it.each([
    [['import', '/nowhere/b'], 2, /\/nowhere\/b: ENOENT.*: expected a bundle that outbox export wrote\n$/],
    [['import', '/'], 2, /\/: not a file: expected a bundle/],
    [['export', '/nowhere/b'], 2, /\/nowhere\/b: expected a file in a folder that is there\n$/],
    [['export', '/dev/null'], 2, /\/dev\/null: expected a file, or - for standard output\n$/],
    [['export', '-', '--json'], 2, /--json: expected a file, not standard output\n$/],
    [['export', 'x', '1', '--run', 'r'], 2, /1: expected ids or --run, not both\n$/],
    [['export', 'x', 'y'], 2, /ID y: expected a number from the list\n$/],
  ])('%j: exit code %i and one line', async (args, code, line) => {
    const outcome = await there.cli(...args);
    expect(outcome).toMatchObject({ code, stdout: '', stderr: expect.stringMatching(line) });
    expect(outcome.stderr.trimEnd().split('\n')).toHaveLength(1);
  });
});

it('a place that fails meanwhile loses nothing of it', async () => {
  await here.ended('r1');
  await here.cli('export', bundle);
  let down = true;
  there.bench.sink.script = () => {
    if (down) throw new SendError('retry', 'later');
  };
  await there.cli('import', bundle);
  await expect.poll(() => there.bench.outbox.sinks()[0]?.failures).toBeGreaterThan(0);
  down = false;
  await there.cli('retry', '1');
  await allDelivered(there);
  expect(there.got()).toHaveLength(5);
});
