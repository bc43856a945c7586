// What is refused before any route is looked at: a Host that is not ours (DNS rebinding), a foreign Origin, and every
// method but GET and HEAD. Reads headers; emits refusals.

import { isIP } from 'node:net';
import type { NextFunction, Request, RequestHandler, Response } from 'express';

export type RefusalReason = 'host' | 'origin' | 'method';

export interface GuardOptions {
  /** Names beside `localhost` and IP addresses, in lower case; read anew at each request. */
  allowedHosts: () => readonly string[];
  refused(reason: RefusalReason): void;
}

/** The host of `host`, `host:port`, `[v6]` or `[v6]:port`, in lower case; undefined when it is none of these. */
function hostOf(authority: string): string | undefined {
  const match = /^(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+?)\.?)(?::\d{1,5})?$/.exec(authority.toLowerCase());
  return match?.[1] ?? match?.[2];
}

/** Whether a Host header names this machine in a way that no one else's name server can make up. */
export function isAllowedHost(header: string | undefined, allowedHosts: readonly string[]): boolean {
  const host = header === undefined ? undefined : hostOf(header);
  if (host === undefined) return false;
  return host === 'localhost' || isIP(host) !== 0 || allowedHosts.includes(host);
}

/** Whether a page of this Origin is one of ours: it comes from the very host and port that is asked. */
export function isOwnOrigin(origin: string, host: string | undefined): boolean {
  const match = /^https?:\/\/([^/]+)$/.exec(origin.toLowerCase());
  return match?.[1] !== undefined && match[1] === host?.toLowerCase();
}

export function guard(options: GuardOptions): RequestHandler {
  const refuse = (response: Response, reason: RefusalReason, status: number, message: string): void => {
    options.refused(reason);
    response.status(status).json({ error: { code: `refused_${reason}`, message } });
  };
  return (request: Request, response: Response, next: NextFunction): void => {
    const { host, origin } = request.headers;
    if (!isAllowedHost(host, options.allowedHosts())) {
      const expected = 'localhost, an IP address or a name of http.allowed_hosts';
      refuse(response, 'host', 403, `Host: ${JSON.stringify(host ?? '')}: expected ${expected}`);
    } else if (origin !== undefined && !isOwnOrigin(origin, host)) {
      refuse(
        response,
        'origin',
        403,
        `Origin: ${JSON.stringify(origin)}: expected none or this server's own`,
      );
    } else if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.setHeader('Allow', 'GET, HEAD');
      refuse(
        response,
        'method',
        405,
        `${request.method}: expected GET or HEAD; this server only answers questions`,
      );
    } else {
      next();
    }
  };
}
