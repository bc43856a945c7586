// What is undelivered, read whole over the socket: deliveries, their items, the documents that they name. Each item is looked
// at as it is read: whether it is readable, and whether its documents are there as it names them. Owns nothing but what it
// remembers of documents.

import { createHash } from 'node:crypto';
import type { AgentConnection } from '../../client/connection.js';
import { documentsOf } from '../../delivery/bundle/documents.js';
import type { DocumentFile } from '../../delivery/model.js';
import { LezeaError, messageOf } from '../../errors.js';
import { everyDelivery, type Shown, type ShownItem, type WholeItem } from './ask.js';

export type ShownDelivery = Shown['delivery'];

/** An item that cannot be delivered as it is. */
export interface Damage {
  delivery: number;
  item: number;
  what: string;
}

export interface Item {
  id: number;
  stage: number;
  kind: string;
  body: string;
}

export interface Wanted {
  run?: string;
  /** Default: all that is undelivered. */
  ids?: readonly number[];
}

/** A document, and a delivery through which it can be read. */
export interface NamedDocument extends DocumentFile {
  delivery: ShownDelivery;
}

interface Piece {
  data: string;
  eof: boolean;
}

export class Contents {
  /** Documents that are as whole items name them, by run and path. */
  readonly documents = new Map<string, NamedDocument>();
  readonly damaged: Damage[] = [];
  readonly #connection: AgentConnection;
  /** What is wrong with a document as it is named; undefined: nothing. */
  readonly #faults = new Map<string, string | undefined>();

  constructor(connection: AgentConnection) {
    this.#connection = connection;
  }

  /** Deliveries that wait, oldest first. Throws for an id with nothing left. */
  async deliveries({ run, ids }: Wanted): Promise<number[]> {
    if (ids) return [...new Set(ids)].sort((a, b) => a - b);
    const found: number[] = [];
    const filter = run === undefined ? {} : { run_id: run };
    for await (const { id } of everyDelivery(this.#connection, filter)) found.push(id);
    return found.reverse();
  }

  async delivery(id: number): Promise<ShownDelivery> {
    return (await this.#show(id, 0, 1)).delivery;
  }

  /** Whole items; what is not whole is in `damaged`. */
  async *items(delivery: ShownDelivery): AsyncGenerator<Item> {
    for (let after = 0, more = true; more; ) {
      const page = await this.#show(delivery.id, after);
      for (const line of page.items) {
        const item = await this.#item(delivery, line);
        if (item) yield item;
      }
      after = page.items.at(-1)?.id ?? after;
      more = page.more;
    }
  }

  async *pieces({ id }: ShownDelivery, file: string): AsyncGenerator<Buffer> {
    for (let offset = 0, eof = false; !eof; ) {
      const ask = { delivery: id, file, offset };
      const piece = await this.#connection.request<Piece>('outbox.file', ask);
      const data = Buffer.from(piece.data, 'base64');
      if (data.length > 0) yield data;
      offset += data.length;
      eof = piece.eof || data.length === 0;
    }
  }

  #show(delivery: number, after: number, limit = 1000): Promise<Shown> {
    return this.#connection.request<Shown>('outbox.show', { delivery, after, limit });
  }

  async #item(delivery: ShownDelivery, { id, stage, kind }: ShownItem): Promise<Item | undefined> {
    const whole = await this.#whole(delivery.id, id);
    if (!whole) return undefined;
    const what = await this.#damage(delivery, whole);
    if (what === undefined) return { id, stage, kind, body: whole.body ?? '' };
    this.damaged.push({ delivery: delivery.id, item: id, what });
    return undefined;
  }

  /** What is wrong with an item; where nothing is, its documents are remembered. */
  async #damage(delivery: ShownDelivery, { body, damaged }: WholeItem): Promise<string | undefined> {
    if (body === undefined) return damaged ?? 'it has no body';
    let documents: DocumentFile[];
    try {
      documents = documentsOf(body);
    } catch (error) {
      return `no JSON: ${messageOf(error)}`;
    }
    for (const document of documents) {
      const fault = await this.#fault(delivery, document);
      if (fault !== undefined) return fault;
    }
    for (const each of documents)
      this.documents.set(`${runOf(delivery)}/${each.path}`, { ...each, delivery });
    return undefined;
  }

  /** undefined: it was delivered meanwhile. */
  async #whole(delivery: number, item: number): Promise<WholeItem | undefined> {
    try {
      return await this.#connection.request<WholeItem>('outbox.item', { delivery, item });
    } catch (error) {
      if (error instanceof LezeaError && error.code === 'unknown_delivery') return undefined;
      throw error;
    }
  }

  async #fault(delivery: ShownDelivery, document: DocumentFile): Promise<string | undefined> {
    const name = [runOf(delivery), document.path, document.bytes, document.sha256].join('/');
    if (!this.#faults.has(name)) this.#faults.set(name, await this.#look(delivery, document));
    return this.#faults.get(name);
  }

  async #look(delivery: ShownDelivery, { path, bytes, sha256 }: DocumentFile): Promise<string | undefined> {
    const hash = createHash('sha256');
    let size = 0;
    try {
      for await (const piece of this.pieces(delivery, path)) {
        hash.update(piece);
        size += piece.length;
      }
    } catch (error) {
      // It is not there, or the agent cannot read it.
      if (error instanceof LezeaError && ['invalid_params', 'internal'].includes(error.code)) {
        return `document ${path}: ${messageOf(error)}`;
      }
      throw error;
    }
    if (size !== bytes) return `document ${path}: ${size} bytes: expected ${bytes}`;
    const found = hash.digest('hex');
    return found === sha256 ? undefined : `document ${path}: SHA-256 ${found}: expected ${sha256}`;
  }
}

/** Deliveries of the same have their documents together. */
function runOf({ key, attempt }: ShownDelivery): string {
  return `${key}/${attempt}`;
}
