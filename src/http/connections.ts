// Bounds the connections of the HTTP server. When all are taken, the newcomer gets the place of whoever has asked nothing
// for longest, or of an answer that nobody has fetched for seconds: holding connections open locks nobody out. Owns
// the book of connections.

import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';

/** An answer that takes longer than this may lose its connection to a newcomer, milliseconds. */
const ANSWER_MS = 2000;

export interface ConnectionBounds {
  max: number;
  /** A connection was closed for want of room, or because it sent no request that can be understood. */
  refused(reason: 'connections' | 'pipelined' | 'head' | 'timeout' | 'malformed' | 'handshake'): void;
}

/** Answers requests with `answer`, one at a time of each connection. */
export function boundConnections(
  server: Server,
  answer: (request: IncomingMessage, response: ServerResponse) => void,
  bounds: ConnectionBounds,
): void {
  /** By peer, for TLS has a socket of its own over each. Without a request under way; who was used last comes last. */
  const idle = new Map<string, Socket>();
  /** Since when it is being answered, milliseconds. */
  const busy = new Map<string, { socket: Socket; sinceMs: number }>();
  /** A connection over which TLS has been agreed on. */
  const secured = new WeakSet<Socket>();

  const makeRoom = (): boolean => {
    if (idle.size + busy.size < bounds.max) return true;
    bounds.refused('connections');
    const [first] = idle;
    const [slow] = busy;
    const late = slow !== undefined && performance.now() - slow[1].sinceMs > ANSWER_MS ? slow[0] : undefined;
    const victim = first?.[0] ?? late;
    if (victim !== undefined) close(victim);
    return victim !== undefined;
  };
  const close = (peer: string): void => {
    const socket = held(peer);
    forget(peer);
    socket?.destroy();
  };
  const held = (peer: string): Socket | undefined => idle.get(peer) ?? busy.get(peer)?.socket;
  const forget = (peer: string): void => {
    idle.delete(peer);
    busy.delete(peer);
  };
  server.on('connection', (socket: Socket) => {
    if (!makeRoom()) {
      socket.destroy();
      return;
    }
    const peer = peerOf(socket);
    idle.set(peer, socket);
    socket.once('close', () => {
      // Another may have come from there since.
      if (held(peer) === socket) forget(peer);
    });
  });
  server.on('secureConnection', (socket: Socket) => secured.add(socket));
  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    const { socket } = request;
    if (socket.destroyed) return;
    const peer = peerOf(socket);
    const connection = idle.get(peer);
    if (connection === undefined) {
      // Nobody who fetches answers asks again before the first has come; who does not, would have us make many.
      bounds.refused('pipelined');
      close(peer);
      socket.destroy();
      return;
    }
    idle.delete(peer);
    busy.set(peer, { socket: connection, sinceMs: performance.now() });
    response.once('close', () => {
      if (busy.get(peer)?.socket !== connection) return;
      busy.delete(peer);
      if (!socket.destroyed) idle.set(peer, connection);
    });
    answer(request, response);
  });
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
    // Nothing can be said to whom nothing was agreed with.
    if (socket instanceof TLSSocket && !secured.has(socket)) {
      bounds.refused('handshake');
      socket.destroy();
    } else {
      answerFault(error, socket, bounds);
    }
  });
}

function peerOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
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
