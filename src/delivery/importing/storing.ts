// A checked bundle that becomes deliveries: stored as ones that are not ready, and made ready in one transaction at the end.
// Whatever happens before leaves nothing. Owns what was begun until then.

import { randomBytes } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Caller } from '../../attribution/model.js';
import { LezeaError, messageOf } from '../../errors.js';
import type { Logger } from '../../log.js';
import { addDrafts } from '../bearers.js';
import type { BundleLine, DeliveryLine, DocumentLine } from '../bundle/format.js';
import type { NumberedLine } from '../bundle/read.js';
import type { Delivery, Draft } from '../model.js';
import { type DeliveryState, type Outbox, sinkName } from '../outbox.js';
import type { Place } from '../targets.js';
import type { ImportFolders } from './folders.js';

/** Items that are stored together: a transaction of some milliseconds. */
const TOGETHER = 8;

export interface ImportsOptions {
  outbox: Outbox;
  folders: ImportFolders;
  log: Logger;
  /** Who brings it to its place, from here. Throws where it names no place. */
  place(target: DeliveryLine['target'], caller: Caller): Place;
}

/** What became of one delivery of a bundle. */
export interface Imported {
  id: number;
  run: Delivery['run'];
  /** Kind and address of its place. */
  sink: string;
  /** It was there already. */
  known: boolean;
  bearer?: Place['bearer'];
  reason?: string;
}

interface Begun {
  id: number;
  run: Delivery['run'];
  sink: string;
  place: Place;
}

/** A checked bundle that becomes deliveries. */
export class Storing {
  isStopped = false;
  readonly #o: ImportsOptions;
  readonly #caller: Caller;
  readonly #begun: Begun[] = [];
  /** Keys of this agent's making, by the bundle's. Only of runs of which something is stored. */
  readonly #keys = new Map<string, string>();
  readonly #known: Imported[] = [];
  #drafts: Draft[] = [];

  constructor(options: ImportsOptions, caller: Caller) {
    this.#o = options;
    this.#caller = caller;
  }

  async run(lines: AsyncGenerator<NumberedLine>): Promise<Imported[]> {
    try {
      let isWanted = false;
      for (let next = await lines.next(); !next.done; next = await lines.next()) {
        const { line } = next.value;
        if (this.isStopped) throw wrong('stopped: the connection has gone, or the agent ends');
        if ('schema' in line) continue;
        if (line.type === 'delivery') isWanted = await this.#delivery(line);
        else if (line.type === 'item' && isWanted) await this.#item(line);
        else if (line.type === 'document') await this.#document(line, lines);
      }
      this.#flush();
      return this.#finish();
    } catch (error) {
      for (const { id, run } of this.#begun) this.#undo(id, run.key);
      throw error;
    }
  }

  /** Whether it is new here. */
  async #delivery(line: DeliveryLine): Promise<boolean> {
    this.#flush();
    await nextTurn();
    const known = this.#find(line.origin);
    if (known) {
      this.#known.push({ id: known.id, run: known.run, sink: known.sink, known: true });
      return false;
    }
    const { outbox, place } = this.#o;
    const there = place(line.target, this.#caller);
    const { run_id: runId, attempt } = line.run;
    const theirs = `${line.run.key}/${attempt}`;
    const key = this.#keys.get(theirs) ?? randomBytes(8).toString('hex');
    this.#keys.set(theirs, key);
    const { origin, created_ms: createdMs } = line;
    const common = {
      target: there.target,
      owner: this.#caller.owner,
      origin,
      createdMs,
    };
    const run = { key, runId, attempt, measuredAs: line.run.key };
    const id = outbox.begin({ ...common, run });
    this.#begun.push({ id, run, sink: sinkName(there), place: there });
    return true;
  }

  /** A delivery of that origin that the caller may see. One that is not ready is only another's half import. */
  #find(origin: string): DeliveryState | undefined {
    const { owner, privileged } = this.#caller;
    const found = this.#o.outbox.deliveries({ origin, all: true, ...(privileged ? {} : { owner }) });
    return found.find(({ ready }) => ready);
  }

  async #item({ stage, kind, body }: Draft): Promise<void> {
    this.#drafts.push({ stage, kind, body });
    if (this.#drafts.length < TOGETHER) return;
    this.#flush();
    await nextTurn();
  }

  #flush(): void {
    const last = this.#begun.at(-1);
    if (last) addDrafts(this.#o.outbox, last.id, this.#drafts, last.place);
    this.#drafts = [];
  }

  async #document(line: DocumentLine, lines: AsyncGenerator<NumberedLine>): Promise<void> {
    const { key, attempt } = line.run;
    const ours = this.#keys.get(`${key}/${attempt}`);
    const pieces = piecesOf(line, lines);
    if (ours !== undefined) return this.#o.folders.add({ key: ours, attempt }, line.path, pieces);
    for await (const _piece of pieces) if (this.isStopped) return;
  }

  #finish(): Imported[] {
    this.#o.outbox.release(this.#begun.map(({ id }) => id));
    // From here on nothing is undone.
    const fresh = this.#begun.splice(0);
    const imported = fresh.map(({ id, run, sink, place: { bearer, reason } }) => {
      return { id, run, sink, known: false, bearer, ...(reason === undefined ? {} : { reason }) };
    });
    return [...imported, ...this.#known];
  }

  #undo(id: number, key: string): void {
    const { outbox, folders, log } = this.#o;
    try {
      folders.remove(key);
      outbox.drop(id);
    } catch (error) {
      // The next start sweeps it away.
      log.error({ reason: messageOf(error) }, 'what is left of a refused import could not be removed');
    }
  }
}

/** The document's own lines, and no more: the bundle was checked. */
async function* piecesOf(
  { bytes }: DocumentLine,
  lines: AsyncGenerator<NumberedLine>,
): AsyncGenerator<Buffer> {
  for (let left = bytes; left > 0; ) {
    const next = await lines.next();
    const line = next.done ? undefined : (next.value.line as BundleLine);
    if (line?.type !== 'piece') throw wrong('a document without all of its pieces');
    const data = Buffer.from(line.data, 'base64');
    left -= data.length;
    yield data;
  }
}

export function wrong(message: string): LezeaError {
  return new LezeaError('invalid_params', message);
}
