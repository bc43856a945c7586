// One node's part of a run, ended and ready to be delivered, with the documents that go with it. Emits values; owns nothing.

import type { EndedRun } from '../../../src/delivery/model.js';
import type { Natives } from '../../../src/files/node-summary.js';
import { COLUMN_LIST } from '../../../src/native/frame.js';
import { type EndedRunWithFiles, endedRun } from './ended-run.js';
import { added, columnsOf, type NodeParts, nodeDocument, totalsOf } from './node-document.js';

export interface NodeRun extends EndedRunWithFiles {
  /** Summaries of its attempts, oldest first. */
  documents: string[];
  parts: NodeParts[];
}

const SUMMARY = 'resources/summary.json';

function natives(seed: number): Natives {
  return Object.fromEntries(
    COLUMN_LIST.map(({ name, index }) => [name, BigInt(seed * 1_000_003 + index * 977 + 1)]),
  );
}

/** The seed decides the figures. `earlier`: the attempt before this one. */
export function nodeRun(
  what: Omit<NodeParts, 'scopes' | 'unattributed'>,
  seed: number,
  earlier?: NodeRun,
): NodeRun {
  const scopes = { 'builder:b0': natives(seed + 1), [`layer:of ${what.node}`]: natives(seed + 2) };
  const own = { ...what, scopes, unattributed: natives(seed + 3) };
  const parts = [...(earlier?.parts ?? []), own];
  const documents = parts.map(nodeDocument);
  const { status = 'FINISHED', reason, attempt = 1 } = what;
  const files = (text = '') =>
    endedRun({ documents: { [SUMMARY]: text, 'events.jsonl': '{"seq":1}\n' } }).files;
  const attempts = documents.map((text, n) => ({ attempt: n + 1, files: files(text) }));
  const paths = [...new Set(parts.flatMap((one) => Object.keys(one.scopes)))];
  const run: EndedRun = endedRun({
    key: `key-of-${what.node}`,
    node: what.node,
    attempt,
    outcome: { status, ...(reason === undefined ? {} : { reason }) },
    endedAtMs: what.endedAtMs ?? 1_700_000_060_000,
    totals: columnsOf(added(parts.map(totalsOf))),
    scopes: paths.map((path) => {
      const columns = columnsOf(added(parts.flatMap((one) => one.scopes[path] ?? [])));
      return { path, self: columns, inclusive: columns };
    }),
  });
  return {
    ...run,
    files: files(documents.at(-1)).map((file) => {
      const replaces = attempts
        .slice(0, -1)
        .flatMap((one) => one.files.filter(({ path }) => path === file.path));
      const hashes = replaces.map(({ sha256 }) => sha256).filter((sha256) => sha256 !== file.sha256);
      return hashes.length === 0 ? file : { ...file, replaces: hashes };
    }),
    ...(attempts.length > 1 && { attempts }),
    spansNodes: true,
    documents,
    parts,
    readFile: async (_run, path) => {
      const number = /attempts\/(\d+)\//.exec(path)?.[1];
      const text = documents[number === undefined ? documents.length - 1 : Number(number) - 1] ?? '';
      return Buffer.from(path.endsWith('summary.json') ? text : '{"seq":1}\n');
    },
  };
}
