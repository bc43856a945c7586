// The attempts of a run: the same id, started again after an end. Pure.

import type { Run, RunStore } from './model.js';

/** Those before this one that are stored, oldest first. */
export function earlierAttempts(store: Pick<RunStore, 'attempts' | 'byKey'>, run: Run): Run[] {
  const numbers = store.attempts(run.key).filter((attempt) => attempt < run.attempt);
  return numbers.flatMap((attempt) => store.byKey(run.key, attempt) ?? []);
}

/** Those after one, oldest first; a live one too. */
export function laterAttempts(
  store: Pick<RunStore, 'attempts' | 'byKey'>,
  key: string,
  attempt: number,
): Run[] {
  // The newest may have begun after the last checkpoint.
  const newest = store.byKey(key)?.attempt ?? attempt;
  const numbers = [...new Set([...store.attempts(key), newest])].filter((number) => number > attempt);
  return numbers.sort((a, b) => a - b).flatMap((number) => store.byKey(key, number) ?? []);
}
