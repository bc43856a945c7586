// The outbox's families, lezea_agent_outbox_* and lezea_agent_sink_*: what waits for which place, and how the places do.
// Reads the figures at each scrape; emits const families.

import type { SinkFigures } from '../delivery/outbox.js';
import type { FamilyHeader } from './encoder.js';
import type { ConstFamily, Figure } from './registry.js';

interface OutboxFamily extends FamilyHeader {
  figures(sink: SinkFigures): Omit<Figure, 'suffix'>[] | number | undefined;
}

const FAMILIES: readonly OutboxFamily[] = [
  {
    name: 'lezea_agent_outbox_items',
    type: 'gauge',
    labels: ['sink', 'waits_for'],
    help:
      'Undelivered items: for the agent, for a process of the run (client), or for nobody (dead: refused for good). ' +
      'sink="(clients)": all places that only programs themselves can write to.',
    figures: ({ waiting, withClient, dead }) =>
      Object.entries({ agent: waiting, client: withClient, dead }).map(([waits, value]) => ({
        labels: { waits_for: waits },
        value,
      })),
  },
  {
    name: 'lezea_agent_outbox_bytes',
    type: 'gauge',
    labels: ['sink'],
    help: 'Bytes stored of undelivered items.',
    figures: ({ bytes }) => bytes,
  },
  {
    name: 'lezea_agent_outbox_oldest_age_seconds',
    type: 'gauge',
    labels: ['sink'],
    help: 'Age of the oldest delivery that is not done.',
    figures: ({ oldestMs }) => (oldestMs === undefined ? undefined : oldestMs / 1000),
  },
  {
    name: 'lezea_agent_sink_consecutive_failures',
    type: 'gauge',
    labels: ['sink'],
    help: 'Requests to a tracker that failed one after the other; 0: the last was fine.',
    figures: ({ failures }) => failures,
  },
  {
    name: 'lezea_agent_sink_refused',
    type: 'gauge',
    labels: ['sink'],
    help: 'Whether a tracker does not let the agent in (401, 403): what waits for it is kept.',
    figures: ({ refused }) => (refused ? 1 : 0),
  },
  {
    name: 'lezea_agent_sink_last_success_timestamp_seconds',
    type: 'gauge',
    labels: ['sink'],
    help: 'When a tracker last took something, seconds since 1970.',
    figures: ({ deliveredMs }) => (deliveredMs === undefined ? undefined : deliveredMs / 1000),
  },
];

/** The families, each asking for the figures when it is collected. */
export function outboxFamilies(sinks: () => readonly SinkFigures[]): ConstFamily[] {
  return FAMILIES.map(({ figures, ...header }) => ({
    ...header,
    collect: () => sinks().flatMap((sink) => figuresOf(sink, figures(sink))),
  }));
}

function figuresOf({ sink }: SinkFigures, figures: ReturnType<OutboxFamily['figures']>): Figure[] {
  if (figures === undefined) return [];
  const each = typeof figures === 'number' ? [{ value: figures }] : figures;
  return each.map(({ labels, value }: Figure) => ({ labels: { sink, ...labels }, value }));
}
