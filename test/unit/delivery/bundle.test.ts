// Bundles that are sealed as they should be and say what they should not: somebody wrote them by hand. Each is refused with
// where and why, and nothing of it is kept.

import { createHash } from 'node:crypto';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { checkBundle } from '../../../src/delivery/bundle/check.js';
import { documentsOf } from '../../../src/delivery/bundle/documents.js';
import { sealOf } from '../../../src/delivery/bundle/format.js';
import { bundleBytes } from '../../../src/delivery/bundle/write.js';
import { commonKey } from '../../../src/delivery/model.js';
import { importedPlace } from '../../../src/delivery/targets.js';
import { isRunFile } from '../../../src/files/run-files.js';
import { type Bench, callerOf, startBench, temporaryFolder } from '../support/bench.js';

let folder: ReturnType<typeof temporaryFolder>;
let bench: Bench;

beforeEach(() => {
  folder = temporaryFolder();
  bench = startBench(folder.path, {}, undefined, { offline: true });
});

afterEach(() => {
  bench.close();
  folder.remove();
});

const hex = (text: string) => createHash('sha256').update(text).digest('hex');
const HEADER = { schema: 'lezea.outbox/v1', node: 'n', time: '2026-01-01T00:00:00Z', version: '1' };
const DELIVERY = {
  type: 'delivery',
  origin: '0123456789abcdef0123456789abcdef',
  run: { key: 'k', run_id: 'r', attempt: 1 },
  target: {
    kind: 'mlflow',
    address: 'http://t',
    settings: { mlflow_tracking_uri: 'http://t', mlflow_run_id: 'x' },
  },
  created_ms: 1,
};
const ITEM = { type: 'item', stage: 1, kind: 'metrics', body: '{}' };
const FACTS = { path: 'events.jsonl', bytes: 3, sha256: hex('abc') };
const NAMING = { ...ITEM, kind: 'artifact', body: JSON.stringify(FACTS) };
const DOCUMENT = { type: 'document', run: { key: 'k', attempt: 1 }, ...FACTS };
const piece = (text: string) => ({ type: 'piece', data: Buffer.from(text).toString('base64') });

function sealed(text: string | Buffer): Buffer {
  const bytes = gzipSync(text);
  return Buffer.concat([bytes, sealOf(createHash('sha256').update(bytes).digest('hex'))]);
}

const bundle = (...lines: object[]) => sealed(lines.map((line) => `${JSON.stringify(line)}\n`).join(''));

/** What the agent says to it, and to the program on the command line. */
async function refusal(bytes: Buffer): Promise<string> {
  const path = join(folder.path, 'b');
  writeFileSync(path, bytes);
  const { imports } = bench.deliveries;
  const begun = imports.begin(callerOf(1), bytes.length);
  begun.put(0, bytes);
  const said = await imports.commit(begun, 1e6).then(
    () => 'taken',
    (error: Error) => error.message,
  );
  const checked = await checkBundle(path, { most: 1e6, isDocument: isRunFile }).then(
    () => 'taken',
    (error: Error) => error.message,
  );
  if (said !== 'taken' && !said.startsWith('http')) expect(checked).toBe(said);
  if (said !== 'taken') {
    expect(bench.outbox.deliveries({ all: true })).toEqual([]);
    expect(existsSync(join(folder.path, 'runs'))).toBe(false);
    expect(imports.held('imports')).toEqual([]);
  }
  return said;
}

it('what is right is taken', async () => {
  expect(await refusal(bundle(HEADER, DELIVERY, ITEM, NAMING, DOCUMENT, piece('a'), piece('bc')))).toBe(
    'taken',
  );
  const [delivery] = bench.outbox.deliveries({});
  expect(delivery).toMatchObject({ waiting: 2, ready: true, createdMs: 1 });
  // Its folder is this agent's own; what else there is of it at the tracker, another agent has put there.
  expect(delivery!.run).toEqual({
    key: expect.stringMatching(/^[0-9a-f]{16}$/),
    runId: 'r',
    attempt: 1,
    measuredAs: 'k',
  });
  expect(commonKey(delivery!.run)).toBe('k');
  expect(commonKey({ key: 'own' })).toBe('own');
});

