// Metric keys: fit for MLflow whatever a scope is called, and read back to the same scope.

import { posix } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  decodeSegment,
  encodeSegment,
  liveKey,
  MAX_KEY_CHARS,
  nodeFolder,
  readKey,
  scopeFolder,
  scopeKey,
  totalKey,
} from '../../../../src/delivery/mlflow/keys.js';
import { COLUMN_LIST, type ColumnName } from '../../../../src/native/frame.js';

/** What MLflow asks of a name, and what we ask of ourselves beside it. */
function expectFit(key: string): void {
  expect(key).toMatch(/^[/\w.\- ]*$/);
  expect(key).toMatch(/^[A-Za-z0-9_./-]+$/);
  expect(posix.normalize(key)).toBe(key);
  expect(key.startsWith('/') || key.startsWith('.')).toBe(false);
  expect(key.length).toBeLessThanOrEqual(MAX_KEY_CHARS);
}

const trickyText = fc.stringMatching(/^[.x0-9a-fé/ ]{1,12}$/);
const text = fc.oneof(fc.string({ unit: 'binary', minLength: 1, maxLength: 20 }), trickyText);
const name = text.map((word) => word.replaceAll('/', '%')).filter((word) => word !== '');
const level = fc.oneof(
  fc.constantFrom('inclusive', 'total', 'nodes', 'attempts', 'cut', 'cpu_seconds', 'builder', 'layer'),
  fc.stringMatching(/^[a-z][a-z0-9_]{0,10}$/),
);
const path = fc
  .array(fc.tuple(level, name), { minLength: 1, maxLength: 6 })
  .map((steps) => steps.map(([word, called]) => `${word}:${called}`).join('/'));
const column = fc.constantFrom(...COLUMN_LIST.map((entry) => entry.name));

describe('a segment', () => {
  it('is any text, and back', () => {
    fc.assert(
      fc.property(text, (word) => {
        const segment = encodeSegment(word);
        expect(segment).toMatch(/^[A-Za-z0-9_.-]+$/);
        expect(['.', '..']).not.toContain(segment);
        expect(decodeSegment(segment)).toBe(word);
      }),
      { numRuns: 2000 },
    );
  });

  it.each([
    ['plain-Name_1.5', 'plain-Name_1.5'],
    ['tasker#0', 'tasker.x230'],
    ['é', '.xc3.xa9'],
    ['.x41', '.x2ex41'],
    ['.xyz', '.xyz'],
    ['.', '.x2e'],
    ['..', '.x2e.x2e'],
    ['a/b c', 'a.x2fb.x20c'],
  ])('of %j is %j', (word, segment) => {
    expect(encodeSegment(word)).toBe(segment);
    expect(decodeSegment(segment)).toBe(word);
  });
});

describe('a key', () => {
  it('is fit for MLflow, and is read back unless it was cut', () => {
    fc.assert(
      fc.property(path, column, fc.constantFrom('self', 'inclusive'), (scope, name, share) => {
        const key = scopeKey(scopeFolder(scope), share, name);
        expectFit(key);
        const meaning = readKey(key);
        if (key.includes('/cut/')) expect(meaning ?? { path: scope }).toHaveProperty('path', scope);
        else expect(meaning).toEqual({ path: scope, share, column: name });
      }),
      { numRuns: 2000 },
    );
  });

  it('of one node is read back to that node', () => {
    fc.assert(
      fc.property(path, column, text, (scope, name, node) => {
        const key = scopeKey(scopeFolder(scope, node), 'self', name);
        expectFit(key);
        expect(key.startsWith(`${nodeFolder(node)}/`)).toBe(true);
        const isCut = key.includes('/cut/') || nodeFolder(node).includes('/cut-');
        if (!isCut) expect(readKey(key)).toEqual({ path: scope, share: 'self', column: name, node });
      }),
    );
    expect(readKey(totalKey('cpu_seconds', 'n'))).toMatchObject({ path: null, node: 'n' });
    expect(nodeFolder('é'.repeat(40))).toMatch(/^resources\/nodes\/cut-[0-9a-f]{32}$/);
  });

  it('of different scopes is different', () => {
    fc.assert(
      fc.property(path, path, (one, other) => {
        expect(scopeFolder(one) === scopeFolder(other)).toBe(one === other);
      }),
    );
  });

  it('of the whole run stands beside those of scopes', () => {
    expect(totalKey('cpu_seconds')).toBe('resources/total/cpu_seconds');
    expect(readKey('resources/total/cpu_seconds')).toMatchObject({ path: null, column: 'cpu_seconds' });
    const nested = scopeFolder('builder:b0/tasker:t3');
    expect(scopeKey(nested, 'self', 'cpu_seconds')).toBe('resources/builder/b0/tasker/t3/cpu_seconds');
    expect(scopeKey(nested, 'inclusive', 'io_read_bytes')).toBe(
      'resources/builder/b0/tasker/t3/inclusive/io_read_bytes',
    );
  });

  it.each(['inclusive', 'total', 'nodes', 'attempts', 'cut', 'activations'])(
    'has no level that reads like the word %s',
    (word) => {
      const folder = scopeFolder(`${word}:a`);
      expect(folder).toBe(`resources/.x${word.charCodeAt(0).toString(16)}${word.slice(1)}/a`);
      expect(readKey(`${folder}/cpu_seconds`)?.path).toBe(`${word}:a`);
    },
  );

  it('of a path that is too long keeps its beginning and has a hash of all of it', () => {
    const deep = Array.from({ length: 16 }, (_, n) => `layer:${'é'.repeat(8)}${n}`).join('/');
    const folder = scopeFolder(deep);
    expect(folder).toMatch(/^resources\/layer\/(\.xc3\.xa9){8}0\/.*\/cut\/[0-9a-f]{32}$/);
    expect(scopeFolder(`${deep}x`)).not.toBe(folder);
    for (const { name: last } of COLUMN_LIST) {
      const key = scopeKey(folder, 'inclusive', last);
      expectFit(key);
      expect(readKey(key)).toBeUndefined();
    }
    expectFit(`${scopeFolder(`layer:${'#'.repeat(128)}`)}/inclusive/${'c'.repeat(49)}`);
  });

  it.each([
    '',
    'loss',
    'resources',
    'resources/cpu_seconds',
    'resources/builder/cpu_seconds',
    'x/total/cpu_seconds',
  ])('is not %j', (key) => {
    expect(readKey(key)).toBeUndefined();
  });

  it.each([
    ['node-1', 'system/node-1/cpu_seconds'],
    ['a/b é', 'system/a.x2fb.x20.xc3.xa9/cpu_seconds'],
    ['..', 'system/.x2e.x2e/cpu_seconds'],
    ['n'.repeat(65), /^system\/cut-[0-9a-f]{32}\/cpu_seconds$/],
  ])('of a running run on %s is fit, and no final figure', (node, expected) => {
    const key = liveKey(node, 'cpu_seconds');
    expect(key).toMatch(expected);
    expectFit(key);
    expect(readKey(key)).toBeUndefined();
  });

  it('needs a scope path', () => {
    expect(() => scopeFolder('nonsense')).toThrow('expected level:name');
    expect(readKey('resources/builder/b0/other' as `${string}${ColumnName}`)).toBeUndefined();
  });
});
