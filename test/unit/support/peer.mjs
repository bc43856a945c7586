// A client that does as it is told, in a process, account or namespace of its own: lines of JSON on standard input, an
// answer a line on standard output. `node -e` runs it, so that no account needs to read this folder.

import { createConnection } from 'node:net';
import { createInterface } from 'node:readline';

const [path] = process.argv.slice(-1);
const open = [];

function connect() {
  return new Promise((resolve, reject) => {
    const socket = createConnection(path);
    const peer = { socket, text: '', closed: false, wake: () => {} };
    socket.setEncoding('utf8');
    socket.once('connect', () => resolve(peer));
    socket.on('error', reject);
    socket.on('data', (text) => {
      peer.text += text;
      peer.wake();
    });
    socket.on('close', () => {
      peer.closed = true;
      peer.wake();
    });
    open.push(peer);
  });
}

/** The answer of this id, or one of no id, or null when the connection is gone. */
async function answerOf(peer, id) {
  for (;;) {
    for (const line of peer.text.split('\n').slice(0, -1)) {
      const message = JSON.parse(line);
      if (message.method === undefined && (message.id === id || message.id === null)) return message;
    }
    if (peer.closed) return null;
    await new Promise((resolve) => {
      peer.wake = resolve;
    });
  }
}

let id = 0;
let main;
const OPS = {
  /** One request over the one connection of this process. */
  async call({ method, params }) {
    main ??= await connect();
    id += 1;
    main.socket.write(`${JSON.stringify({ jsonrpc: '2.0', id, method, params })}\n`);
    return answerOf(main, id);
  },
  /** Opens so many connections at once and says what became of them; all stay open as long as the agent lets them. */
  async crowd({ connections }) {
    const counts = { accepted: 0, refused: 0, failed: 0 };
    const one = async () => {
      try {
        const peer = await connect();
        peer.socket.write('{"jsonrpc":"2.0","id":1,"method":"hello"}\n');
        const answer = await answerOf(peer, 1);
        if (answer?.result) counts.accepted += 1;
        else counts.refused += 1;
      } catch {
        counts.failed += 1;
      }
    };
    await Promise.all(Array.from({ length: connections }, one));
    return counts;
  },
  /** What a further connection is told without asking. */
  async first() {
    return answerOf(await connect());
  },
  /** What the one connection got beside the newest answer. */
  heard() {
    return main.text;
  },
  drop() {
    for (const { socket } of open.splice(0)) socket.destroy();
    main = undefined;
    return {};
  },
};

process.on('uncaughtException', (error) => console.log(JSON.stringify({ failed: String(error) })));
console.log(JSON.stringify({ pid: process.pid, uid: process.getuid() }));
for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  console.log(JSON.stringify(await OPS[order.op](order)));
}
