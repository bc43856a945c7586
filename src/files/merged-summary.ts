// The summary of a run on several nodes, put together from the nodes' own. Pure: the same documents, in whatever order and
// however often each, give the same bytes. There is no time of making in it, and nobody's name who made it.

import type { FinalStatus } from '../attribution/model.js';
import { BADNESS } from '../attribution/parts.js';
import { COLUMN_LIST, type Column } from '../native/frame.js';
import { mergeScopes, mergeUnattributed, sumTotals } from './merged-figures.js';
import type { NodeSummary } from './node-summary.js';
import {
  type MergedSummary,
  type MergedTotal,
  SUMMARY_SCHEMA,
  type SummaryConservation,
  type SummaryScope,
  type SummaryTotal,
} from './summary-document.js';

/** Which documents there are, each once, in an order that does not depend on how they were found. */
export function inOrder(documents: Iterable<NodeSummary>): NodeSummary[] {
  const once = new Map([...documents].map((document) => [document.sha256, document]));
  return [...once.values()].sort(
    (a, b) =>
      compare(a.node.name, b.node.name) || a.run.attempt - b.run.attempt || compare(a.sha256, b.sha256),
  );
}

/** Of each node the documents of its last attempt: they say how the run came out. */
export function lastAttempts(documents: readonly NodeSummary[]): NodeSummary[] {
  const last = new Map<string, number>();
  for (const { node, run } of documents) last.set(node.name, Math.max(run.attempt, last.get(node.name) ?? 0));
  return documents.filter(({ node, run }) => run.attempt === last.get(node.name));
}

/** At least one document. */
export function mergeSummaries(found: Iterable<NodeSummary>): MergedSummary {
  const documents = inOrder(found);
  const last = lastAttempts(documents);
  const nodes = [...new Map(last.toReversed().map(({ node }) => [node.boot_id, node])).values()].toReversed();
  return {
    schema: SUMMARY_SCHEMA,
    merged_from: documents.map(({ node, run, sha256 }) => ({
      node: node.name,
      attempt: run.attempt,
      sha256,
    })),
    run: mergeRun(documents, last),
    nodes,
    ...mergeEnvironments(last),
    hosts: {
      count: nodes.length,
      cpus: sum(nodes.map(({ cpus }) => cpus)),
      memory_bytes: sum(nodes.map(({ memory_bytes: bytes }) => bytes)),
    },
    totals: mergeTotals(documents),
    scopes: mergeScopes(documents),
    unattributed: mergeUnattributed(documents),
    conservation: mergeConservation(documents),
    agent: {
      versions: [...new Set(documents.map(({ agent }) => agent.version))].sort(compare),
      lost_events: sum(documents.map(({ agent }) => agent.lost_events)),
    },
  };
}

/** As the document lies at the tracker: one scope a line. */
export function mergedText({ scopes, unattributed, conservation, agent, ...head }: MergedSummary): string {
  const lines = scopes.map((scope: SummaryScope) => `\n  ${JSON.stringify(scope)}`);
  return `{\n${members(head)},\n"scopes": [${lines.join(',')}\n],\n${members({ unattributed, conservation, agent })}\n}\n`;
}

function mergeRun(documents: readonly NodeSummary[], last: readonly NodeSummary[]): MergedSummary['run'] {
  const { experiment, name, user, world_size: worldSize } = firstKnown(documents);
  const status = last.map(({ run }) => run.status).reduce(worse);
  const told = last.find(({ run }) => run.status === status && run.reason !== undefined);
  const ends = documents.flatMap(({ run }) => run.ended_at ?? []).sort(compare);
  return {
    id: documents[0]?.run.id ?? '',
    ...(experiment === undefined ? {} : { experiment }),
    ...(name === undefined ? {} : { name }),
    attempt: Math.max(...documents.map(({ run }) => run.attempt)),
    status,
    ...(told ? { reason: `${told.node.name}: ${told.run.reason}` } : {}),
    user: user ?? '',
    started_at: documents.map(({ run }) => run.started_at).sort(compare)[0] ?? '',
    ...(ends.length > 0 ? { ended_at: ends.at(-1) } : {}),
    tags: Object.assign({}, ...documents.map(({ run }) => run.tags)),
    ...(worldSize === undefined ? {} : { world_size: worldSize }),
  };
}

