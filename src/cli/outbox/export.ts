// `outbox export FILE`: what is undelivered, as a bundle to carry to another agent (src/delivery/bundle). Reads over the socket
// and writes the file; delivers nothing and removes nothing.

import { once } from 'node:events';
import { statSync } from 'node:fs';
import { dirname } from 'node:path';
import { DEFAULT_LIMITS } from '../../attribution/limits.js';
import type { AgentConnection } from '../../client/connection.js';
import { BUNDLE_SCHEMA, type BundleLine, type Header, MAX_DELIVERIES } from '../../delivery/bundle/format.js';
import { bundleBytes } from '../../delivery/bundle/write.js';
import { LezeaError, messageOf } from '../../errors.js';
import { writeBytesAtomically } from '../../files/atomic.js';
import { VERSION } from '../../version.js';
import { formatBytes } from '../format.js';
import { EXIT, type Io, usageError } from '../io.js';
import type { ReadOptions } from '../program.js';
import { checkRunId, idOf, withAgent } from './ask.js';
import { Contents, type Item, type ShownDelivery, type Wanted } from './contents.js';
import { damageLine } from './fsck.js';
import { Progress } from './progress.js';

/** It says what runs did and for whom. */
const FILE_MODE = 0o600;

export async function exportCommand(
  file: string,
  words: readonly string[],
  options: ReadOptions & { run?: string },
  io: Io,
): Promise<number> {
  const wanted = wantedOf(words, options.run);
  if (file === '-' && options.json) throw usageError('--json: expected a file, not standard output');
  if (file !== '-') checkFile(file);
  const progress = new Progress(io);
  return withAgent(options, async (connection) => {
    const bundle = new Bundle(connection, wanted, progress);
    const pieces = bundleBytes(bundle.lines(), DEFAULT_LIMITS.importBytes);
    const bytes = file === '-' ? await toStandardOutput(pieces) : await toFile(file, pieces);
    progress.end();
    const found = { file, ...bundle.counts, bytes, damaged: bundle.damaged };
    for (const damage of bundle.damaged) io.err(`lezea-monitor: left out: ${damageLine(damage)}`);
    if (options.json) io.out(`${JSON.stringify(found, null, 2)}\n`);
    else if (file !== '-') io.out(`${file}: ${formatCounts(bundle.counts)}, ${formatBytes(bytes)}\n`);
    return bundle.damaged.length === 0 ? EXIT.ok : EXIT.notFine;
  }).finally(() => progress.end());
}

function wantedOf(words: readonly string[], run: string | undefined): Wanted {
  checkRunId(run);
  const ids = words.map((word) => idOf(word));
  if (ids.length > 0 && run !== undefined) throw usageError(`${words[0]}: expected ids or --run, not both`);
  return { ...(run === undefined ? {} : { run }), ...(ids.length === 0 ? {} : { ids }) };
}

function checkFile(file: string): void {
  const found = statSync(file, { throwIfNoEntry: false });
  if (found && !found.isFile()) throw usageError(`${file}: expected a file, or - for standard output`);
  const folder = statSync(dirname(file), { throwIfNoEntry: false });
  if (!folder?.isDirectory()) throw usageError(`${file}: expected a file in a folder that is there`);
}

async function toFile(file: string, pieces: AsyncIterable<Uint8Array>): Promise<number> {
  try {
    return await writeBytesAtomically(file, pieces, FILE_MODE);
  } catch (error) {
    if (error instanceof LezeaError) throw error;
    throw new LezeaError('write', `${file}: ${messageOf(error)}: expected a file that can be written`);
  }
}

async function toStandardOutput(pieces: AsyncIterable<Uint8Array>): Promise<number> {
  let bytes = 0;
  for await (const piece of pieces) {
    bytes += piece.length;
    if (!process.stdout.write(piece)) await once(process.stdout, 'drain');
  }
  return bytes;
}

export function formatCounts(counts: { deliveries: number; items: number; documents: number }): string {
  return `${counts.deliveries} deliveries, ${counts.items} items, ${counts.documents} documents`;
}

class Bundle {
  readonly counts = { deliveries: 0, items: 0, documents: 0 };
  readonly #contents: Contents;
  readonly #connection: AgentConnection;
  readonly #wanted: Wanted;
  readonly #progress: Progress;

  constructor(connection: AgentConnection, wanted: Wanted, progress: Progress) {
    this.#connection = connection;
    this.#contents = new Contents(connection);
    this.#wanted = wanted;
    this.#progress = progress;
  }

  get damaged() {
    return this.#contents.damaged;
  }

  async *lines(): AsyncGenerator<Header | BundleLine> {
    const { node } = this.#connection.hello;
    yield { schema: BUNDLE_SCHEMA, node, time: new Date().toISOString(), version: VERSION };
    const ids = await this.#contents.deliveries(this.#wanted);
    if (ids.length > MAX_DELIVERIES) {
      throw new LezeaError('too_large', `${ids.length} deliveries: a bundle has at most ${MAX_DELIVERIES}`);
    }
    for (const [index, id] of ids.entries()) {
      this.#progress.say(() => `${index} of ${ids.length} deliveries`);
      yield* this.#delivery(await this.#contents.delivery(id));
    }
    for (const document of this.#contents.documents.values()) {
      const { path, bytes, sha256, delivery } = document;
      this.#progress.say(() => `${this.counts.documents} of ${this.#contents.documents.size} documents`);
      this.counts.documents += 1;
      const run = { key: delivery.key, attempt: delivery.attempt };
      yield { type: 'document', run, path, bytes, sha256 };
      for await (const data of this.#contents.pieces(delivery, path)) {
        yield { type: 'piece', data: data.toString('base64') };
      }
    }
  }

  /** Nothing of one that has no whole item; its run may not have ended yet. */
  async *#delivery(delivery: ShownDelivery): AsyncGenerator<BundleLine> {
    const isNamed = this.#wanted.ids !== undefined;
    if (delivery.state === 'delivered' && isNamed) throw nothingLeft(delivery);
    if (delivery.state === 'pending') {
      if (isNamed) throw nothingLeft(delivery);
      return;
    }
    let isBegun = false;
    for await (const item of this.#contents.items(delivery)) {
      if (!isBegun) yield deliveryLine(delivery);
      if (!isBegun) this.counts.deliveries += 1;
      isBegun = true;
      this.counts.items += 1;
      yield itemLine(item);
    }
  }
}

function nothingLeft({ id, state }: ShownDelivery): LezeaError {
  return new LezeaError('nothing_left', `delivery ${id}: ${state}: expected one that waits`);
}

function deliveryLine(delivery: ShownDelivery): BundleLine {
  const { key, run_id, attempt, origin, kind, address, settings } = delivery;
  return {
    type: 'delivery',
    origin,
    run: { key, run_id, attempt },
    target: { kind, address, settings },
    created_ms: Date.parse(delivery.created_at),
  };
}

function itemLine({ stage, kind, body }: Item): BundleLine {
  return { type: 'item', stage, kind, body };
}
