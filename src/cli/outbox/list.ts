// `outbox ls`: what is still to be delivered, and how the places do. Reads `outbox.list`; prints two tables or its answer.

import {
  formatBytes,
  formatCount,
  formatSeconds,
  formatTable,
  formatTime,
  type TableColumn,
} from '../format.js';
import { EXIT, type Io } from '../io.js';
import { checkRunId, type Listed, type ListedDelivery, withAgent } from './ask.js';
import type { ListOptions } from './program.js';

export async function listCommand(options: ListOptions, io: Io): Promise<number> {
  checkRunId(options.run);
  const filter = { all: options.all === true, ...(options.run === undefined ? {} : { run_id: options.run }) };
  const listed = await withAgent(options, (connection) => connection.request<Listed>('outbox.list', filter));
  io.out(options.json ? `${JSON.stringify(listed, null, 2)}\n` : formatList(listed));
  const isFine =
    listed.deliveries.every(({ dead }) => dead === 0) &&
    listed.sinks.every(({ refused }) => refused === undefined);
  return isFine ? EXIT.ok : EXIT.notFine;
}

function formatList({ deliveries, sinks, more }: Listed): string {
  if (deliveries.length === 0) return 'nothing waits to be delivered\n';
  const cut = more ? `the newest ${deliveries.length}; older ones by --run RUN\n` : '';
  return `${formatDeliveries(deliveries)}${cut}\n${formatSinks(sinks)}`;
}

const right = (title: string): TableColumn => ({ title, align: 'right' });
const left = (title: string): TableColumn => ({ title });

export function formatDeliveries(deliveries: readonly ListedDelivery[]): string {
  const nowMs = Date.now();
  return formatTable(
    [
      ...[right('ID'), left('RUN'), right('ATTEMPT'), left('STATE'), right('WAITING'), right('WITH CLIENT')],
      ...[right('DEAD'), right('DELIVERED'), right('BYTES'), right('AGE'), left('SINK'), left('SAID')],
    ],
    deliveries.map((delivery) => [
      String(delivery.id),
      delivery.run_id,
      String(delivery.attempt),
      delivery.state,
      formatCount(delivery.waiting),
      formatCount(delivery.with_client),
      formatCount(delivery.dead),
      formatCount(delivery.delivered),
      formatBytes(delivery.bytes),
      // The wall clock may have been set back in between.
      formatSeconds(Math.max(0, nowMs - Date.parse(delivery.created_at)) / 1000),
      delivery.sink,
      delivery.error ?? '',
    ]),
  );
}

function formatSinks(sinks: Listed['sinks']): string {
  return formatTable(
    [left('SINK'), left('LAST DELIVERED'), right('FAILURES'), left('NEXT TRY'), left('SAID')],
    sinks.map((sink) => [
      sink.name,
      formatTime(sink.last_delivered_at),
      formatCount(sink.failures),
      formatTime(sink.retry_at),
      sink.refused === undefined ? (sink.error ?? '') : `refused: ${sink.refused}`,
    ]),
  );
}
