// SOCKET SECONDS: round trips of run.usage at 1 000 a second, and of fresh ones at 20, in turns with a server of Node's
// own that answers the same lines from memory. Milliseconds of each.
import { fork } from 'node:child_process';
import { createServer, connect } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const TURN_MS = 500;

/** One connection that sends a line and waits for one, like the agent's clients. */
class Asker {
  #socket;
  #rest = '';
  #waiting = new Map();
  #id = 0;

  static async open(path) {
    const asker = new Asker();
    asker.#socket = connect(path);
    await new Promise((resolve, reject) => asker.#socket.once('connect', resolve).once('error', reject));
    asker.#socket.setEncoding('utf8').on('data', (text) => asker.#receive(text));
    return asker;
  }

  ask(method, params) {
    const id = ++this.#id;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#socket.write(`${JSON.stringify({ jsonrpc: '2.0', id, method, params })}\n`);
    });
  }

  close() {
    this.#socket.destroy();
  }

  #receive(text) {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop();
    for (const line of lines) {
      const reply = JSON.parse(line);
      const waiting = this.#waiting.get(reply.id);
      this.#waiting.delete(reply.id);
      if (reply.error) waiting?.reject(new Error(JSON.stringify(reply.error)));
      else waiting?.resolve(reply.result);
    }
  }
}

/** Asks at a steady rate, whether answers are there or not; how long each took. */
async function paced(ask, perSecond, forMs) {
  const took = [];
  const open = [];
  const begun = performance.now();
  for (let i = 0; performance.now() - begun < forMs; ) {
    const due = Math.min(((performance.now() - begun) * perSecond) / 1000, (forMs * perSecond) / 1000);
    for (; i < due; i++) {
      const sent = performance.now();
      open.push(ask().then(() => took.push(performance.now() - sent)));
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await Promise.all(open);
  return took;
}

function serveEchoes(path) {
  const result = { run_id: 'bench', totals: { cpu_seconds: 1.5 } };
  createServer((socket) => {
    let rest = '';
    socket.setEncoding('utf8').on('data', (text) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop();
      for (const line of lines)
        socket.write(`${JSON.stringify({ jsonrpc: '2.0', id: JSON.parse(line).id, result })}\n`);
    });
  }).listen(path, () => process.send('ready'));
}

async function main(path, seconds) {
  const echoPath = join(path, '..', 'echo.sock');
  const server = fork(fileURLToPath(import.meta.url), ['--serve', echoPath]);
  await new Promise((resolve) => server.once('message', resolve));
  const [agent, echo] = [await Asker.open(path), await Asker.open(echoPath)];
  await agent.ask('hello', { client: 'bench', version: '1', protocols: [1] });
  await agent.ask('run.start', { run_id: 'bench' });
  await agent.ask('session.open', { run_id: 'bench', t_ns: Number(process.hrtime.bigint()) });
  const figures = { ours: [], echo: [], fresh: [] };
  for (const until = performance.now() + seconds * 1000; performance.now() < until; ) {
    figures.ours.push(...(await paced(() => agent.ask('run.usage', { run_id: 'bench' }), 1000, TURN_MS)));
    figures.echo.push(...(await paced(() => echo.ask('echo', {}), 1000, TURN_MS)));
    const fresh = () => agent.ask('run.usage', { run_id: 'bench', fresh: true });
    figures.fresh.push(...(await paced(fresh, 20, TURN_MS)));
  }
  await agent.ask('run.end', { run_id: 'bench', status: 'FINISHED' });
  agent.close();
  echo.close();
  server.kill();
  process.stdout.write(JSON.stringify(figures));
}

if (process.argv[2] === '--serve') serveEchoes(process.argv[3]);
else await main(process.argv[2], Number(process.argv[3]));
