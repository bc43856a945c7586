// `events RUN`: a run's audit trail, one JSON object a line, as it is or in the shape of another tracking system.

import { connectToAgent } from '../../client/connection.js';
import { EVENT_SHAPES, type EventLine, type EventShape } from '../../files/event-shapes.js';
import { EVENTS_FILE } from '../../files/run-files.js';
import { fetchFile } from '../documents.js';
import { EXIT, type Io } from '../io.js';
import type { ReadOptions } from '../program.js';

export interface EventsOptions extends ReadOptions {
  as?: EventShape;
}

export async function eventsCommand(runId: string, options: EventsOptions, io: Io): Promise<number> {
  const connection = await connectToAgent(options);
  try {
    const text = (await fetchFile(connection, runId, EVENTS_FILE)).toString();
    if (options.as === undefined) {
      io.out(text);
      return EXIT.ok;
    }
    const { experiment } = await connection.request<{ experiment?: string }>('run.get', { run_id: runId });
    const context = experiment === undefined ? {} : { experiment };
    for (const line of text.split('\n').filter((one) => one !== '')) {
      for (const shaped of EVENT_SHAPES[options.as](JSON.parse(line) as EventLine, context)) {
        io.out(`${JSON.stringify(shaped)}\n`);
      }
    }
    return EXIT.ok;
  } finally {
    connection.close();
  }
}
