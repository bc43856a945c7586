// Writes the references that are made from the program itself: docs/configuration.md, docs/metrics.md, docs/protocol.md,
// docs/schemas/.
// Reads the built program in dist/. With --check nothing is written: exit 1 when a file is not what it would be.

import { mkdir, readFile, writeFile } from 'node:fs/promises';

const dist = new URL('../dist/', import.meta.url);
const docs = new URL('../docs/', import.meta.url);

async function built(path) {
  try {
    return await import(new URL(path, dist));
  } catch (error) {
    if (error.code !== 'ERR_MODULE_NOT_FOUND') throw error;
    console.error(`${path} is not built: run \`npm run build\` first (${error.message})`);
    process.exit(2);
  }
}

async function documents() {
  const { describeConfig } = await built('config/describe.js');
  const { describeMetrics } = await built('metrics/describe.js');
  const { AgentRegistry } = await built('metrics/registry.js');
  const { httpCounters } = await built('http/counters.js');
  const { describeProtocol } = await built('ipc/describe.js');
  const { schemaOf } = await built('inventory/schema.js');
  const { costSchema } = await built('files/cost-document.js');
  const { constraintsSchema } = await built('files/constraints-document.js');
  const { metricsSchema } = await built('files/metrics-document.js');
  const { summarySchema } = await built('files/summary-schema.js');
  const { eventsSchema } = await built('files/event-line.js');
  const { hardwareUsageSchema } = await built('files/hardware-usage-document.js');
  const registry = new AgentRegistry();
  httpCounters(registry);
  return {
    'configuration.md': describeConfig(),
    'metrics.md': describeMetrics(registry.families()),
    'protocol.md': describeProtocol(),
    'schemas/environment.json': schemaOf(),
    'schemas/constraints.json': constraintsSchema(),
    'schemas/cost.json': costSchema(),
    'schemas/hardware-usage.json': hardwareUsageSchema(),
    'schemas/metrics.json': metricsSchema(),
    'schemas/summary.json': summarySchema(),
    'schemas/events.json': eventsSchema(),
  };
}

async function current(name) {
  try {
    return await readFile(new URL(name, docs), 'utf8');
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  }
}

const check = process.argv.includes('--check');
const stale = [];
await mkdir(new URL('schemas/', docs), { recursive: true });
for (const [name, text] of Object.entries(await documents())) {
  if ((await current(name)) === text) continue;
  stale.push(name);
  if (!check) await writeFile(new URL(name, docs), text);
}
if (!check) console.log(stale.length === 0 ? 'docs are fresh' : `written: ${stale.join(', ')}`);
else if (stale.length > 0) {
  console.error(
    `stale: ${stale.map((name) => `docs/${name}`).join(', ')}: run \`npm run docs\` and commit the result`,
  );
  process.exit(1);
}
