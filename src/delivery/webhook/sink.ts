// Brings runs' totals to a web address: one signed POST an item. Owns the connections. Sent again, an item has the same id
// and the same bytes; whoever takes it knows by them that it has it already.

import { faultOf, parseRetryAfter } from '../classify.js';
import { type Delivery, type Draft, type EndedRun, type Item, SendError, type Sink } from '../model.js';
import { describeRequest, type HttpAnswer, HttpClient } from '../request.js';
import { planRun, splitItem, wireOf } from './items.js';
import { signedHeaders } from './signature.js';

export interface WebhookSinkOptions {
  /** This program's. */
  version: string;
  /** Whom the key is shared with: nobody else gets anything that is signed with it. */
  address: string;
  key: Buffer;
  caFile?: string;
  /** For one request, milliseconds. */
  timeoutMs: number;
  /** Wall clock, milliseconds since 1970. */
  nowMs(): number;
}

const TOO_LARGE = 413;
/** It is at work on the same id. */
const CONFLICT = 409;
/** About the address, not about what was sent: also what a proxy says while there is nothing behind it. */
const NOBODY_THERE = new Set([404, 405, 410]);
/** What is read of an answer, bytes: its words, for a message. */
const HEAD_BYTES = 4096;

export class WebhookSink implements Sink {
  readonly #o: WebhookSinkOptions;
  readonly #http: HttpClient;

  constructor(options: WebhookSinkOptions) {
    this.#o = options;
    this.#http = new HttpClient({ ...options, userAgent: `lezea-monitor/${options.version}` });
  }

  close(): void {
    this.#http.close();
  }

  plan(run: EndedRun): Iterable<Draft> {
    return planRun(run);
  }

  together(): number {
    return 1;
  }

  /** Lines that are refused for what they say are no better by themselves. */
  split(item: Item, { status }: SendError): Draft[] {
    return status === TOO_LARGE ? splitItem(item) : [];
  }

  async send({ target }: Delivery, items: readonly Item[], signal: AbortSignal): Promise<void> {
    const { address, key, nowMs } = this.#o;
    if (target.address !== address) {
      throw new SendError('refused', `webhook.url is ${address}: there is no key for ${target.address}`);
    }
    for (const item of items) {
      const body = wireOf(item);
      const headers = { 'content-type': 'application/x-ndjson', ...signedHeaders(body, key, nowMs()) };
      const request = { method: 'POST', url: address, headers, body } as const;
      const answer = await this.#http.request(
        { ...request, headBytes: HEAD_BYTES, repeatable: true },
        signal,
      );
      const fault = webhookFault(answer, describeRequest(request), nowMs());
      if (fault) throw fault;
    }
  }
}

function webhookFault(answer: HttpAnswer, what: string, nowMs: number): SendError | undefined {
  const { status, headers } = answer;
  const fault = faultOf(answer, what, nowMs);
  if (fault?.verdict !== 'poison') return fault;
  if (NOBODY_THERE.has(status)) {
    return new SendError('refused', `${fault.message}; there is nothing at this address that takes totals`);
  }
  if (status !== CONFLICT) return fault;
  const retryAfterMs = parseRetryAfter(headers['retry-after'], nowMs);
  return new SendError('retry', fault.message, retryAfterMs === undefined ? {} : { retryAfterMs });
}
