// Delivers a run with a sink as the agent's courier does: stage by stage, in order, as many items together as the sink
// says. Without an outbox: what fails is thrown.

import type { MlflowSink } from '../../../src/delivery/mlflow/sink.js';
import type { Delivery, EndedRun, Item, Target } from '../../../src/delivery/model.js';

export const never = new AbortController().signal;

export function targetOf(address: string, runId: string): Target {
  return { kind: 'mlflow', address, settings: { mlflow_tracking_uri: address, mlflow_run_id: runId } };
}

let deliveries = 0;

export function deliveryOf(run: EndedRun, target: Target): Delivery {
  return { id: ++deliveries, target, run: { key: run.key, runId: run.runId, attempt: run.attempt } };
}

export function itemsOf(sink: MlflowSink, run: EndedRun, target: Target): Item[] {
  return [...sink.plan(run, target)].map((draft, id) => ({ ...draft, id }));
}

/** Resolves to the number of requests that carried items. */
export async function deliver(sink: MlflowSink, run: EndedRun, target: Target): Promise<number> {
  const delivery = deliveryOf(run, target);
  let left = itemsOf(sink, run, target).sort((a, b) => a.stage - b.stage || a.id - b.id);
  let sent = 0;
  while (left[0]) {
    const { stage } = left[0];
    const count = sink.together(
      delivery,
      left.filter((item) => item.stage === stage),
    );
    await sink.send(delivery, left.slice(0, count), never);
    left = left.slice(count);
    sent += 1;
  }
  return sent;
}
