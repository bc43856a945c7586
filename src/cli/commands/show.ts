// `show RUN`: one run's tree of totals. Reads its summary document, live while it runs; prints a table or the document.

import { connectToAgent } from '../../client/connection.js';
import type { SummaryDocument } from '../../files/summary-document.js';
import { fetchSummary } from '../documents.js';
import { formatSeconds, formatTime, printable } from '../format.js';
import { EXIT, type Io } from '../io.js';
import { formatLimits } from '../limits.js';
import type { ReadOptions } from '../program.js';
import { formatConservation, formatTree } from '../tree.js';

export async function showCommand(runId: string, options: ReadOptions, io: Io): Promise<number> {
  const connection = await connectToAgent(options);
  try {
    const document = await fetchSummary(connection, runId);
    io.out(options.json ? `${JSON.stringify(document, null, 2)}\n` : formatRun(document));
    return EXIT.ok;
  } finally {
    connection.close();
  }
}

/** Head, tree, limits where there are any, and conservation line. */
export function formatRun(document: SummaryDocument): string {
  const limits = formatLimits(document);
  return [
    formatHead(document),
    formatTree(document),
    ...(limits === '' ? [] : [limits]),
    formatConservation(document),
  ].join('\n');
}

function formatHead({ run, node, agent, environment, cost }: SummaryDocument): string {
  const seconds =
    run.ended_at === undefined ? undefined : (Date.parse(run.ended_at) - Date.parse(run.started_at)) / 1000;
  const what = [run.experiment, run.name].filter((part) => part !== undefined).join(' / ');
  const attempt = run.attempt > 1 ? ` (attempt ${run.attempt})` : '';
  const lines = [
    `${run.id}${attempt}  ${run.status}${run.reason ? `: ${run.reason}` : ''}`,
    ...(what === '' ? [] : [what]),
    `started ${formatTime(run.started_at)}` +
      (seconds === undefined
        ? `, ${run.processes} processes now`
        : // The wall clock may have been set back in between.
          `, took ${formatSeconds(seconds < 0 ? undefined : seconds)}`) +
      ` on ${node.name} as ${run.user}`,
  ];
  if (environment?.run_fingerprint !== undefined) lines.push(`fingerprint ${environment.run_fingerprint}`);
  if (cost)
    lines.push(`cost ${cost.total.toPrecision(4)} ${cost.currency}, without ${cost.unpriced.join(', ')}`);
  if (agent.coverage !== undefined && agent.coverage < 0.9995) {
    lines.push(`observed ${(100 * agent.coverage).toFixed(1)} % of its time`);
  }
  if (agent.lost_events > 0) lines.push(`${agent.lost_events} events lost`);
  return lines.map((line) => `${printable(line)}\n`).join('');
}