function mergeEnvironments(last: readonly NodeSummary[]): Pick<MergedSummary, 'environments'> {
  const known = last.flatMap(({ node, environment }) =>
    environment ? [[node.name, environment.fingerprint] as const] : [],
  );
  return known.length === 0 ? {} : { environments: Object.fromEntries(known) };
}

/** Of what every node should say alike, what the first says that says it. */
function firstKnown(documents: readonly NodeSummary[]): Partial<NodeSummary['run']> {
  return Object.assign({}, ...documents.map(({ run }) => run).toReversed());
}

function worse(one: FinalStatus, other: FinalStatus): FinalStatus {
  return BADNESS.indexOf(other) > BADNESS.indexOf(one) ? other : one;
}

function mergeTotals(documents: readonly NodeSummary[]): MergedSummary['totals'] {
  const totals: MergedSummary['totals'] = {};
  for (const column of COLUMN_LIST) {
    const known = documents.filter((document) => document.totals[column.name]);
    if (known.length > 0) totals[column.name] = mergeTotal(documents, known, column);
  }
  return totals;
}

function mergeTotal(
  documents: readonly NodeSummary[],
  known: readonly NodeSummary[],
  column: Column,
): MergedTotal {
  const parts = known.flatMap((document) => document.totals[column.name] ?? []);
  const methods = parts.flatMap((part) => part.scopes_method ?? []);
  const coverages = parts.flatMap((part) => part.coverage ?? []);
  const knowing = new Set(known.map(({ node }) => node.name));
  const unknown = new Set(documents.map(({ node }) => node.name).filter((name) => !knowing.has(name)));
  return {
    value: sumTotals(known, column),
    ...(column.additive ? {} : { nodes: peaks(known, column) }),
    method: parts.some(({ method }) => method === 'estimated') ? 'estimated' : 'measured',
    ...(methods.length > 0 ? { scopes_method: loosest(methods) } : {}),
    source: [...new Set(parts.map(({ source }) => source))].sort(compare).join('+'),
    ...(coverages.length > 0 ? { coverage: Math.min(...coverages) } : {}),
    ...(unknown.size > 0 ? { unknown_on: [...unknown] } : {}),
  };
}

function loosest(methods: NonNullable<SummaryTotal['scopes_method']>[]): SummaryTotal['scopes_method'] {
  return (['estimated', 'apportioned', 'measured'] as const).find((method) => methods.includes(method));
}

function peaks(known: readonly NodeSummary[], column: Column): Record<string, number> {
  const nodes = [...new Set(known.map(({ node }) => node.name))];
  return Object.fromEntries(
    nodes.map((name) => [
      name,
      sumTotals(
        known.filter(({ node }) => node.name === name),
        column,
      ),
    ]),
  );
}

/** The nodes' books, added up: they balance because each of them does. */
function mergeConservation(documents: readonly NodeSummary[]): MergedSummary['conservation'] {
  const lines: MergedSummary['conservation'] = {};
  for (const { name, unit } of COLUMN_LIST) {
    const parts = documents.flatMap(({ conservation }) => conservation[name] ?? []);
    if (parts.length === 0) continue;
    const add = (key: 'scopes' | 'unattributed' | 'total') =>
      parts.reduce((total, part) => total + BigInt(part[key]), 0n);
    const [scopes, unattributed, total] = [add('scopes'), add('unattributed'), add('total')];
    const residual = total - scopes - unattributed;
    lines[name] = {
      unit,
      scopes: String(scopes),
      unattributed: String(unattributed),
      total: String(total),
      residual: String(residual),
    } satisfies SummaryConservation;
  }
  return lines;
}

/** The members of an object without its braces, one a line. */
function members(part: object): string {
  return Object.entries(part)
    .map(([key, value]) => `${JSON.stringify(key)}: ${JSON.stringify(value)}`)
    .join(',\n');
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

/** By code units: the same everywhere. */
function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
