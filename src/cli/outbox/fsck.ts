// `outbox fsck`: whether all that is undelivered can be delivered: every item readable, every document that one names there
// with its size and SHA-256. Reads over the socket; changes nothing.

import { printable } from '../format.js';
import { EXIT, type Io } from '../io.js';
import type { ReadOptions } from '../program.js';
import { withAgent } from './ask.js';
import { Contents, type Damage } from './contents.js';
import { Progress } from './progress.js';

export function fsckCommand(options: ReadOptions, io: Io): Promise<number> {
  const progress = new Progress(io);
  return withAgent(options, async (connection) => {
    const contents = new Contents(connection);
    const ids = await contents.deliveries({});
    let items = 0;
    for (const [index, id] of ids.entries()) {
      progress.say(() => `${index} of ${ids.length} deliveries`);
      for await (const _item of contents.items(await contents.delivery(id))) items += 1;
    }
    progress.end();
    const { damaged, documents } = contents;
    const counts = { deliveries: ids.length, items: items + damaged.length, documents: documents.size };
    const found = { ok: damaged.length === 0, ...counts, damaged };
    if (options.json) io.out(`${JSON.stringify(found, null, 2)}\n`);
    else io.out(`${damaged.map(damageLine).join('')}${formatFound(found)}`);
    return found.ok ? EXIT.ok : EXIT.notFine;
  }).finally(() => progress.end());
}

export function damageLine({ delivery, item, what }: Damage): string {
  return `${printable(`delivery ${delivery}, item ${item}: ${what}`)}\n`;
}

function formatFound(found: { ok: boolean; deliveries: number; items: number; documents: number }): string {
  const { ok, deliveries, items, documents } = found;
  const what = `${deliveries} deliveries, ${items} items, ${documents} documents`;
  return `${what}: ${ok ? 'fine' : 'not fine'}\n`;
}
