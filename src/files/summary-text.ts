// The text of a run's document, piece by piece: one scope and one process a line. The run must be over, or
// frozen, so that the pieces agree with one another however long it takes. Emits the same document that buildSummary makes at once.

import type { ProcessTotals, Run } from '../attribution/model.js';
import {
  ScopeSum,
  type SummaryContext,
  summaryAgent,
  summaryHead,
  summaryProcess,
  summaryScope,
  summaryTail,
} from './summary.js';

/** Pieces of JSON; together they are one document. */
export function* summaryText(
  run: Run,
  processes: readonly ProcessTotals[],
  context: SummaryContext,
): Generator<string> {
  yield `{\n${members(summaryHead(run, context))},\n"scopes": [`;
  const sum = new ScopeSum();
  let before = '\n  ';
  for (const scope of run.scopes()) {
    sum.add(scope);
    yield before + JSON.stringify(summaryScope(scope));
    before = ',\n  ';
  }
  yield `\n],\n${members(summaryTail(run, sum))},\n"processes": [`;
  before = '\n  ';
  for (const process of processes) {
    yield before + JSON.stringify(summaryProcess(process));
    before = ',\n  ';
  }
  yield `\n],\n${members({ agent: summaryAgent(run, context) })}\n}\n`;
}

/** The members of an object without its braces, one a line. */
function members(part: object): string {
  return Object.entries(part)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${JSON.stringify(key)}: ${JSON.stringify(value)}`)
    .join(',\n');
}
