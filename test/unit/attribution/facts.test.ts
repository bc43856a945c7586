// Facts of a run: merged key by key, bounded, stored with the run, carried to its next attempt.

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Facts, mergeFacts } from '../../../src/attribution/facts.js';
import { DEFAULT_LIMITS, Limiter, type Limits } from '../../../src/attribution/limits.js';
import { type Bench, callerOf, openRequest, startBench, temporaryFolder } from '../support/bench.js';

function merge(before: Facts, changes: Facts, limits: Partial<Limits> = {}) {
  const texts = new Map(Object.entries(before).map(([key, value]) => [key, JSON.stringify(value)]));
  const bytes = [...texts].reduce((sum, [key, text]) => sum + key.length + text.length, 0);
  const known = { size: { count: texts.size, bytes }, text: (key: string) => texts.get(key) };
  const merged = mergeFacts(known, changes, new Limiter({ ...DEFAULT_LIMITS, ...limits }));
  for (const [key, text] of merged.texts) {
    if (text === null) texts.delete(key);
    else texts.set(key, text);
  }
  const after = Object.fromEntries([...texts].map(([key, text]) => [key, JSON.parse(text)]));
  const sized = [...texts].reduce((sum, [key, text]) => sum + key.length + text.length, 0);
  expect(merged.size).toEqual({ count: texts.size, bytes: sized });
  return { after, changed: [...merged.texts.keys()] };
}

describe('a merge', () => {
  it.each<[Facts, Facts, Facts]>([
    [{}, { a: 1 }, { a: 1 }],
    [{ a: { b: 1, c: 2 } }, { a: { c: 3, d: [1, null] } }, { a: { b: 1, c: 3, d: [1, null] } }],
    [{ a: { b: 1 } }, { a: { b: null } }, { a: {} }],
    [{ a: 1, b: 2 }, { a: null }, { b: 2 }],
    [{ a: 1 }, { a: { b: { c: 'x', d: null } } }, { a: { b: { c: 'x' } } }],
    [{ a: { b: 1 } }, { a: [1] }, { a: [1] }],
    [{}, { url: 'https://me:pw@host/x' }, { url: 'https://host/x' }],
  ])('of %j and %j is %j, once and again', (before, changes, after) => {
    const once = merge(before, changes);
    expect(once.after).toEqual(after);
    expect(merge(once.after, changes)).toEqual({ after, changed: [] });
  });

  it('takes nothing over for an object’s prototype', () => {
    const { after } = merge({}, JSON.parse('{"a": {"__proto__": {"x": 1}}}'));
    expect(Object.getPrototypeOf(after.a)).toBe(Object.prototype);
    expect(({} as Record<string, unknown>).x).toBeUndefined();
  });

  it.each<[Facts, Partial<Limits>, string]>([
    [{ a: 1, b: 2 }, { factsPerRun: 1 }, 'too_many'],
    [{ a: 'xxxx' }, { factBytes: 5 }, 'too_large'],
    [{ a: 1, b: 1 }, { factBytesPerRun: 3 }, 'too_large'],
    [{ a: { b: { c: 1 } } }, { factLevels: 2 }, 'too_large'],
    [{ a: [[1]] }, { factLevels: 2 }, 'too_large'],
  ])('refuses %j past %j', (changes, limits, word) => {
    const [limit] = Object.keys(limits);
    expect(() => merge({}, changes, limits)).toThrow(
      expect.objectContaining({ code: word, message: expect.stringContaining(`the limit ${limit} is`) }),
    );
  });
});

