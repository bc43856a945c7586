// The direction of imports (CONTRIBUTING, ARCHITECTURE): data flows from the kernel to the sinks, so no layer may know the
// ones above it, and the sinks do not know each other.

import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { expect, it } from 'vitest';

const SRC = resolve(import.meta.dirname, '../../../src');

/** Layers each may import from, beside itself and the files directly under src/ (errors, log, version). */
const ALLOWED: Record<string, string[]> = {
  native: [],
  inventory: [],
  gpu: ['inventory', 'native'],
  preflight: ['gpu', 'inventory'],
  config: ['native'],
  attribution: ['native'],
  state: ['attribution', 'delivery', 'native'],
  files: ['attribution', 'inventory', 'native'],
  metrics: ['attribution', 'config', 'delivery', 'gpu', 'native'],
  ipc: ['attribution', 'delivery', 'inventory', 'native'],
  http: ['attribution', 'metrics', 'native'],
  delivery: ['attribution', 'files', 'native'],
  agent: [
    'attribution',
    'config',
    'delivery',
    'files',
    'gpu',
    'http',
    'inventory',
    'ipc',
    'metrics',
    'native',
    'state',
  ],
};

function importsOf(file: string): string[] {
  const text = readFileSync(file, 'utf8');
  return [...text.matchAll(/(?:from|import\() ?'(\.[^']+)'/g)].map((match) => match[1]!);
}

it('goes upstream only', () => {
  const faults: string[] = [];
  for (const [layer, allowed] of Object.entries(ALLOWED)) {
    for (const name of readdirSync(join(SRC, layer), { recursive: true, encoding: 'utf8' })) {
      if (!name.endsWith('.ts')) continue;
      const file = join(SRC, layer, name);
      for (const target of importsOf(file)) {
        const [other, below] = relative(SRC, resolve(dirname(file), target)).split('/');
        const fine = below === undefined || other === layer || allowed.includes(other!);
        if (!fine) faults.push(`${layer}/${name} imports ${target}`);
      }
    }
  }
  expect(faults).toEqual([]);
});
