// Who may ask, and how often, by the web configuration in force. Reads the Authorization header; emits refusals.

import type { RequestHandler, Response } from 'express';
import { TokenBucket } from '../token-bucket.js';
import { BasicAuth } from './basic-auth.js';
import type { WebConfig } from './web-config.js';

export type AccessRefusal = 'unauthorized' | 'busy' | 'rate';

export interface AccessOptions {
  config(): WebConfig;
  refused(reason: AccessRefusal): void;
}

const STATUS: Readonly<Record<AccessRefusal, number>> = { unauthorized: 401, busy: 503, rate: 429 };
const MESSAGE: Readonly<Record<AccessRefusal, string>> = {
  unauthorized: 'expected the name and the password of a user of the web configuration',
  busy: 'too many passwords are being checked',
  rate: 'more requests than rate_limit of the web configuration allows',
};

export function access({ config, refused }: AccessOptions): RequestHandler {
  const auth = new BasicAuth();
  const rate = new Rate();
  const refuse = (response: Response, reason: AccessRefusal): void => {
    refused(reason);
    if (reason === 'unauthorized')
      response.setHeader('WWW-Authenticate', 'Basic realm="lezea-monitor", charset="UTF-8"');
    else response.setHeader('Retry-After', '1');
    response.status(STATUS[reason]).json({ error: { code: reason, message: MESSAGE[reason] } });
  };
  return async (request, response, next) => {
    const { users, headers, rate: limit } = config();
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
    if (!rate.take(limit)) return refuse(response, 'rate');
    if (users.size > 0) {
      const admission = await auth.admits(request.headers.authorization, users);
      if (admission !== 'admitted') return refuse(response, admission === 'busy' ? 'busy' : 'unauthorized');
    }
    next();
  };
}

/** Of all clients together, as exporters have it. */
class Rate {
  #limit: WebConfig['rate'];
  #bucket: TokenBucket | undefined;

  take(limit: WebConfig['rate']): boolean {
    if (limit !== this.#limit) {
      this.#limit = limit;
      this.#bucket = limit && new TokenBucket(limit.burst, limit.perSecond);
    }
    if (this.#bucket === undefined) return true;
    if (this.#bucket.waitMs() > 0) return false;
    this.#bucket.spend(1);
    return true;
  }
}
