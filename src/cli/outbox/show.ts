// `outbox show ID`: one delivery and what is left of it; with --item, what an item says. Reads `outbox.show` and
// `outbox.item`; prints a table, the item's body, or the answers.

import { LezeaError } from '../../errors.js';
import { formatBytes, formatTable, printable } from '../format.js';
import { EXIT, type Io } from '../io.js';
import type { ReadOptions } from '../program.js';
import { idOf, type Shown, type ShownItem, type WholeItem, withAgent } from './ask.js';
import { formatDeliveries } from './list.js';

export function showCommand(word: string, options: ReadOptions & { item?: string }, io: Io): Promise<number> {
  const delivery = idOf(word);
  const item = options.item === undefined ? undefined : idOf(options.item, '--item');
  return withAgent(options, async (connection) => {
    if (item !== undefined) {
      return showItem(await connection.request<WholeItem>('outbox.item', { delivery, item }), options, io);
    }
    const shown = await connection.request<Shown>('outbox.show', { delivery });
    io.out(options.json ? `${JSON.stringify(shown, null, 2)}\n` : formatDelivery(shown));
    return EXIT.ok;
  });
}

function showItem(item: WholeItem, options: ReadOptions, io: Io): number {
  if (options.json) io.out(`${JSON.stringify(item, null, 2)}\n`);
  else if (item.body !== undefined) io.out(`${harmless(item.body)}\n`);
  if (item.damaged === undefined) return EXIT.ok;
  if (options.json) return EXIT.notFine;
  throw new LezeaError('damaged', `item ${item.id}: ${item.damaged}`);
}

/** The same JSON, with nothing in it that a terminal would obey: it may have come from elsewhere. */
function harmless(body: string): string {
  return body.replace(
    /[\u007F-\u009F\u2028-\u202E\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

function formatDelivery({ delivery, items, more }: Shown): string {
  const settings = Object.entries(delivery.settings).map(
    ([key, value]) => `${printable(`${key}: ${value}`)}\n`,
  );
  const cut = more ? `the first ${items.length} items; more are left\n` : '';
  return `${formatDeliveries([delivery])}\n${settings.join('')}\n${formatItems(items)}${cut}`;
}

function formatItems(items: readonly ShownItem[]): string {
  const inOrder = [...items].sort((a, b) => a.stage - b.stage || a.id - b.id);
  return formatTable(
    [
      { title: 'ITEM', align: 'right' },
      { title: 'STAGE', align: 'right' },
      { title: 'KIND' },
      { title: 'BY' },
      { title: 'DEAD' },
      { title: 'BYTES', align: 'right' },
      { title: 'SAID' },
    ],
    inOrder.map((item) => [
      String(item.id),
      String(item.stage),
      item.kind,
      item.by,
      item.dead ? 'dead' : '',
      formatBytes(item.bytes),
      item.error ?? '',
    ]),
  );
}
