// A run of a whole agent: waited for over the socket, and what the tracker has to have of it, by the agent's own document.

import { expect } from 'vitest';
import { fetchSummary } from '../../../src/cli/documents.js';
import { type AgentConnection, connectToAgent } from '../../../src/client/connection.js';
import { scopeFolder, scopeKey, totalKey } from '../../../src/delivery/mlflow/keys.js';
import type { SummaryDocument } from '../../../src/files/summary-document.js';
import type { ColumnName } from '../../../src/native/frame.js';
import { type Bench, SUMMARY, tagsOf } from './bench.js';

export interface ListedDelivery {
  id: number;
  run_id: string;
  state: string;
  waiting: number;
  dead: number;
  delivered_at?: string;
}

export async function asked<T>(socket: string, work: (agent: AgentConnection) => Promise<T>): Promise<T> {
  const connection = await connectToAgent({ socket });
  try {
    return await work(connection);
  } finally {
    connection.close();
  }
}

/** The run's summary once it has ended. */
export function ended(socket: string, runId: string): Promise<SummaryDocument> {
  return asked(socket, async (agent) => {
    const poll = () => agent.request<{ status: string }>('run.get', { run_id: runId });
    await expect
      .poll(async () => ['RUNNING', 'FINISHING'].includes((await poll()).status), { timeout: 20_000 })
      .toBe(false);
    return fetchSummary(agent, runId);
  });
}

export function delivered(socket: string, runId: string): Promise<ListedDelivery> {
  return asked(socket, async (agent) => {
    const params = { run_id: runId, all: true };
    const list = async () =>
      (await agent.request<{ deliveries: ListedDelivery[] }>('outbox.list', params)).deliveries;
    await expect.poll(list, { timeout: 60_000 }).toMatchObject([{ state: 'delivered' }]);
    return (await list())[0]!;
  });
}

/** What the document says, under the names that the tracker has for it; zeros are left out. */
export function expectedMetrics(summary: SummaryDocument): Record<string, number> {
  const expected: Record<string, number> = {};
  const put = (key: string, value: number | undefined) => {
    if (value !== undefined && value !== 0) expected[key] = value;
  };
  for (const [column, total] of Object.entries(summary.totals))
    put(totalKey(column as ColumnName), total.value);
  for (const scope of summary.scopes) {
    const at = scopeFolder(scope.path);
    for (const share of ['self', 'inclusive'] as const) {
      for (const [column, value] of Object.entries(scope[share])) {
        put(scopeKey(at, share, column as ColumnName), value);
      }
    }
  }
  return expected;
}

/** Every figure of the document once, its words, and the document itself. */
export async function expectThere(bench: Bench, mlflowRun: string, summary: SummaryDocument): Promise<void> {
  const stored = await bench.stored(mlflowRun);
  const { status, reason = '', attempt, id } = summary.run;
  const rows = bench.server.metricRows(mlflowRun);
  expect(Object.fromEntries(rows.map(({ key, value }) => [key, value]))).toEqual(expectedMetrics(summary));
  expect(new Set(rows.map(({ key }) => key)).size).toBe(rows.length);
  expect(tagsOf(stored)).toMatchObject({
    'lezea_monitor.status': status,
    'lezea_monitor.reason': reason,
    'lezea_monitor.run_id': id,
    'lezea_monitor.node': summary.node.name,
    'lezea_monitor.attempt': String(attempt),
  });
  expect(JSON.parse(String(bench.server.artifact(mlflowRun, SUMMARY)))).toEqual(summary);
  expect(bench.server.artifact(mlflowRun, 'events.jsonl')?.length).toBeGreaterThan(0);
}
