// What a webhook gets of an ended run: JSON objects, one a line, each saying by itself whose it is. Reads the run; writes
// nothing. Their shape is in docs/delivery.md; nothing is taken from it or given another meaning without a new schema.

import type { EndedRun } from '../model.js';

export const LINE_SCHEMA = 'lezea.webhook/v1';

/** Longer tags, as JSON, have lines of their own, bytes: the rest of the line about the run may have as much as 36 KiB. */
const MAX_TAGS_BYTES = 4096;

/** One line; `type` says what it is about. */
export type Line = { schema: string; type: string } & Record<string, unknown>;

/** The run, its scopes, and last how many lines there are: the same ones in the same order every time. */
export function* linesOf(run: EndedRun): Generator<Line> {
  const { runId: run_id, attempt, node } = run;
  const delivery = `${run.key}-${attempt}`;
  let line = 0;
  for (const { type, ...facts } of factsOf(run)) {
    line += 1;
    yield { schema: LINE_SCHEMA, type, delivery, line, run_id, attempt, node, ...facts };
  }
  line += 1;
  yield { schema: LINE_SCHEMA, type: 'end', delivery, line, run_id, attempt, node, lines: line };
}

type Facts = { type: string } & Record<string, unknown>;

function* factsOf(run: EndedRun): Generator<Facts> {
  const isLong = Buffer.byteLength(JSON.stringify(run.tags)) > MAX_TAGS_BYTES;
  yield { ...runFacts(run), ...(isLong ? {} : { tags: run.tags }) };
  if (isLong) for (const [key, value] of Object.entries(run.tags)) yield { type: 'tag', key, value };
  for (const { path, self, inclusive } of run.scopes()) yield { type: 'scope', path, self, inclusive };
}

function runFacts({ outcome, experiment, name, rank, startedAtMs, endedAtMs, totals }: EndedRun): Facts {
  return {
    type: 'run',
    status: outcome.status,
    ...(outcome.reason !== undefined && { reason: outcome.reason }),
    started_at: new Date(startedAtMs).toISOString(),
    ended_at: new Date(endedAtMs).toISOString(),
    ...(experiment !== undefined && { experiment }),
    ...(name !== undefined && { name }),
    ...(rank !== undefined && { rank }),
    totals,
  };
}
