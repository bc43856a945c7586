// The attempts of a run: the same id, started again after an end. Pure.

import type { Run, RunStore } from './model.js';

/** Those before this one that are stored, oldest first. */
export function earlierAttempts(store: Pick<RunStore, 'attempts' | 'byKey'>, run: Run): Run[] {
  const numbers = store.attempts(run.key).filter((attempt) => attempt < run.attempt);
  return numbers.flatMap((attempt) => store.byKey(run.key, attempt) ?? []);
}
