// A receiver of webhooks as docs/delivery.md tells people to build one: checks the signature, takes every id once, appends
// lines. A real HTTP server, which fails as the test says.

import { createHmac, timingSafeEqual } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { type Asked, type HttpPlace, startPlace } from './http-place.js';

export const SECRET_TEXT = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
export const KEY = Buffer.from('MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', 'base64');

/** Instead of taking a request: an answer, or a connection that ends without one. `kept`: it was taken all the same. */
export interface Fault {
  status?: number;
  headers?: Record<string, string>;
  kept?: boolean;
}

export type ReceivedLine = { type: string; line: number; delivery: string } & Record<string, unknown>;

export class WebhookReceiver {
  /** Appended once for every id. */
  readonly lines: ReceivedLine[] = [];
  /** Bodies by id, of every try. */
  readonly tries = new Map<string, string[]>();
  readonly wrong: string[] = [];
  readonly #place: HttpPlace;
  readonly #taken = new Set<string>();
  /** What becomes of a request; undefined: it is taken. */
  fault: (asked: Asked, count: number) => Fault | undefined = () => undefined;

  static async start(): Promise<WebhookReceiver> {
    return new WebhookReceiver(await startPlace());
  }

  private constructor(place: HttpPlace) {
    this.#place = place;
    place.answer = (asked, response) => this.#answer(asked, response);
  }

  get url(): string {
    return `${this.#place.address}/totals`;
  }

  get asked(): readonly Asked[] {
    return this.#place.asked;
  }

  close(): Promise<void> {
    return this.#place.close();
  }

  /** Lines of that type. */
  of(type: string): ReceivedLine[] {
    return this.lines.filter((line) => line.type === type);
  }

  #answer(asked: Asked, response: ServerResponse): void {
    const id = asked.headers['webhook-id'] as string;
    const body = asked.body.toString();
    this.tries.set(id, [...(this.tries.get(id) ?? []), body]);
    if (!isSigned(asked)) this.wrong.push(`${id}: not signed`);
    if (asked.headers['idempotency-key'] !== id) this.wrong.push(`${id}: another Idempotency-Key`);
    const fault = this.fault(asked, this.asked.length);
    if (!fault || fault.kept) this.#take(id, body);
    if (!fault) response.writeHead(204).end();
    else if (fault.status === undefined) response.destroy();
    else response.writeHead(fault.status, fault.headers).end(`no: ${fault.status}`);
  }

  #take(id: string, body: string): void {
    if (this.#taken.has(id)) return;
    this.#taken.add(id);
    for (const text of body.trimEnd().split('\n')) this.lines.push(JSON.parse(text));
  }
}

function isSigned({ headers, body }: Asked): boolean {
  const hmac = createHmac('sha256', KEY);
  hmac.update(`${headers['webhook-id']}.${headers['webhook-timestamp']}.`).update(body);
  const expected = Buffer.from(`v1,${hmac.digest('base64')}`);
  const said = Buffer.from(String(headers['webhook-signature']));
  return said.length === expected.length && timingSafeEqual(said, expected);
}
