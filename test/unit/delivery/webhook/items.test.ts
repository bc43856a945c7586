// What an ended run is cut into for a webhook: whole, the same bytes every time, each line saying whose it is, and no item
// longer than fits into an answer on the socket.

import { describe, expect, it } from 'vitest';
import { DEFAULT_LIMITS } from '../../../../src/attribution/limits.js';
import type { Draft, EndedRun, Item } from '../../../../src/delivery/model.js';
import { planRun, splitItem, wireOf } from '../../../../src/delivery/webhook/items.js';
import {
  messageId,
  signatureOf,
  signedHeaders,
  signingKey,
} from '../../../../src/delivery/webhook/signature.js';
import { endedRun, everyColumn, manyScopes } from '../../support/ended-run.js';

const items = (run: EndedRun): Item[] => [...planRun(run)].map((draft, id) => ({ ...draft, id }));
const itemOf = (draft: Draft): Item => ({ ...draft, id: 1 });
const linesOf = (all: readonly Item[]) =>
  all.flatMap((item) =>
    wireOf(item)
      .toString()
      .trimEnd()
      .split('\n')
      .map((text) => JSON.parse(text)),
  );
const idsOf = (run: EndedRun) => items(run).map((item) => messageId(wireOf(item)));

describe('the lines of a run', () => {
  it('say the run, each scope, and how many there are', () => {
    const scopes = manyScopes(300);
    const tags = { a: '1', 'b c': 'é\n"' };
    const outcome = { status: 'FAILED', reason: 'ValueError: x' } as const;
    const run = endedRun({ scopes, tags, outcome, attempt: 3, rank: 1, experiment: 'e', name: 'n' });
    const lines = linesOf(items(run));
    expect(lines[0]).toEqual({
      schema: 'lezea.webhook/v1',
      type: 'run',
      delivery: 'k0123456789abcdef-3',
      line: 1,
      run_id: 'demo',
      attempt: 3,
      node: 'node-a',
      status: 'FAILED',
      reason: 'ValueError: x',
      started_at: '2023-11-14T22:13:20.000Z',
      ended_at: '2023-11-14T22:14:20.000Z',
      experiment: 'e',
      name: 'n',
      rank: 1,
      tags,
      totals: everyColumn(0),
    });
    expect(lines.slice(1, -1).map(({ path, self, inclusive }) => ({ path, self, inclusive }))).toEqual(
      scopes,
    );
    expect(lines.at(-1)).toMatchObject({ type: 'end', line: 302, lines: 302 });
    const own = { schema: 'lezea.webhook/v1', delivery: 'k0123456789abcdef-3', run_id: 'demo', attempt: 3 };
    lines.forEach((line, at) => {
      expect(line).toMatchObject({ ...own, node: 'node-a', line: at + 1 });
    });
  });

  it('are the same bytes every time, and other ones of another attempt, agent or run', () => {
    const scopes = manyScopes(100);
    const once = items(endedRun({ scopes }));
    expect(items(endedRun({ scopes }))).toEqual(once);
    const all = [{}, { attempt: 2 }, { key: 'kother' }, { node: 'node-b' }].map((more) =>
      idsOf(endedRun({ scopes, ...more })),
    );
    expect(new Set(all.flat()).size).toBe(4 * once.length);
  });

  it('are at most 40 KiB an item, and no item more than there have to be', () => {
    const long = manyScopes(500).map((line) => ({ ...line, path: `${line.path}/layer:${'é'.repeat(60)}` }));
    const all = items(endedRun({ scopes: long }));
    const sizes = all.map(({ body }) => Buffer.byteLength(body));
    expect(Math.max(...sizes)).toBeLessThanOrEqual(40 * 1024);
    // What was left over of each is less than the next line.
    expect(Math.min(...sizes.slice(0, -1))).toBeGreaterThan(36 * 1024);
    expect(linesOf(all)).toHaveLength(502);
  });

  it('of a run that says as much of itself as it may are no longer than an item may be', () => {
    const most = DEFAULT_LIMITS;
    // Every character takes six in JSON.
    const hostile = (length: number) => '\u0001'.repeat(length);
    const tags = Object.fromEntries(
      Array.from({ length: Math.floor(most.tagBytesPerRun / 5250) }, (_, n) => [
        `${n}${hostile(249)}`,
        hostile(5000),
      ]),
    );
    const run = endedRun({
      tags,
      outcome: { status: 'FAILED', reason: hostile(4096) },
      experiment: hostile(1024),
      name: hostile(512),
      node: 'n'.repeat(64),
      runId: 'r'.repeat(64),
      scopes: [{ path: `a:${'\u4e00'.repeat(4000)}`, self: everyColumn(1e9), inclusive: everyColumn(1e9) }],
    });
    const all = items(run);
    for (const { body } of all) expect(Buffer.byteLength(body)).toBeLessThanOrEqual(40 * 1024);
    const lines = linesOf(all);
    expect(lines[0].tags).toBeUndefined();
    const said = lines.filter(({ type }) => type === 'tag').map(({ key, value }) => [key, value]);
    expect(Object.fromEntries(said)).toEqual(tags);
  });
});

