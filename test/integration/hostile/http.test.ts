// The real agent's HTTP server under hostile clients: others are served, memory stays within bounds.

import { connect, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { loadAddon } from '../../../src/native/addon.js';
import { AgentProcess } from '../../unit/support/agent-process.js';
import { temporaryFolder } from '../../unit/support/bench.js';
import { Client } from '../../unit/support/ipc-bench.js';

let folder: ReturnType<typeof temporaryFolder>;
let agent: AgentProcess;
let http: string;
let client: Client;
const sockets: Socket[] = [];

beforeAll(async () => {
  folder = temporaryFolder();
  agent = new AgentProcess(folder.path, { probe: true });
  http = (await agent.ready()).http as string;
  client = await Client.connect(agent.socket);
  await client.result('run.start', { run_id: 'r' });
  const t_ns = Number(loadAddon().monotonicNs());
  const { session } = await client.result('session.open', { run_id: 'r', t_ns });
  for (let batch = 0; batch < 4; batch += 1) {
    const scopes = Array.from({ length: 500 }, (_, n) => {
      const id = batch * 500 + n + 1;
      return { id, parent: 0, level: 'layer', name: `l${id}` };
    });
    client.notify('scope.define', { session, scopes });
  }
  await client.result('run.usage', { run_id: 'r', fresh: true });
  expect((await scrape()).split('\n').length).toBeGreaterThan(2000);
});

afterAll(() => {
  client.close();
  agent.child.kill('SIGKILL');
  folder.remove();
});

afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
});

const scrape = async () => {
  const answer = await fetch(`http://${http}/metrics`, { headers: { connection: 'close' } });
  expect(answer.status).toBe(200);
  return answer.text();
};

/** A connection that sends this and never reads. */
function deaf(text: string): Promise<Socket> {
  const [host, port] = http.split(':');
  const socket = connect(Number(port), host);
  sockets.push(socket);
  socket.on('error', () => undefined);
  socket.pause();
  return new Promise((resolve) => {
    socket.once('connect', () => {
      if (text !== '') socket.write(text);
      resolve(socket);
    });
  });
}

const get = (headers = '') => `GET /metrics HTTP/1.1\r\nHost: localhost\r\n${headers}\r\n`;

it.each([
  ['1 000 connections that say nothing', 1000, ''],
  ['1 000 that never end their heads', 1000, 'GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: '],
  ['200 that never read a page of thousands of series', 200, get()],
  ['200 that ask ten times at once and never read', 200, get().repeat(10)],
  ['100 with a head that is too big', 100, get(`X: ${'x'.repeat(20_000)}\r\n`)],
  ['100 with very many kinds of Accept', 100, get(`Accept: ${'text/plain;q=0.5,'.repeat(400)}*/*\r\n`)],
])('%s: others are served', async (title, count, text) => {
  await scrape();
  const before = agent.memory();
  agent.forgetPeak();
  await agent.loopDelay();
  await Promise.all(Array.from({ length: count }, () => deaf(text)));
  const begun = performance.now();
  // A connection of ours may have been taken for one of theirs: a scraper tries again.
  await expect
    .poll(() => scrape().catch((error: Error) => error.message), { timeout: 10_000 })
    .toContain('# HELP');
  const took = performance.now() - begun;
  const stop = await agent.loopDelay();
  const { peak } = agent.memory();
  const figures = `${title}: memory ${before.now.toFixed(0)} MiB, peak ${peak.toFixed(0)}; loop stopped ${stop.toFixed(0)} ms; scraped in ${took.toFixed(0)} ms`;
  process.stdout.write(`${figures}\n`);
  expect(peak - before.now, figures).toBeLessThan(120);
  // Other programs have the processors too: it is not for ever.
  expect(stop, figures).toBeLessThan(5000);
  await client.result('agent.health');
});
