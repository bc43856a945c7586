// An ended run to deliver, without an agent: as many scopes and columns as a test asks for, and documents in memory.

import { createHash } from 'node:crypto';
import type { Columns } from '../../../src/attribution/totals.js';
import type { EndedRun, ScopeLine } from '../../../src/delivery/model.js';
import { COLUMN_LIST, DECIMALS } from '../../../src/native/frame.js';

export interface EndedRunOptions extends Partial<Omit<EndedRun, 'scopes' | 'files'>> {
  /** Default: two, nested. */
  scopes?: readonly ScopeLine[];
  /** Text by path; default: a small resources/summary.json and events.jsonl. */
  documents?: Readonly<Record<string, string>>;
}

export interface EndedRunWithFiles extends EndedRun {
  /** As a sink's option of the same name. */
  readFile(run: { key: string }, path: string): Promise<Buffer>;
}

/** A value for every column, never a round one and never the same twice. */
export function everyColumn(seed: number): Columns {
  return Object.fromEntries(
    COLUMN_LIST.map(({ name, index, unit }) => {
      const whole = seed * 1000 + index + 1;
      const decimals = DECIMALS[unit];
      return [name, decimals > 0 ? whole / 1e3 + 10 ** -decimals : whole];
    }),
  );
}

/** That many scopes with every column, ten layers to a builder. */
export function manyScopes(count: number): ScopeLine[] {
  return Array.from({ length: count }, (_, n) => ({
    path: n % 10 === 0 ? `builder:b${n}` : `builder:b${n - (n % 10)}/layer:l${n}`,
    self: everyColumn(n + 1),
    inclusive: everyColumn(n + 100_001),
  }));
}

export function endedRun(options: EndedRunOptions = {}): EndedRunWithFiles {
  const { scopes = manyScopes(2), documents = DOCUMENTS, ...fields } = options;
  const bytes = new Map(Object.entries(documents).map(([path, text]) => [path, Buffer.from(text)]));
  return {
    key: 'k0123456789abcdef',
    runId: 'demo',
    attempt: 1,
    outcome: { status: 'FINISHED' },
    allDead: true,
    startedAtMs: 1_700_000_000_000,
    endedAtMs: 1_700_000_060_000,
    node: 'node-a',
    tags: {},
    totals: everyColumn(0),
    ...fields,
    scopes: () => scopes,
    files: [...bytes].map(([path, data]) => ({
      path,
      bytes: data.length,
      sha256: createHash('sha256').update(data).digest('hex'),
    })),
    readFile: async (_run, path) => {
      const found = bytes.get(path);
      if (!found) throw new Error(`no document ${path}`);
      return found;
    },
  };
}

const DOCUMENTS = {
  'resources/summary.json': '{"schema":"lezea.resources/v1","run":{"id":"demo"}}\n',
  'events.jsonl': '{"seq":1}\n',
};