describe('an item', () => {
  it('is sent as the lines that are stored, byte for byte, whatever keys they have', () => {
    const tags = JSON.parse('{"10":"a","9":"b","__proto__":"c","\\ud800":"d"}') as Record<string, string>;
    const [item] = items(endedRun({ tags }));
    const wire = wireOf(item!).toString();
    expect(`[${wire.trimEnd().split('\n').join(',')}]`).toBe(item!.body);
    expect(wire.endsWith('}\n')).toBe(true);
  });

  it('that is too large becomes two, with the same lines, until there is one line', () => {
    const [item] = items(endedRun({ scopes: manyScopes(9) }));
    const halves = splitItem(item!).map(itemOf);
    expect(halves).toHaveLength(2);
    expect(linesOf(halves)).toEqual(linesOf([item!]));
    let left = [item!];
    for (let round = 0; round < 4; round += 1) {
      left = left.flatMap((each) => {
        const parts = splitItem(each).map(itemOf);
        return parts.length > 0 ? parts : [each];
      });
    }
    expect(left).toHaveLength(11);
    expect(splitItem(left[0]!)).toEqual([]);
  });

  it.each([
    ['no JSON', '{'],
    ['no list', '{}'],
    ['an empty list', '[]'],
    ['a line that is none', '[1]'],
    ['another schema', '[{"schema":"lezea.webhook/v2","type":"run"}]'],
    ['no type', '[{"schema":"lezea.webhook/v1"}]'],
  ])('that is %s is never sent', (_what, body) => {
    const item = { id: 7, stage: 0, kind: 'lines', body };
    expect(() => wireOf(item)).toThrow('item 7 does not say what an item of a webhook says');
    expect(splitItem(item)).toEqual([]);
  });

  it('of another kind is never sent', () => {
    const [item] = items(endedRun());
    expect(() => wireOf({ ...item!, kind: 'metrics' })).toThrow(/does not say/);
  });
});

describe('a signature', () => {
  it('is the one of Standard Webhooks’ own example', () => {
    const key = signingKey(' whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n');
    const body = Buffer.from('{"test": 2432232314}');
    const message = { id: 'msg_p5jXN8AQM9LWM0D4loKWxJek', timestamp: 1614265330, body };
    expect(signatureOf(message, key)).toBe('v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=');
  });

  it('is of the try, and the id of the body', () => {
    const key = Buffer.alloc(24, 1);
    const body = Buffer.from('x\n');
    const [first, second] = [signedHeaders(body, key, 1_999), signedHeaders(body, key, 61_000)];
    expect([first['webhook-timestamp'], second['webhook-timestamp']]).toEqual(['1', '61']);
    expect(first['webhook-signature']).not.toBe(second['webhook-signature']);
    // sha256 of "x\n".
    expect(first['webhook-id']).toBe('73cb3858a687a8494ca3323053016282');
    expect([first['idempotency-key'], second['webhook-id']]).toEqual([
      first['webhook-id'],
      first['webhook-id'],
    ]);
  });

  it.each([
    ['x'.repeat(23), /a key of 23 bytes; expected at least 24/],
    ['', /a key of 0 bytes/],
    ['whsec_AAAA', /a key of 3 bytes/],
    [`whsec_${'!'.repeat(40)}`, /expected base64 after whsec_/],
  ])('is not made with %j', (text, expected) => {
    expect(() => signingKey(text)).toThrow(expected);
  });

  it('is made with the text of a file that is no base64', () => {
    expect(signingKey(`${'k'.repeat(24)}\n`)).toEqual(Buffer.from('k'.repeat(24)));
  });
});