const twice = { ...DELIVERY, run: { ...DELIVERY.run, key: '../..' } };
const TEN = Array.from({ length: 10 }, () => ITEM);

it.each<[string, object[], RegExp]>([
  ['no lines', [], /^no lines: expected a header$/],
  [
    'another schema',
    [{ ...HEADER, schema: 'lezea.outbox/v2' }],
    /^line 1: schema: expected lezea.outbox\/v1$/,
  ],
  ['no header', [DELIVERY, ITEM], /^line 1: schema: /],
  ['an unknown line', [HEADER, { type: 'x' }], /^line 2: type: /],
  ['a key that is a path', [HEADER, twice, ITEM], /^line 2: run\.key: expected a key$/],
  [
    'a run id that is none',
    [HEADER, { ...DELIVERY, run: { ...DELIVERY.run, run_id: '/' } }],
    /^line 2: run\.run_id/,
  ],
  ['an origin that is none', [HEADER, { ...DELIVERY, origin: 'x' }], /^line 2: origin: expected 32/],
  ['the same origin twice', [HEADER, DELIVERY, ITEM, DELIVERY], /^line 4: origin .*: there already$/],
  [
    'a place of no kind',
    [HEADER, { ...DELIVERY, target: { ...DELIVERY.target, kind: 'ftp' } }],
    /^line 2: target\.kind/,
  ],
  ['an item first', [HEADER, ITEM], /^line 2: an item without its delivery$/],
  ['a delivery without items', [HEADER, DELIVERY], /^at the end: the delivery before it has no items$/],
  [
    'a body that is no JSON',
    [HEADER, DELIVERY, ...TEN, { ...ITEM, body: '{' }],
    /^line 13: body: expected JSON$/,
  ],
  [
    'a document that is not there',
    [HEADER, DELIVERY, NAMING],
    /^at the end: document k\/1\/events.jsonl: not there$/,
  ],
  [
    'a document with a path of its own',
    [HEADER, DELIVERY, { ...ITEM, body: JSON.stringify({ ...FACTS, path: '../../etc/passwd' }) }],
    /^line 3: document \.\.\/\.\.\/etc\/passwd: not one of a run's$/,
  ],
  [
    'a document that nothing names',
    [HEADER, DELIVERY, ITEM, DOCUMENT],
    /^line 4: document .*: not as an item names it$/,
  ],
  [
    'a document twice',
    [HEADER, DELIVERY, NAMING, DOCUMENT, piece('abc'), DOCUMENT],
    /^line 6: .*: there already$/,
  ],
  [
    'a document that is short',
    [HEADER, DELIVERY, NAMING, DOCUMENT, piece('ab')],
    /^at the end: .* 2 bytes: expected 3$/,
  ],
  [
    'a document that is long',
    [HEADER, DELIVERY, NAMING, DOCUMENT, piece('abcd')],
    /^line 5: a piece past the end/,
  ],
  [
    'other bytes',
    [HEADER, DELIVERY, NAMING, DOCUMENT, piece('abd')],
    /^at the end: .* SHA-256 .*: expected /,
  ],
  [
    'a piece without a document',
    [HEADER, DELIVERY, ITEM, piece('abc')],
    /^line 4: a piece without its document$/,
  ],
  ['no base64', [HEADER, DELIVERY, NAMING, DOCUMENT, { type: 'piece', data: '*' }], /^line 5: data: /],
  [
    'a second place that is none',
    [
      HEADER,
      DELIVERY,
      ITEM,
      { ...DELIVERY, origin: 'f'.repeat(32), target: { ...DELIVERY.target, settings: {} } },
      ITEM,
    ],
    /^http:\/\/t: no mlflow_run_id yet/,
  ],
  [
    'a place that is none',
    [HEADER, { ...DELIVERY, target: { ...DELIVERY.target, settings: {} } }, ITEM],
    /^http:\/\/t: no mlflow_run_id yet/,
  ],
])('%s is refused, and nothing is kept', async (_, lines, expected) => {
  expect(await refusal(bundle(...lines))).toMatch(expected);
});

