// The HTTP server: guard, headers, limits and routes around express. Owns the listening socket. It can only answer
// questions, and nothing that happens here ends the agent.

import { createServer, type Server } from 'node:http';
import express, { type Express } from 'express';
import helmet from 'helmet';
import type { Logger } from '../log.js';
import type { AgentRegistry } from '../metrics/registry.js';
import { access } from './access.js';
import { errorHandler, notFound } from './answer.js';
import { boundConnections } from './connections.js';
import { httpCounters } from './counters.js';
import { guard } from './guard.js';
import { type Later, PersistentListener, parseListen, realLater } from './listen.js';
import { type RouteDeps, routes } from './routes.js';
import { tlsServer } from './tls-server.js';
import type { WebConfig } from './web-config.js';

export interface HttpLimits {
  /** Largest request head, bytes. */
  maxHeaderBytes: number;
  /** Time for a request's head, for all of it, and of silence on a connection, milliseconds. */
  headersTimeoutMs: number;
  requestTimeoutMs: number;
  idleTimeoutMs: number;
  /** How often the first two are checked, milliseconds. */
  checkMs: number;
  maxConnections: number;
}

export const DEFAULT_HTTP_LIMITS: Readonly<HttpLimits> = {
  maxHeaderBytes: 8192,
  headersTimeoutMs: 5000,
  requestTimeoutMs: 10_000,
  idleTimeoutMs: 30_000,
  checkMs: 5000,
  maxConnections: 64,
};

export interface HttpDeps extends RouteDeps {
  /** `HOST:PORT`. */
  listen: string;
  allowedHosts: () => readonly string[];
  /** The web configuration in force; undefined: there is none, plain HTTP for everybody. */
  web?: () => WebConfig;
  registry: AgentRegistry;
  log: Logger;
  /** Called whenever the address becomes ours, at once or after retries. */
  listening?: (address: string) => void;
  limits?: HttpLimits;
  /** The clock of the retries; tests bring their own. */
  later?: Later;
}

export interface HttpHandle {
  /** `HOST:PORT` that is listened on; null while the address is taken. */
  readonly address: string | null;
  close(): Promise<void>;
}

/** Resolves after the first try to listen, whether or not it succeeded. */
export async function startHttp(deps: HttpDeps): Promise<HttpHandle> {
  const counters = httpCounters(deps.registry);
  const limits = deps.limits ?? DEFAULT_HTTP_LIMITS;
  const server = limitedServer(limits, deps.web, () =>
    counters.refusals.inc({ reason: 'client_certificate' }),
  );
  boundConnections(server, application(deps, counters), {
    max: limits.maxConnections,
    refused: (reason) => counters.refusals.inc({ reason }),
  });
  const listener = new PersistentListener(server, {
    address: parseListen(deps.listen),
    log: deps.log,
    later: deps.later ?? realLater,
    listening: deps.listening ?? (() => undefined),
  });
  await listener.attempt();
  return listener;
}

function limitedServer(limits: HttpLimits, web: HttpDeps['web'], refused: () => void): Server {
  const options = {
    maxHeaderSize: limits.maxHeaderBytes,
    headersTimeout: limits.headersTimeoutMs,
    requestTimeout: limits.requestTimeoutMs,
    connectionsCheckingInterval: limits.checkMs,
  };
  const tls = web?.().tls;
  const server =
    web === undefined || tls === undefined
      ? createServer(options)
      : tlsServer(options, {
          // Whether there is TLS is decided at the start (WebConfigFile).
          tls: () => web().tls ?? tls,
          handshakeTimeoutMs: limits.headersTimeoutMs,
          refused,
        });
  server.setTimeout(limits.idleTimeoutMs);
  return server;
}

function application(deps: HttpDeps, { refusals, responses }: ReturnType<typeof httpCounters>): Express {
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.set('query parser', 'simple');
  app.use((_request, response, next) => {
    response.once('finish', () => responses.inc({ code: String(response.statusCode) }));
    next();
  });
  app.use(securityHeaders());
  app.use(guard({ allowedHosts: deps.allowedHosts, refused: (reason) => refusals.inc({ reason }) }));
  if (deps.web) app.use(access({ config: deps.web, refused: (reason) => refusals.inc({ reason }) }));
  app.use(routes(deps));
  app.use(notFound);
  app.use(errorHandler(deps.log));
  return app;
}

function securityHeaders() {
  return helmet({
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        defaultSrc: ["'none'"],
        baseUri: ["'none'"],
        formAction: ["'none'"],
        frameAncestors: ["'none'"],
      },
    },
    // Without TLS it means nothing, and over a proxy it is the proxy's to say.
    strictTransportSecurity: false,
    referrerPolicy: { policy: 'no-referrer' },
  });
}
