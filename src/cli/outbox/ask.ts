// What the `outbox` commands ask the agent for, and the words of the command line that they share. Owns nothing.

import type { AgentConnection } from '../../client/connection.js';
import { connectToAgent } from '../../client/connection.js';
import type { Result } from '../../ipc/protocol.js';
import { usageError } from '../io.js';
import type { ReadOptions } from '../program.js';

export type Listed = Result<'outbox.list'>;
export type ListedDelivery = Listed['deliveries'][number];
export type Shown = Result<'outbox.show'>;
export type ShownItem = Shown['items'][number];
export type WholeItem = Result<'outbox.item'>;

export async function withAgent<T>(
  options: ReadOptions,
  work: (connection: AgentConnection) => Promise<T>,
): Promise<T> {
  const connection = await connectToAgent(options);
  try {
    return await work(connection);
  } finally {
    connection.close();
  }
}

/** The number that a word is. */
export function idOf(word: string, what = 'ID'): number {
  if (!/^[1-9][0-9]{0,14}$/.test(word)) throw usageError(`${what} ${word}: expected a number from the list`);
  return Number(word);
}

export function checkRunId(run: string | undefined): void {
  if (run !== undefined && !/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(run)) {
    throw usageError(`--run ${run}: expected [A-Za-z0-9][A-Za-z0-9._-]{0,63}`);
  }
}

/** Every delivery that is asked for, page by page, newest first. */
export async function* everyDelivery(
  connection: AgentConnection,
  filter: { run_id?: string } = {},
): AsyncGenerator<ListedDelivery> {
  for (let before: number | undefined; ; ) {
    const ask = { ...filter, ...(before === undefined ? {} : { before }) };
    const { deliveries, more } = await connection.request<Listed>('outbox.list', ask);
    yield* deliveries;
    before = deliveries.at(-1)?.id;
    if (!more || before === undefined) return;
  }
}
