// `outbox retry [ID…|--all]`: tries deliveries again, now. Sends `outbox.retry`; prints what became of each, or its answers.

import { EXIT, type Io, usageError } from '../io.js';
import type { ReadOptions } from '../program.js';
import { everyDelivery, idOf, type ListedDelivery, withAgent } from './ask.js';
import { formatDeliveries } from './list.js';

export function retryCommand(
  words: readonly string[],
  options: ReadOptions & { all?: boolean },
  io: Io,
): Promise<number> {
  if (options.all === true && words.length > 0)
    throw usageError(`${words[0]}: expected ids or --all, not both`);
  if (options.all !== true && words.length === 0) throw usageError('expected ids of deliveries, or --all');
  const named = words.map((word) => idOf(word));
  return withAgent(options, async (connection) => {
    const ids = options.all ? await undelivered(connection) : named;
    const deliveries: ListedDelivery[] = [];
    for (const delivery of ids) deliveries.push(await connection.request('outbox.retry', { delivery }));
    if (options.json) io.out(`${JSON.stringify({ deliveries }, null, 2)}\n`);
    else io.out(deliveries.length === 0 ? 'nothing waits to be delivered\n' : formatDeliveries(deliveries));
    return EXIT.ok;
  });
}

async function undelivered(connection: Parameters<typeof everyDelivery>[0]): Promise<number[]> {
  const ids: number[] = [];
  for await (const { id, state } of everyDelivery(connection)) if (state !== 'pending') ids.push(id);
  return ids;
}
