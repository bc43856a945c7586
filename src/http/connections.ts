// Bounds the connections of the HTTP server. When all are taken, the newcomer gets the place of whoever has asked nothing
// for longest, or of an answer that nobody has fetched for seconds: holding connections open locks nobody out. Owns
// the book of connections.

import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** An answer that takes longer than this may lose its connection to a newcomer, milliseconds. */
const ANSWER_MS = 2000;

export interface ConnectionBounds {
  max: number;
  /** A connection was closed for want of room, or because it sent no request that can be understood. */
  refused(reason: 'connections' | 'pipelined' | 'head' | 'timeout' | 'malformed'): void;
}

/** Answers requests with `answer`, one at a time of each connection. */
export function boundConnections(
  server: Server,
  answer: (request: IncomingMessage, response: ServerResponse) => void,
  bounds: ConnectionBounds,
): void {
  /** Without a request under way; who was used last comes last. */
  const idle = new Set<Socket>();
  /** Since when it is being answered, milliseconds. */
  const busy = new Map<Socket, number>();

  const makeRoom = (): boolean => {
    if (idle.size + busy.size < bounds.max) return true;
    bounds.refused('connections');
    const [first] = idle;
    const [slow] = busy;
    const late = slow !== undefined && performance.now() - slow[1] > ANSWER_MS ? slow[0] : undefined;
    const victim = first ?? late;
    if (victim) forget(victim).destroy();
    return victim !== undefined;
  };
  const forget = (socket: Socket): Socket => {
    idle.delete(socket);
    busy.delete(socket);
    return socket;
  };
  server.on('connection', (socket: Socket) => {
    if (!makeRoom()) {
      socket.destroy();
      return;
    }
    idle.add(socket);
    socket.once('close', () => forget(socket));
  });
  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    const { socket } = request;
    if (socket.destroyed) return;
    if (!idle.delete(socket)) {
      // Nobody who fetches answers asks again before the first has come; who does not, would have us make many.
      bounds.refused('pipelined');
      forget(socket).destroy();
      return;
    }
    busy.set(socket, performance.now());
    response.once('close', () => {
      busy.delete(socket);
      if (!socket.destroyed) idle.add(socket);
    });
    answer(request, response);
  });
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) =>
    answerFault(error, socket, bounds),
  );
}

/** What Node itself would answer; a listener that counts has to do it. */
function answerFault(error: NodeJS.ErrnoException, socket: Socket, bounds: ConnectionBounds): void {
  const fault = FAULTS.get(error.code ?? '') ?? { reason: 'malformed' as const, line: '400 Bad Request' };
  // A reset is the client's own way to go.
  if (error.code !== 'ECONNRESET' && error.code !== 'EPIPE') bounds.refused(fault.reason);
  if (socket.writable) socket.end(`HTTP/1.1 ${fault.line}\r\nConnection: close\r\n\r\n`);
  // Half open, it could be kept for ever.
  socket.destroySoon();
}

const FAULTS = new Map([
  ['HPE_HEADER_OVERFLOW', { reason: 'head' as const, line: '431 Request Header Fields Too Large' }],
  ['ERR_HTTP_REQUEST_TIMEOUT', { reason: 'timeout' as const, line: '408 Request Timeout' }],
]);
