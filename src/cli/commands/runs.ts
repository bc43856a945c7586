// `runs`: the runs that the agent knows, newest first. Reads `run.list`; prints a table or {runs: […]}.

import { connectToAgent } from '../../client/connection.js';
import { formatCount, formatSeconds, formatTable, formatTime } from '../format.js';
import { EXIT, type Io } from '../io.js';
import type { ReadOptions } from '../program.js';

/** One entry of `run.list`. */
export interface ListedRun {
  run_id: string;
  experiment?: string;
  name?: string;
  status: string;
  started_at: string;
  ended_at?: string;
  owner_uid: number;
  processes: number;
  cpu_seconds?: number;
}

export async function runsCommand(options: ReadOptions, io: Io): Promise<number> {
  const connection = await connectToAgent(options);
  try {
    const answer = await connection.request<{ runs: ListedRun[] }>('run.list');
    if (options.json) io.out(`${JSON.stringify({ runs: answer.runs }, null, 2)}\n`);
    else io.out(answer.runs.length === 0 ? 'no runs\n' : formatRuns(answer.runs));
    return EXIT.ok;
  } finally {
    connection.close();
  }
}

export function formatRuns(runs: readonly ListedRun[]): string {
  return formatTable(
    [
      { title: 'RUN' },
      { title: 'STATUS' },
      { title: 'STARTED' },
      { title: 'DURATION', align: 'right' },
      { title: 'CPU', align: 'right' },
      { title: 'PROCESSES', align: 'right' },
      { title: 'EXPERIMENT' },
      { title: 'NAME' },
    ],
    runs.map((run) => [
      run.run_id,
      run.status,
      formatTime(run.started_at),
      formatSeconds(durationSeconds(run)),
      formatSeconds(run.cpu_seconds),
      formatCount(run.processes),
      run.experiment ?? '',
      run.name ?? '',
    ]),
  );
}

function durationSeconds(run: ListedRun): number | undefined {
  const started = Date.parse(run.started_at);
  const ended = run.ended_at === undefined ? Date.now() : Date.parse(run.ended_at);
  // The wall clock may have been set back in between.
  return Number.isNaN(started) || Number.isNaN(ended) || ended < started
    ? undefined
    : (ended - started) / 1000;
}
