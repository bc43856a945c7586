// Writes deploy/grafana/lezea-*.json from scripts/dashboards/. With --check nothing is written: exit 1 when a file is not
// what it would be.

import { readFile, writeFile } from 'node:fs/promises';
import { agent } from './dashboards/agent.mjs';
import { node } from './dashboards/node.mjs';
import { run } from './dashboards/run.mjs';

const folder = new URL('../deploy/grafana/', import.meta.url);
const check = process.argv.includes('--check');
const stale = [];
for (const dashboard of [node, run, agent]) {
  const file = new URL(`${dashboard.uid}.json`, folder);
  const text = `${JSON.stringify(dashboard, null, 2)}\n`;
  const current = await readFile(file, 'utf8').catch((error) => {
    if (error.code !== 'ENOENT') throw error;
  });
  if (current === text) continue;
  stale.push(`deploy/grafana/${dashboard.uid}.json`);
  if (!check) await writeFile(file, text);
}
if (!check) console.log(stale.length === 0 ? 'dashboards are fresh' : `written: ${stale.join(', ')}`);
else if (stale.length > 0) {
  console.error(`stale: ${stale.join(', ')}: run \`npm run docs\` and commit the result`);
  process.exit(1);
}
