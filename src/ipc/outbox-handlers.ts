// The socket's methods that look into the outbox. Owns nothing.

import type { Deliveries } from '../delivery/deliveries.js';
import type { Handlers } from './dispatch.js';
import type { OUTBOX_METHODS } from './outbox-methods.js';
import { deliveryView, itemView } from './views.js';

/** Longest piece of a document, bytes. */
const CHUNK_BYTES = 49_152;
/** Of what is said of an item, in a list; characters. */
const SAID_CHARS = 300;

export function outboxViewHandlers(deliveries: Deliveries): Pick<Handlers, keyof typeof OUTBOX_METHODS> {
  return {
    'outbox.show': ({ caller }, { delivery, after, limit }) => {
      const { state, items } = deliveries.show(caller, delivery, { after, limit: limit + 1 });
      const { origin, run, target } = state;
      const place = { kind: target.kind, address: target.address };
      return {
        delivery: { ...deliveryView(state), key: run.key, origin, ...place },
        items: items
          .slice(0, limit)
          .map(itemView)
          .map((item) => (item.error ? { ...item, error: item.error.slice(0, SAID_CHARS) } : item)),
        more: items.length > limit,
      };
    },
    'outbox.item': ({ caller }, { delivery, item }) => {
      const { body, damaged, ...state } = deliveries.item(caller, delivery, item);
      return { ...itemView(state), ...(damaged === undefined ? { body: body ?? '' } : { damaged }) };
    },
    'outbox.file': async ({ caller }, { delivery, file, offset }) => {
      const piece = await deliveries.piece(caller, delivery, { file, offset, limit: CHUNK_BYTES });
      return { file, offset, size: piece.size, data: piece.data.toString('base64'), eof: piece.eof };
    },
  };
}
