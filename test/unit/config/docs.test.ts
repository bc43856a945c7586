// The generated references in docs/ say what the program says now.

import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { describeConfig } from '../../../src/config/describe.js';
import { constraintsSchema } from '../../../src/files/constraints-document.js';
import { costSchema } from '../../../src/files/cost-document.js';
import { eventsSchema } from '../../../src/files/event-line.js';
import { hardwareUsageSchema } from '../../../src/files/hardware-usage-document.js';
import { metricsSchema } from '../../../src/files/metrics-document.js';
import { summarySchema } from '../../../src/files/summary-schema.js';
import { httpCounters } from '../../../src/http/counters.js';
import { schemaOf } from '../../../src/inventory/schema.js';
import { describeProtocol } from '../../../src/ipc/describe.js';
import { describeMetrics } from '../../../src/metrics/describe.js';
import { AgentRegistry } from '../../../src/metrics/registry.js';

function counted() {
  const registry = new AgentRegistry();
  httpCounters(registry);
  return registry.families();
}

it.each([
  ['configuration.md', describeConfig],
  ['metrics.md', () => describeMetrics(counted())],
  ['protocol.md', describeProtocol],
  ['schemas/environment.json', schemaOf],
  ['schemas/constraints.json', constraintsSchema],
  ['schemas/cost.json', costSchema],
  ['schemas/hardware-usage.json', hardwareUsageSchema],
  ['schemas/metrics.json', metricsSchema],
  ['schemas/summary.json', summarySchema],
  ['schemas/events.json', eventsSchema],
])('docs/%s is fresh (else: npm run docs)', (name, describe) => {
  const written = readFileSync(new URL(`../../../docs/${name}`, import.meta.url), 'utf8');
  expect(written).toBe(describe());
});