it('what is being stored goes when its connection goes, with what was stored of it', async () => {
  const bytes = bundle(HEADER, DELIVERY, ...TEN, NAMING, DOCUMENT, piece('abc'));
  const begun = bench.deliveries.imports.begin(callerOf(1), bytes.length);
  begun.put(0, bytes);
  const { begin } = bench.outbox;
  // The connection is closed after the first delivery was begun.
  bench.outbox.begin = (delivery) => {
    begun.discard();
    return begin.call(bench.outbox, delivery);
  };
  await expect(bench.deliveries.imports.commit(begun, 1e6)).rejects.toThrow(/^stopped: /);
  expect(bench.outbox.deliveries({ all: true })).toEqual([]);
  expect(bench.outbox.items(1, 0, 100)).toEqual([]);
  expect(bench.deliveries.imports.held('bytes')).toEqual([]);
});

it('what is no text, has no end, or unpacks to too much is refused', async () => {
  expect(await refusal(sealed('no json\n'))).toMatch(/^line 1: .*: expected JSON$/);
  expect(await refusal(sealed(JSON.stringify(HEADER)))).toBe('the last line has no end');
  expect(await refusal(sealed('x'.repeat(2 << 20)))).toBe('a line of more than 1048576 bytes');
  expect(await refusal(sealed(`${JSON.stringify(HEADER)}\n${'"\n'.repeat(9_000_000)}`))).toMatch(/^line 2: /);
  const lines = `${JSON.stringify(DELIVERY)}\n${`${JSON.stringify(ITEM)}\n`.repeat(400_000)}`;
  expect(await refusal(sealed(`${JSON.stringify(HEADER)}\n${lines}`))).toBe(
    'unpacked: expected at most 16000000 bytes',
  );
  const junk = Buffer.from('no gzip');
  const seal = sealOf(createHash('sha256').update(junk).digest('hex'));
  expect(await refusal(Buffer.concat([junk, seal]))).toMatch(/^not gzip: /);
});

it('a bundle that would be too large is not written', async () => {
  async function* lines() {
    yield HEADER as never;
    for (let n = 0; n < 10_000; n += 1) yield { ...ITEM, body: `"${hex(String(n))}"` } as never;
  }
  const write = async () => {
    for await (const _ of bundleBytes(lines(), 10_000));
  };
  await expect(write()).rejects.toThrow('a bundle has at most 10000 bytes: export less at once');
});

it('documents are found wherever a body names them', () => {
  expect(documentsOf(JSON.stringify(FACTS))).toEqual([FACTS]);
  expect(documentsOf(JSON.stringify({ a: [{ ...FACTS, more: 1 }, null, 3], b: 'x' }))).toEqual([FACTS]);
  expect(documentsOf('{"path":"x","bytes":"3","sha256":"y"}')).toEqual([]);
  expect(documentsOf('null')).toEqual([]);
});

it('a webhook of an import is the agent’s in user mode, and where it is its own', () => {
  const rules = (mode: 'user' | 'system') => ({ mode, addresses: [], hasCredentials: false });
  const target = { kind: 'webhook', address: 'https://h/x', settings: {} } as const;
  const by = (mode: 'user' | 'system', importer: Parameters<typeof importedPlace>[2], at = target) =>
    importedPlace(at, rules(mode), importer).bearer;
  expect(by('user', { privileged: false })).toBe('agent');
  expect(by('system', { privileged: true })).toBe('client');
  expect(by('system', { privileged: true, everyRun: target })).toBe('agent');
  expect(by('system', { privileged: false, everyRun: target })).toBe('client');
  expect(() => by('user', { privileged: true }, { ...target, address: 'https://me:pw@h' } as never)).toThrow(
    /a user in it: expected none/,
  );
});
