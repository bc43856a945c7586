// The socket's methods that look into the outbox. Owns their shapes on the wire; part of the table in protocol.ts.

import { z } from 'zod';
import { method } from './method.js';
import { chunk, delivery, offset, text } from './shapes.js';

export const MAX_ITEMS = 1000;

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
        kind: z.string().describe('Of the place.'),
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
};
