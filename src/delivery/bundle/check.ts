// Whether a bundle is whole and makes sense, before anything is done with it. Reads the file; changes nothing.

import { createHash, type Hash } from 'node:crypto';
import type { DocumentFile } from '../model.js';
import { documentsOf } from './documents.js';
import {
  type BundleLine,
  badBundle,
  type DeliveryLine,
  type DocumentLine,
  type Header,
  type ItemLine,
  MAX_DELIVERIES,
} from './format.js';
import { checkSeal, linesOf } from './read.js';

export interface BundleLimits {
  /** Of the file, bytes. */
  most: number;
  /** Whether a run has a document of that name. */
  isDocument(path: string): boolean;
}

export interface BundleContents {
  header: Header;
  deliveries: number;
  items: number;
  documents: number;
}

/** Throws with what is wrong, and where. */
export async function checkBundle(path: string, limits: BundleLimits): Promise<BundleContents> {
  await checkSeal(path, limits.most);
  const check = new Check(limits);
  let header: Header | undefined;
  for await (const { number, line } of linesOf(path, limits.most)) {
    if ('schema' in line) header = line;
    else inLine(number, () => check.take(line));
  }
  if (!header) throw badBundle('no lines: expected a header');
  check.end();
  return { header, ...check.counts };
}

function inLine(number: number, work: () => void): void {
  try {
    work();
  } catch (error) {
    throw error instanceof Fault ? badBundle(`line ${number}: ${error.message}`) : error;
  }
}

class Fault extends Error {}

interface Open {
  line: DocumentLine;
  hash: Hash;
  got: number;
}

class Check {
  readonly counts = { deliveries: 0, items: 0, documents: 0 };
  readonly #limits: BundleLimits;
  readonly #origins = new Set<string>();
  /** Documents that items name and that have not come yet, and those that have, by run and path. */
  readonly #missing = new Map<string, DocumentFile>();
  readonly #there = new Set<string>();
  #delivery: DeliveryLine | undefined;
  #itemsOfDelivery = 0;
  #document: Open | undefined;

  constructor(limits: BundleLimits) {
    this.#limits = limits;
  }

  take(line: BundleLine): void {
    if (line.type === 'delivery') this.#begin(line);
    else if (line.type === 'item') this.#item(line);
    else if (line.type === 'document') this.#open(line);
    else this.#piece(Buffer.from(line.data, 'base64'));
  }

  end(): void {
    try {
      this.#endDelivery();
      this.#endDocument();
    } catch (error) {
      throw error instanceof Fault ? badBundle(`at the end: ${error.message}`) : error;
    }
    for (const name of this.#missing.keys()) throw badBundle(`at the end: document ${name}: not there`);
  }

  #begin(line: DeliveryLine): void {
    this.#endDelivery();
    if (this.counts.documents > 0) throw new Fault('a delivery after documents');
    if (this.#origins.has(line.origin)) throw new Fault(`origin ${line.origin}: there already`);
    if (this.#origins.size === MAX_DELIVERIES)
      throw new Fault(`expected at most ${MAX_DELIVERIES} deliveries`);
    this.#origins.add(line.origin);
    this.#delivery = line;
    this.#itemsOfDelivery = 0;
    this.counts.deliveries += 1;
  }

  #endDelivery(): void {
    if (this.#delivery && this.#itemsOfDelivery === 0) throw new Fault('the delivery before it has no items');
  }

  #item(line: ItemLine): void {
    const { run } = this.#delivery ?? {};
    if (!run || this.counts.documents > 0) throw new Fault('an item without its delivery');
    this.#itemsOfDelivery += 1;
    this.counts.items += 1;
    for (const document of documentsIn(line)) this.#named(nameOf(run, document.path), document);
  }

  #named(name: string, document: DocumentFile): void {
    const { path, bytes, sha256 } = document;
    if (!this.#limits.isDocument(path)) throw new Fault(`document ${path}: not one of a run's`);
    const known = this.#missing.get(name);
    if (known && (known.bytes !== bytes || known.sha256 !== sha256)) {
      throw new Fault(`document ${path}: named with another size or SHA-256 before`);
    }
    this.#missing.set(name, document);
  }

  #open(line: DocumentLine): void {
    this.#endDelivery();
    this.#endDocument();
    const name = nameOf(line.run, line.path);
    const expected = this.#missing.get(name);
    if (this.#there.has(name)) throw new Fault(`document ${name}: there already`);
    if (expected?.bytes !== line.bytes || expected.sha256 !== line.sha256) {
      throw new Fault(`document ${name}: not as an item names it`);
    }
    this.#missing.delete(name);
    this.#there.add(name);
    this.#document = { line, hash: createHash('sha256'), got: 0 };
    this.counts.documents += 1;
  }

  #piece(data: Buffer): void {
    const document = this.#document;
    if (!document || data.length === 0) throw new Fault('a piece without its document');
    document.got += data.length;
    if (document.got > document.line.bytes) throw new Fault('a piece past the end of its document');
    document.hash.update(data);
  }

  #endDocument(): void {
    if (!this.#document) return;
    const { line, hash, got } = this.#document;
    if (got !== line.bytes) throw new Fault(`document ${line.path}: ${got} bytes: expected ${line.bytes}`);
    const found = hash.digest('hex');
    if (found !== line.sha256)
      throw new Fault(`document ${line.path}: SHA-256 ${found}: expected ${line.sha256}`);
    this.#document = undefined;
  }
}

function nameOf(run: { key: string; attempt: number }, path: string): string {
  return `${run.key}/${run.attempt}/${path}`;
}

function documentsIn({ body }: ItemLine): DocumentFile[] {
  try {
    return documentsOf(body);
  } catch (error) {
    if (error instanceof SyntaxError) throw new Fault('body: expected JSON');
    throw error;
  }
}
