// An ended run as it is delivered: the sums over its attempts, and the documents of the last. Reads the runs; emits columns
// in base units, added up as the integers that they are.

import type { Facts } from '../attribution/facts.js';
import type { Run, Totals as RunTotals } from '../attribution/model.js';
import { type Columns, Totals } from '../attribution/totals.js';
import { COLUMN_LIST } from '../native/frame.js';
import type { AttemptDocuments, DocumentFile, EndedRun, ScopeLine } from './model.js';

export interface EndedRunFacts {
  node: string;
  files: readonly DocumentFile[];
  allDead: boolean;
  /** The attempts before this one. */
  earlier: readonly Run[];
  /** Their documents, oldest first; perhaps not of all. */
  earlierFiles?: readonly AttemptDocuments[];
  /** Where it is known what the run ran on. */
  environmentFingerprint?: string;
  runFingerprint?: string;
  /** What was said of it. */
  facts?: Facts;
}

/** The run has its outcome and its end; its status may not be final yet. */
export function endedRun(run: Run, facts: EndedRunFacts): EndedRun {
  const attempts = [run, ...facts.earlier];
  const { earlierFiles = [] } = facts;
  return {
    key: run.key,
    runId: run.runId,
    attempt: run.attempt,
    outcome: {
      status: run.status as EndedRun['outcome']['status'],
      ...(run.reason === undefined ? {} : { reason: run.reason }),
    },
    allDead: facts.allDead,
    startedAtMs: run.startedAtMs,
    endedAtMs: run.endedAtMs ?? run.startedAtMs,
    node: facts.node,
    ...(run.experiment === undefined ? {} : { experiment: run.experiment }),
    ...(run.name === undefined ? {} : { name: run.name }),
    tags: run.tags,
    totals: sumOf(attempts.map(({ totals }) => totals)),
    scopes: () => linesOf(attempts),
    files: facts.files.map((file) => withReplaced(file, earlierFiles)),
    ...(earlierFiles.length > 0 && {
      attempts: [...earlierFiles, { attempt: run.attempt, files: facts.files }],
    }),
    ...(facts.environmentFingerprint !== undefined && {
      environmentFingerprint: facts.environmentFingerprint,
    }),
    ...(facts.runFingerprint !== undefined && { runFingerprint: facts.runFingerprint }),
    ...(facts.facts && { facts: facts.facts }),
    ...(spansNodes(run) && { spansNodes: true }),
    ...(run.rank === undefined ? {} : { rank: run.rank }),
  };
}

/** A run with ranks may have them on other nodes, unless it said that all of them are here. */
function spansNodes({ rank, worldSize, localWorldSize = 0 }: Run): boolean {
  if (worldSize === undefined) return rank !== undefined;
  return worldSize > Math.max(1, localWorldSize);
}

function withReplaced(file: DocumentFile, earlier: readonly AttemptDocuments[]): DocumentFile {
  const older = earlier.flatMap(({ files }) => files.filter(({ path }) => path === file.path));
  const replaces = [...new Set(older.map(({ sha256 }) => sha256))].filter((sha256) => sha256 !== file.sha256);
  return replaces.length === 0 ? file : { ...file, replaces };
}

/** Every scope that any attempt had, in the order they were first met. */
function* linesOf(attempts: readonly Run[]): Generator<ScopeLine> {
  const paths = new Set<string>();
  for (const attempt of attempts) {
    for (const { path } of attempt.scopes()) {
      if (paths.has(path)) continue;
      if (attempts.length > 1) paths.add(path);
      const scopes = attempts.flatMap((each) => each.scope(path) ?? []);
      yield {
        path,
        self: sumOf(scopes.map(({ self }) => self)),
        inclusive: sumOf(scopes.map((scope) => scope.inclusive())),
      };
    }
  }
}

/** Attempts come one after the other: what they used adds up, and the highest peak is the peak. */
export function sumOf(totals: readonly RunTotals[]): Columns {
  const [first, ...rest] = totals;
  if (!first) return {};
  const columns = Totals.sum(first, rest).toColumns();
  for (const { name, additive } of COLUMN_LIST) {
    const peaks = additive ? [] : totals.flatMap((each) => each.value(name) ?? []);
    if (peaks.length > 0) columns[name] = Math.max(...peaks);
  }
  return columns;
}
