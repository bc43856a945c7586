// `npm run demo`: an agent of its own (user mode, free port, temporary state folder), a real nested workload through the
// Python client, a live view, then the run's tree of totals and the checks. Ends with 1 if anything did not hold.
// Reads dist/ and python/; owns the agent, the workload and the temporary folder while it lasts.

import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { checkEvents, checkFigures, checkScrape } from './demo-checks.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const READY_MS = 15_000;
const VIEW_MS = 1000;

const children = new Set();

/** A child that ends with this script, whatever ends this script. */
function start(command, args, options) {
  const child = spawn(command, args, { cwd: root, ...options });
  children.add(child);
  child.ended = new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      children.delete(child);
      resolve({ code, signal });
    });
  });
  // Whoever waits for the end hears of the error too.
  child.ended.catch(() => children.delete(child));
  return child;
}

/** Starts the agent and waits until it says where it listens. */
async function startAgent(folder) {
  mkdirSync(join(folder, 'run'), { mode: 0o700 });
  const socket = join(folder, 'run', 'agent.sock');
  const state = join(folder, 'state');
  const args = ['bin/lezea-monitor.js', 'agent', '--set', 'agent.mode=user', '--listen', '127.0.0.1:0'];
  const child = start(
    process.execPath,
    [...args, '--socket', socket, '--state-dir', state, '--log-level', 'warn'],
    { stdio: ['ignore', 'inherit', 'inherit'] },
  );
  const about = join(state, 'agent.json');
  for (const deadline = Date.now() + READY_MS; Date.now() < deadline; ) {
    if (child.exitCode !== null) throw new Error(`the agent ended with ${child.exitCode}`);
    if (existsSync(about))
      return { child, socket, state, http: JSON.parse(readFileSync(about, 'utf8')).http };
    await Promise.race([sleep(50), child.ended]);
  }
  throw new Error(`the agent was not ready within ${READY_MS} ms`);
}

function startWorkload(agent, truthFile) {
  const { LEZEA_RUN_ID: _outer, ...env } = process.env;
  const child = start('python3', ['examples/demo/workload.py', truthFile], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...env, PYTHONPATH: join(root, 'python'), LEZEA_MONITOR_SOCKET: agent.socket },
  });
  child.stdout.setEncoding('utf8');
  return child;
}

/** Shows what is going on until the workload ends: a table that is redrawn on a terminal, plain lines elsewhere. */
async function watch(agent, workload, tools) {
  const connection = await tools.connectToAgent({ socket: agent.socket });
  const view = { drawn: 0, runId: undefined };
  let partial = '';
  workload.stdout.on('data', (text) => {
    const lines = (partial + text).split('\n');
    partial = lines.pop();
    for (const line of lines) {
      view.runId ??= /^run (\S+)$/.exec(line)?.[1];
      erase(view);
      process.stdout.write(`  ${line}\n`);
    }
  });
  let over = false;
  const ended = workload.ended.finally(() => {
    over = true;
  });
  while (!over) {
    await Promise.race([sleep(VIEW_MS), ended]);
    if (view.runId && !over) await draw(view, connection, tools);
  }
  erase(view);
  connection.close();
  return { ...(await ended), runId: view.runId };
}

async function draw(view, connection, tools) {
  const document = await tools.fetchSummary(connection, view.runId);
  const cpu = document.totals.cpu_seconds?.value ?? 0;
  const line = `${document.run.processes} processes, ${document.scopes.length} scopes, ${cpu.toFixed(2)} s of CPU so far`;
  if (!process.stdout.isTTY) {
    process.stdout.write(`  … ${line}\n`);
    return;
  }
  const busiest = [...document.scopes].sort((a, b) => (b.self.cpu_seconds ?? 0) - (a.self.cpu_seconds ?? 0));
  const text = `${tools.formatTree({ ...document, scopes: topScopes(document.scopes, busiest.slice(0, 8)) })}${line}\n`;
  erase(view);
  process.stdout.write(text);
  view.drawn = text.split('\n').length - 1;
}

