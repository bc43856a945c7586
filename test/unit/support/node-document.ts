// A node's summary document from native integers, with books that balance. Emits text; owns nothing.

import type { FinalStatus } from '../../../src/attribution/model.js';
import { baseOf } from '../../../src/files/exact.js';
import type { Natives } from '../../../src/files/node-summary.js';
import { COLUMN_LIST } from '../../../src/native/frame.js';

export interface NodeParts {
  node: string;
  bootId?: string;
  runId?: string;
  attempt?: number;
  status?: FinalStatus;
  reason?: string;
  endedAtMs?: number;
  cpus?: number;
  /** Stable fingerprint of its environment. */
  environment?: string;
  /** What each scope used itself, by path; only builders, so that inclusive is the same. */
  scopes: Record<string, Natives>;
  unattributed: Natives;
}

export function columnsOf(natives: Natives): Record<string, number> {
  return Object.fromEntries(
    COLUMN_LIST.flatMap(({ name, unit }) =>
      natives[name] === undefined ? [] : [[name, baseOf(natives[name], unit)]],
    ),
  );
}

/** Column by column: sums, and of a peak the greatest. */
export function added(all: readonly Natives[]): Natives {
  const sums: Natives = {};
  for (const { name, additive } of COLUMN_LIST) {
    const known = all.flatMap((natives) => natives[name] ?? []);
    if (known.length === 0) continue;
    sums[name] = known.reduce((a, b) => (additive ? a + b : a > b ? a : b));
  }
  return sums;
}

export function totalsOf({ scopes, unattributed }: NodeParts): Natives {
  return added([...Object.values(scopes), unattributed]);
}

export function nodeDocument(parts: NodeParts): string {
  const { node, scopes, unattributed, endedAtMs = 1_700_000_060_000, attempt = 1, cpus = 8 } = parts;
  const totals = totalsOf(parts);
  const inScopes = added(Object.values(scopes));
  const conservation = COLUMN_LIST.flatMap(({ name, unit, additive }) => {
    if (!additive || totals[name] === undefined) return [];
    const line = {
      scopes: inScopes[name] ?? 0n,
      unattributed: unattributed[name] ?? 0n,
      total: totals[name],
    };
    const texts = Object.fromEntries(Object.entries(line).map(([key, value]) => [key, String(value)]));
    return [[name, { unit, ...texts, residual: '0' }]];
  });
  const method = { method: 'measured', scopes_method: 'apportioned', source: 'proc_io', coverage: 0.5 };
  return `${JSON.stringify({
    schema: 'lezea.resources/v1',
    run: {
      id: parts.runId ?? 'demo',
      attempt,
      status: parts.status ?? 'FINISHED',
      ...(parts.reason && { reason: parts.reason }),
      user: 'me',
      started_at: new Date(endedAtMs - 60_000).toISOString(),
      ended_at: new Date(endedAtMs).toISOString(),
      tags: {},
      world_size: 2,
      processes: 0,
    },
    node: {
      name: node,
      boot_id: parts.bootId ?? `boot of ${node}`,
      architecture: 'x64',
      kernel: '6.1',
      cpus,
      memory_bytes: 1000,
    },
    ...(parts.environment && { environment: { fingerprint: parts.environment } }),
    totals: Object.fromEntries(
      Object.entries(columnsOf(totals)).map(([name, value]) => [name, { value, ...method }]),
    ),
    scopes: Object.entries(scopes).map(([path, natives]) => ({
      path,
      level: path.split(':')[0],
      name: path.split(':')[1],
      parent: null,
      self: columnsOf(natives),
      inclusive: columnsOf(natives),
    })),
    unattributed: columnsOf(unattributed),
    conservation: Object.fromEntries(conservation),
    processes: [],
    agent: { version: '0.1.0', lost_events: 0, coverage: 0.5 },
  })}\n`;
}
