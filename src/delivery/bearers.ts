// Keeps items by who is to bring them: of one delivery, the figures may be the agent's and the documents a client's.

import type { Draft } from './model.js';
import type { Outbox } from './outbox.js';
import type { Place } from './targets.js';

/** Items that write documents: whoever can write to where they lie brings them. */
const OF_DOCUMENTS = new Set(['artifact', 'merge']);

export function addDrafts(outbox: Outbox, delivery: number, drafts: readonly Draft[], place: Place): void {
  for (const bearer of ['agent', 'client'] as const) {
    const theirs = drafts.filter(
      ({ kind }) => bearer === (OF_DOCUMENTS.has(kind) ? place.documents : place.bearer),
    );
    if (theirs.length > 0) outbox.add(delivery, theirs, bearer);
  }
}
