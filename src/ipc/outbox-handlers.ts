// The socket's methods that look into the outbox, and that bring bundles of other agents into it. Owns nothing.

import type { Limiter } from '../attribution/limits.js';
import type { Deliveries } from '../delivery/deliveries.js';
import type { Imported } from '../delivery/importing/storing.js';
import { commonKey, type Item } from '../delivery/model.js';
import { LezeaError } from '../errors.js';
import type { Connection } from './connection.js';
import type { Handlers } from './dispatch.js';
import { MAX_ITEMS, type OUTBOX_METHODS } from './outbox-methods.js';
import type { Result } from './protocol.js';
import { deliveryView, itemView } from './views.js';

/** Longest piece of a document, bytes. */
const CHUNK_BYTES = 49_152;
/** Items that are taken at once, and what is around one of them: with the rest of the answer it stays below 64 KiB. */
const TAKEN_BYTES = 64_000;
const ITEM_BYTES = 64;
/** Of what is said of an item, in a list; characters. */
const SAID_CHARS = 300;

type Ours = keyof typeof OUTBOX_METHODS;
type Importing = 'outbox.import' | 'outbox.put' | 'outbox.commit';

type TakenItem = Pick<Item, 'id' | 'kind' | 'body'>;

interface Deps {
  deliveries: Deliveries;
  limiter: Limiter;
}

export function outboxViewHandlers({ deliveries }: Deps): Pick<Handlers, Exclude<Ours, Importing>> {
  return {
    'outbox.show': ({ caller }, { delivery, after, limit }) => {
      const { state, items } = deliveries.show(caller, delivery, { after, limit: limit + 1 });
      const { origin, run, target } = state;
      const place = { kind: target.kind, address: target.address };
      return {
        delivery: { ...deliveryView(state), key: commonKey(run), origin, ...place },
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

export function importHandlers({ deliveries, limiter }: Deps): Pick<Handlers, Importing> {
  const { imports } = deliveries;
  return {
    'outbox.import': (connection, { bytes }) => {
      const { caller } = connection;
      if (connection.import) throw refused('a bundle is on its way: expected one at a time');
      limiter.admitOwner('imports', caller.owner, imports.held('imports'));
      const more = { owner: caller.owner, count: bytes - 1 };
      limiter.admitOwner('importBytes', caller.owner, [...imports.held('bytes'), more]);
      connection.import = imports.begin(caller, bytes);
      return {};
    },
    'outbox.put': (connection, { offset, data }) => {
      importOf(connection).put(offset, Buffer.from(data, 'base64'));
      return {};
    },
    'outbox.commit': async (connection) => {
      const from = importOf(connection);
      try {
        const imported = await imports.commit(from, limiter.limits.importBytes);
        deliveries.wake();
        return importView(imported);
      } finally {
        if (connection.import === from) connection.import = undefined;
      }
    },
  };
}

/** The first, and those after it that fit in as well. */
export function inOneAnswer(items: readonly Item[]): TakenItem[] {
  const fitting: TakenItem[] = [];
  let bytes = 0;
  for (const { id, kind, body } of items) {
    bytes += Buffer.byteLength(JSON.stringify(body)) + ITEM_BYTES;
    if (fitting.length > 0 && bytes > TAKEN_BYTES) break;
    fitting.push({ id, kind, body });
  }
  return fitting;
}

function importOf({ import: begun }: Connection) {
  if (!begun) throw refused('no bundle: expected outbox.import before');
  return begun;
}

function refused(message: string): LezeaError {
  return new LezeaError('invalid_params', message);
}

function importView(imported: readonly Imported[]): Result<'outbox.commit'> {
  const fresh = imported.filter(({ known }) => !known);
  return {
    imported: fresh.length,
    with_client: fresh.filter(({ bearer }) => bearer === 'client').length,
    known: imported.length - fresh.length,
    deliveries: imported.slice(0, MAX_ITEMS).map(({ id, run, sink, known, bearer, reason }) => ({
      id,
      run_id: run.runId,
      attempt: run.attempt,
      sink,
      known,
      ...(bearer === undefined ? {} : { by: bearer }),
      ...(reason === undefined ? {} : { reason }),
    })),
  };
}
