// An ended run as it is delivered: a view of the run's final figures, and of its documents. Pure.

import type { Run } from '../attribution/model.js';
import type { DocumentFile, EndedRun, ScopeLine } from './model.js';

export interface EndedRunFacts {
  node: string;
  files: readonly DocumentFile[];
  allDead: boolean;
}

/** The run has its outcome and its end; its status may not be final yet. */
export function endedRun(run: Run, facts: EndedRunFacts): EndedRun {
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
    totals: run.totals.toColumns(),
    *scopes(): Iterable<ScopeLine> {
      for (const scope of run.scopes()) {
        yield { path: scope.path, self: scope.self.toColumns(), inclusive: scope.inclusive().toColumns() };
      }
    },
    files: facts.files,
  };
}