/** The busiest scopes with their ancestors, in tree order. */
function topScopes(all, busiest) {
  const wanted = new Set(
    busiest.flatMap(({ path }) => path.split('/').map((_, at, steps) => steps.slice(0, at + 1).join('/'))),
  );
  return all.filter(({ path }) => wanted.has(path));
}

/** Takes the live table off the terminal. */
function erase(view) {
  if (view.drawn > 0) process.stdout.write(`\u001b[${view.drawn}A\u001b[J`);
  view.drawn = 0;
}

/** The document of the ended run and everything that can be checked about it. */
async function report(agent, runId, truthFile, tools) {
  const connection = await tools.connectToAgent({ socket: agent.socket });
  const { key, attempt } = await connection.request('run.get', { run_id: runId });
  const document = await tools.fetchSummary(connection, runId);
  connection.close();
  const folder = join(agent.state, 'runs', key, String(attempt));
  const files = [join(folder, 'resources', 'summary.json'), join(folder, 'events.jsonl')];
  const scrape = await fetch(`http://${agent.http}/metrics`);
  const onDisk = JSON.parse(readFileSync(files[0], 'utf8'));
  process.stdout.write(
    `\n${tools.formatRun(document)}\nwritten:\n${files.map((file) => `  ${file}\n`).join('')}`,
  );
  return [
    ...checkFigures(document, JSON.parse(readFileSync(truthFile, 'utf8'))),
    {
      name: 'summary.json is what the agent serves',
      ok: JSON.stringify(onDisk) === JSON.stringify(document),
      detail: onDisk.schema,
    },
    checkEvents(readFileSync(files[1], 'utf8'), runId),
    checkScrape(scrape.ok ? await scrape.text() : `status ${scrape.status}`, document),
  ];
}

function printChecks(checks) {
  process.stdout.write('\nchecks:\n');
  for (const { name, ok, detail } of checks) {
    process.stdout.write(`  ${ok ? 'ok  ' : 'FAIL'}  ${name} (${detail})\n`);
  }
  return checks.every(({ ok }) => ok);
}

async function loadTools() {
  const { connectToAgent } = await import('../dist/client/connection.js');
  const { fetchSummary } = await import('../dist/cli/documents.js');
  const { formatRun } = await import('../dist/cli/commands/show.js');
  const { formatTree } = await import('../dist/cli/tree.js');
  return { connectToAgent, fetchSummary, formatRun, formatTree };
}

async function main() {
  const tools = await loadTools();
  const folder = mkdtempSync(join(tmpdir(), 'lezea-demo-'));
  const truthFile = join(folder, 'workload.json');
  const agent = await startAgent(folder);
  process.stdout.write(`agent ready; while this lasts, scrape it at http://${agent.http}/metrics\n\n`);
  const { code, signal, runId } = await watch(agent, startWorkload(agent, truthFile), tools);
  if (code !== 0 || !runId) throw new Error(`the workload ended with ${signal ?? code}`);
  const fine = printChecks(await report(agent, runId, truthFile, tools));
  agent.child.kill('SIGTERM');
  const stopped = await agent.child.ended;
  const clean = stopped.code === 0;
  process.stdout.write(
    `\n${fine && clean ? 'everything held' : 'something did not hold'}; files stay in ${folder}\n`,
  );
  if (!clean)
    process.stderr.write(`demo: the agent ended with ${stopped.signal ?? stopped.code}: expected 0\n`);
  return fine && clean ? 0 : 1;
}

function stopChildren() {
  for (const child of children) child.kill('SIGTERM');
}

process.once('SIGINT', () => {
  stopChildren();
  process.exitCode = 130;
});
try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`demo: ${error.message}\n`);
  process.exitCode = 1;
} finally {
  stopChildren();
}
