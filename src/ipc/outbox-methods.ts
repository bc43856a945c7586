// The socket's methods that look into the outbox. Owns their shapes on the wire; part of the table in protocol.ts.

import { z } from 'zod';
import { method } from './method.js';
import { chunk, delivery, offset, text } from './shapes.js';

export const MAX_ITEMS = 1000;
/** Of a bundle in one request, bytes: as base64 in JSON it stays below the longest request. */
export const PUT_BYTES = 45_000;

const id = z.int().min(1);

const item = z.object({
  id: z.int(),
  stage: z.int().describe('Lower ones go first.'),
  kind: z.string(),
  by: z.enum(['agent', 'client']).describe('Who is to bring it.'),
  dead: z.boolean().describe('Its place will never take it.'),
  bytes: z.int().describe('Stored of it.'),
  error: z.string().optional().describe('What was said of it last; in a list, the beginning.'),
});

/** base64 of at most PUT_BYTES; longer ones fit in no request anyway. */
const data = z.base64().max(65_536).describe('Base64 of at most 45000 bytes.');

const imported = z.object({
  id: z.int(),
  run_id: z.string(),
  attempt: z.int(),
  sink: z.string().describe('Kind and address of the place.'),
  known: z.boolean().describe('It was there already.'),
  by: z.enum(['agent', 'client']).optional().describe('Who is to bring it, of a new one.'),
  reason: z.string().optional().describe('Why it is not the agent.'),
});

export const OUTBOX_METHODS = {
  'outbox.show': method({
    alone: true,
    dear: true,
    summary: 'A delivery and what is left of it to be delivered, by the items’ ids.',
    refuses: ['unknown_delivery'],
    params: z.object({
      delivery: id,
      after: z.int().min(0).default(0).describe('Only items with a greater id.'),
      limit: z.int().min(1).max(MAX_ITEMS).default(MAX_ITEMS),
    }),
    result: z.object({
      delivery: delivery.extend({
        key: z.string().describe('Of the run; deliveries with the same have their documents together.'),
        origin: z.string().describe('Of the making of the agent that the run ended on; nothing else has it.'),
        kind: z.enum(['mlflow', 'webhook']).describe('Of the place.'),
        address: z.string().describe('Of the place.'),
      }),
      items: z.array(item).max(MAX_ITEMS),
      more: z.boolean().describe('There are more items.'),
    }),
  }),
  'outbox.item': method({
    summary: 'One item of a delivery, whole.',
    refuses: ['unknown_delivery'],
    params: z.object({ delivery: id, item: id }),
    result: item.extend({
      body: z.string().optional().describe('JSON; absent where it is damaged.'),
      damaged: z.string().optional().describe('What is wrong with what is stored.'),
    }),
  }),
  'outbox.file': method({
    alone: true,
    summary:
      'A piece of a document that a delivery brings, at most 48 KiB; also of a run that came from elsewhere.',
    refuses: ['unknown_delivery'],
    params: z.object({
      delivery: id,
      file: text(256).describe('As the item names it.'),
      offset: offset.default(0).describe('Bytes.'),
    }),
    result: chunk,
  }),
  'outbox.import': method({
    dear: true,
    summary:
      'Begins to bring in a bundle of `lezea-monitor outbox export`. It belongs to the connection, and goes with it until ' +
      '`outbox.commit` was answered; a connection brings one at a time.',
    refuses: ['too_many'],
    params: z.object({ bytes: z.int().min(1).describe('Of the whole bundle.') }),
    result: z.object({}),
  }),
  'outbox.put': method({
    summary: 'The next piece of the bundle.',
    params: z.object({ offset: offset.describe('Bytes; where the last piece ended.'), data }),
    result: z.object({}),
  }),
  'outbox.commit': method({
    alone: true,
    dear: true,
    summary:
      'The bundle is there: it is checked whole and stored, all of it or nothing. Its deliveries are the caller’s from now ' +
      'on. One of an origin that the caller has a delivery of, waiting or delivered, is left alone.',
    params: z.object({}),
    result: z.object({
      imported: z.int().describe('Deliveries that are new.'),
      with_client: z.int().describe('Those of them that a client is to bring.'),
      known: z.int().describe('Deliveries that were there already.'),
      deliveries: z.array(imported).max(MAX_ITEMS).describe('At most 1000.'),
    }),
  }),
};
