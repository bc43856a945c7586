// The HTTPS server: certificates that are read again while it runs, and clients' certificates by the web configuration's
// own words. Owns no state but the server's.

import { constants } from 'node:crypto';
import type { ServerOptions } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { TLSSocket } from 'node:tls';
import type { TlsConfig } from './web-config.js';

export interface TlsServerOptions {
  /** The configuration in force; TLS is on in all of them. */
  tls(): TlsConfig;
  handshakeTimeoutMs: number;
  /** A client has shown no certificate, or none that will do. */
  refused(): void;
}

export function tlsServer(http: ServerOptions, options: TlsServerOptions): Server {
  let used = options.tls();
  const server = createServer({
    ...http,
    ...contextOf(used),
    handshakeTimeout: options.handshakeTimeoutMs,
    requestCert: used.clientAuth !== 'NoClientCert',
    rejectUnauthorized: used.clientAuth === 'RequireAndVerifyClientCert',
  });
  // Before the server itself takes the connection up.
  server.prependListener('connection', () => {
    const newest = options.tls();
    if (newest === used) return;
    used = newest;
    server.setSecureContext(contextOf(used));
  });
  server.prependListener('secureConnection', (socket) => {
    if (isWelcome(socket, used)) return;
    options.refused();
    socket.destroy();
  });
  return server;
}

/** No tickets: a session that is taken up again is not verified again. */
function contextOf({ context }: TlsConfig) {
  return { ...context, secureOptions: constants.SSL_OP_NO_TICKET };
}

function isWelcome(socket: TLSSocket, { clientAuth, allowedSans }: TlsConfig): boolean {
  const certificate = socket.getPeerX509Certificate();
  switch (clientAuth) {
    case 'NoClientCert':
    case 'RequestClientCert':
      return true;
    case 'RequireAnyClientCert':
      return certificate !== undefined;
    case 'VerifyClientCertIfGiven':
      return certificate === undefined || socket.authorized;
    case 'RequireAndVerifyClientCert':
      if (certificate === undefined || !socket.authorized) return false;
      return (
        allowedSans.length === 0 ||
        namesOf(certificate.subjectAltName).some((name) => allowedSans.includes(name))
      );
  }
}

/** The names of `DNS:a, IP Address:1.2.3.4`. One that Node had to quote is none that anybody is called. */
function namesOf(subjectAltName: string | undefined): string[] {
  if (subjectAltName === undefined || subjectAltName.includes('"')) return [];
  return subjectAltName.split(', ').map((entry) => entry.slice(entry.indexOf(':') + 1));
}