describe('facts of a run', () => {
  let folder: ReturnType<typeof temporaryFolder>;
  let bench: Bench;
  let generation = 0;
  const caller = callerOf(100);
  const told = () => bench.attribution.store.facts(bench.attribution.store.find('r')[0]!);

  beforeEach(() => {
    folder = temporaryFolder();
    bench = startBench(folder.path);
    bench.attribution.commands.start(caller, { runId: 'r' });
  });
  afterEach(() => {
    bench.close();
    folder.remove();
  });

  it('outlive the agent, and go on being merged', async () => {
    const { commands } = bench.attribution;
    commands.update(caller, 'r', { facts: { seeds: { torch: 1 }, gone: 1 } });
    commands.update(caller, 'r', { facts: { seeds: { numpy: 2 } } });
    await commands.stored();
    generation += 1;
    const into = `${folder.path}/g${generation}`;
    bench.crash(into);
    bench = startBench(into);
    expect(told()).toEqual({ seeds: { torch: 1, numpy: 2 }, gone: 1 });
    bench.attribution.commands.update(caller, 'r', { facts: { gone: null, seeds: { numpy: 3 } } });
    await bench.attribution.commands.stored();
    expect(told()).toEqual({ seeds: { torch: 1, numpy: 3 } });
  });

  it('hold for the next attempt, but for what a client found out about its own process', async () => {
    const { commands, store } = bench.attribution;
    await commands.openSession(caller, openRequest('r', 100));
    commands.update(caller, 'r', { facts: { dataset_version: 'v3', captured: { level: 'basic' } } });
    await commands.end(caller, { runId: 'r', status: 'FAILED', all: true });
    const { run } = commands.start(caller, { runId: 'r' });
    await commands.stored();
    expect(run.attempt).toBe(2);
    expect(told()).toEqual({ dataset_version: 'v3' });
    expect(store.facts(store.get(caller.owner, 'r', 1)!)).toEqual({
      dataset_version: 'v3',
      captured: { level: 'basic' },
    });
    const limit = 'the limit factBytes is 262144';
    expect(() => commands.update(caller, 'r', { facts: { a: 'x'.repeat(300_000) } })).toThrow(limit);
    expect(() => commands.update(callerOf(100, 2000), 'r', { facts: {} })).toThrow('no run');
  });

  it('are refused however deep they are nested, and nothing of that request is taken', async () => {
    const { commands } = bench.attribution;
    const deep = JSON.parse(`${'['.repeat(30_000)}${']'.repeat(30_000)}`);
    const limits = { values: new Map([['steps', 5]]), experiment: new Map() };
    const refused = { tags: { team: 'nlp' }, limits, facts: { fine: 1, deep } };
    expect(() => commands.update(caller, 'r', refused)).toThrow('the limit factLevels is 16');
    const large = Object.fromEntries(Array.from({ length: 70 }, (_, i) => [`t${i}`, 'x'.repeat(1000)]));
    const other = { tags: large, limits, facts: { fine: 1 } };
    expect(() => commands.update(caller, 'r', other)).toThrow('the limit tagBytesPerRun');
    await commands.stored();
    expect(told()).toEqual({});
    expect(bench.attribution.store.get(caller.owner, 'r')).toMatchObject({ tags: {}, limits: [] });
  });

  it('cannot be said of a run that has ended', async () => {
    const { commands } = bench.attribution;
    await commands.end(caller, { runId: 'r', status: 'FINISHED', all: true });
    expect(() => commands.update(caller, 'r', { facts: { a: 1 } })).toThrow('has ended');
  });

  it('leaves no secret in tags, events or the reason of an end', async () => {
    const { commands, store } = bench.attribution;
    const url = 'https://me:planted@host/x';
    commands.update(caller, 'r', { tags: { url, api_key: 'planted' } });
    commands.event(caller, 'r', 'note', { url, password: 'planted' });
    const { run } = await commands.end(caller, {
      runId: 'r',
      status: 'FAILED',
      all: true,
      reason: `no ${url}`,
    });
    expect(run.reason).toBe('no https://host/x');
    expect(JSON.stringify([run.tags, ...[...store.events(run)].map(({ data }) => data)])).not.toContain(
      'planted',
    );
  });
});
