// A real HTTP server on loopback that answers as a test says and remembers what it was asked.

import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http';
import { createServer as createSecure, type ServerOptions } from 'node:https';
import type { AddressInfo } from 'node:net';

export interface Asked {
  method: string;
  url: string;
  headers: IncomingMessage['headers'];
  body: Buffer;
}

export interface HttpPlace {
  readonly address: string;
  readonly asked: Asked[];
  /** Answers from now on. */
  answer: (asked: Asked, response: ServerResponse) => void;
  close(): Promise<void>;
}

/** Answers 200 `{}` until told otherwise; over TLS with a certificate. */
export async function startPlace(tls?: ServerOptions): Promise<HttpPlace> {
  const asked: Asked[] = [];
  const listener: RequestListener = async (request, response) => {
    const pieces: Buffer[] = [];
    for await (const piece of request) pieces.push(piece as Buffer);
    const one = {
      method: request.method ?? '',
      url: request.url ?? '',
      headers: request.headers,
      body: Buffer.concat(pieces),
    };
    asked.push(one);
    place.answer(one, response);
  };
  const server: Server = tls ? createSecure(tls, listener) : createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const place: HttpPlace = {
    address: `${tls ? 'https' : 'http'}://127.0.0.1:${port}`,
    asked,
    answer: (_asked, response) => response.end('{}'),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return place;
}
