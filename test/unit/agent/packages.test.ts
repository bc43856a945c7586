// Where what is shipped imports packages: every dependency is used, nothing is used that is no dependency, and each package that
// the project was planned with is there. Reads package.json and the sources of what it ships.

import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

const ROOT = resolve(import.meta.dirname, '../../..');
const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  files: string[];
  dependencies: Record<string, string>;
  devDependencies: Record<string, string>;
};

/** Header by which C++ has a package of headers alone. */
const HEADERS: Record<string, string> = { 'napi.h': 'node-addon-api' };

/** Files below a path, relative to the root. */
function filesOf(path: string): string[] {
  if (statSync(join(ROOT, path)).isFile()) return [path];
  return readdirSync(join(ROOT, path), { recursive: true, encoding: 'utf8', withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)));
}

/** The sources of what `files` ships; src stands for dist, which is made from it. */
function shippedSources(): string[] {
  const paths = manifest.files.filter((path) => !/[!*]/.test(path));
  const left = manifest.files.filter((path) => path.startsWith('!')).map((path) => `${path.slice(1)}/`);
  return paths
    .map((path) => (path === 'dist' ? 'src' : path))
    .flatMap(filesOf)
    .filter((file) => !left.some((path) => file.startsWith(path)));
}

/** Names of packages that a source imports; what is imported for its types alone is not there any more when it runs. */
function importsOf(file: string, text: string): string[] {
  if (/\.(cc|h)$/.test(file))
    return [...text.matchAll(/^#include <([^>]+)>/gm)].flatMap(([, header = '']) => HEADERS[header] ?? []);
  if (!/\.([cm]?[jt]s|gyp)$/.test(file) && !text.startsWith('#!/usr/bin/env node')) return [];
  const found = text.matchAll(
    /^(?:import|export)(?! type\b)[\w\s*{},$]*?\bfrom\s+['"]([^'"]+)['"]|^import\s+['"]([^'"]+)['"]|\b(?:import|require)\(\\?['"]([^'"\\]+)/gm,
  );
  return [...found]
    .map(([, from, alone, called]) => from ?? alone ?? called ?? '')
    .filter((name) => /^[@a-z]/.test(name) && !name.startsWith('node:'))
    .map((name) => /^(@[^/]+\/)?[^/]+/.exec(name)![0]);
}

function importers(files: string[]): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const file of files)
    for (const name of new Set(importsOf(file, readFileSync(join(ROOT, file), 'utf8'))))
      found.set(name, [...(found.get(name) ?? []), file]);
  return found;
}

const shipped = importers(shippedSources());
const tested = importers(filesOf('test').filter((file) => file.endsWith('.ts')));

function where(files: string[] = []): string {
  const rest = files.length > 4 ? `, and ${files.length - 3} more` : '';
  return `${files.slice(0, rest ? 3 : 4).join(', ') || 'nowhere'}${rest}`;
}

describe('a package that the project was planned with is imported by what is shipped', () => {
  const planned = ['systeminformation', 'node-addon-api', 'prom-client', 'express', 'zod', 'node-nvidia-smi'];
  it.each(planned.map((name) => [name, where(shipped.get(name))]))('%s: %s', (name) => {
    expect(manifest.dependencies).toHaveProperty(name);
    expect(shipped.get(name)).not.toBeUndefined();
  });

  it(`vitest, by the tests alone: ${where(tested.get('vitest'))}`, () => {
    expect(manifest.devDependencies).toHaveProperty('vitest');
    expect(shipped.get('vitest')).toBeUndefined();
    expect(tested.get('vitest')).not.toBeUndefined();
  });
});

it('every dependency is imported by what is shipped, and nothing that is none', () => {
  expect([...shipped.keys()].sort()).toEqual(Object.keys(manifest.dependencies).sort());
});

it.each([
  ['systeminformation', 'src/inventory/systeminformation'],
  ['node-nvidia-smi', 'src/gpu/nvidia-smi'],
])('%s is imported in its fenced child alone, which nothing imports', (name, asking) => {
  expect(shipped.get(name)).toEqual([`${asking}-child.ts`]);
  const child = `${asking.split('/').at(-1)}-child`;
  const naming = shippedSources().filter(
    (file) => file.endsWith('.ts') && readFileSync(join(ROOT, file), 'utf8').includes(child),
  );
  expect(naming).toEqual([`${asking}.ts`]);
  expect(readFileSync(join(ROOT, naming[0]!), 'utf8')).not.toMatch(
    new RegExp(`(from|import\\() ?'[^']*${child}`),
  );
});

it('an import is found however it is written', () => {
  const text = [
    "import { a } from 'one';",
    'import {\n  b,\n  c,\n} from "two/part";',
    "import 'three';",
    "export { d } from '@scope/four/part';",
    "const e = await import('five');",
    "const f = require('six');",
    "import type { G } from 'types';",
    "import { h } from './own.js';",
    "import { i } from 'node:fs';",
  ].join('\n');
  expect(importsOf('x.ts', text)).toEqual(['one', 'two', 'three', '@scope/four', 'five', 'six']);
  expect(importsOf('x.cc', '#include <napi.h>\n#include <vector>\n')).toEqual(['node-addon-api']);
});
