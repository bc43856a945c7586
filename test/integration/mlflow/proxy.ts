// Something between the agent and a real server: forwards requests below a prefix, and breaks connections after the commit.

import { createServer, request as forward, type IncomingMessage, type RequestListener } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { expect } from 'vitest';

export async function failed(done: Promise<unknown>): Promise<boolean> {
  try {
    await done;
    return false;
  } catch (error) {
    expect(error).toMatchObject({ verdict: 'retry' });
    return true;
  }
}

interface ProxyOptions {
  /** Taken off what is forwarded; other paths are unknown. */
  prefix?: string;
  /** Of what changes something, every so many answers are not passed on: the connection is closed instead. */
  dropEvery?: number;
  /** After so many requests it is silent: none is forwarded any more. */
  stopAfter?: number;
  /** Default: any that is free. */
  port?: number;
  /** It speaks TLS, with this key and certificate (PEM). */
  tls?: { key: string; cert: string };
}

/** Forwards to the server at `to`. */
export async function startProxy(to: string, options: ProxyOptions) {
  const { prefix = '', dropEvery, stopAfter, port = 0, tls } = options;
  let answers = 0;
  let dropped = 0;
  let requests = 0;
  let silent: () => void = () => undefined;
  const stopped = new Promise<void>((resolve) => {
    silent = resolve;
  });
  const listener: RequestListener = (request, response) => {
    const { method, headers, url = '' } = request;
    requests += 1;
    if (stopAfter !== undefined && requests > stopAfter) return silent();
    if (!url.startsWith(`${prefix}/`)) return response.writeHead(404).end('<h1>Not here</h1>');
    const passed = forward(to + url.slice(prefix.length), {
      method,
      headers: { ...headers, host: new URL(to).host },
    });
    passed.on('response', (answer) => {
      if (method === 'PUT' || /log-batch|update/.test(url)) answers += 1;
      else return pass(answer);
      if (dropEvery && answers % dropEvery === 0) {
        dropped += 1;
        answer.resume().on('end', () => request.socket.destroy());
        return;
      }
      pass(answer);
    });
    const pass = (answer: IncomingMessage) => {
      response.writeHead(answer.statusCode ?? 500, answer.headers);
      answer.pipe(response);
    };
    passed.on('error', () => response.destroy());
    return request.pipe(passed);
  };
  const server = tls ? createSecureServer(tls, listener) : createServer(listener);
  await new Promise<void>((done) => server.listen(port, '127.0.0.1', done));
  const close = async () => {
    server.closeAllConnections();
    await new Promise((done) => server.close(done));
  };
  return {
    address: `http${tls ? 's' : ''}://127.0.0.1:${(server.address() as AddressInfo).port}`,
    dropped: () => dropped,
    /** How many came, also of those that it did not forward. */
    requests: () => requests,
    /** Resolves when it has fallen silent. */
    stopped,
    close,
  };
}
