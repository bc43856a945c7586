// What of a place's last words is about the place alone: an address, a run's id or a path in them may be another's. Pure.

import type { SinkState } from './outbox.js';

/** As it is shown to those whose deliveries the words are not about. */
export function aboutPlace(state: SinkState): SinkState {
  const { error, refused, delivery: _others, ...rest } = state;
  return {
    ...rest,
    ...(error !== undefined && { error: classOf(error) }),
    ...(refused !== undefined && { refused: classOf(refused) }),
  };
}

/** Status or error code, which stand behind what was asked: `POST http://…: 503 (…)`, `…: connect ECONNREFUSED …`. */
function classOf(words: string): string {
  const [, status] = /: ([1-5]\d\d)(?![^\s(:;])/.exec(words) ?? [];
  if (status !== undefined) return `it answers ${status}`;
  const [code] = /\b(?:E[A-Z]{4,}|CERT_[A-Z_]+|[A-Z_]+_CERT[A-Z_]*)\b/.exec(words) ?? [];
  return code === undefined ? 'it does not take totals' : `it cannot be reached: ${code}`;
}
