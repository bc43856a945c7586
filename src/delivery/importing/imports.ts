// Bundles of other agents on their way into the outbox, kept aside as they come. Owns those that are not finished; one goes
// with its connection.

import type { Holding } from '../../attribution/limits.js';
import type { Caller } from '../../attribution/model.js';
import { messageOf } from '../../errors.js';
import { checkBundle } from '../bundle/check.js';
import { linesOf } from '../bundle/read.js';
import type { Incoming } from './folders.js';
import { type Imported, type ImportsOptions, Storing, wrong } from './storing.js';

export class Imports {
  readonly #o: ImportsOptions;
  readonly #unfinished = new Set<Import>();
  /** Bundles are stored one after the other: two of the same would not see each other. */
  #storing: Promise<unknown> = Promise.resolve();

  constructor(options: ImportsOptions) {
    this.#o = options;
  }

  /** What an agent that died left of unfinished ones goes. */
  sweep(): void {
    const { outbox, folders, log } = this.#o;
    try {
      for (const { id, run } of outbox.unreleased()) {
        folders.remove(run.key);
        outbox.drop(id);
      }
      folders.clearIncoming();
    } catch (error) {
      // It is tried again at the next start; nothing of it is ever sent.
      log.error({ reason: messageOf(error) }, 'what is left of an unfinished import could not be removed');
    }
  }

  /** How many are unfinished, or how many bytes they take, by owner. */
  held(what: 'imports' | 'bytes'): Holding[] {
    return [...this.#unfinished].map(({ caller, bytes }) => ({
      owner: caller.owner,
      count: what === 'bytes' ? bytes : 1,
    }));
  }

  /** Room for a bundle of so many bytes. */
  begin(caller: Caller, bytes: number): Import {
    const made = new Import(this.#o, caller, bytes, () => this.#unfinished.delete(made));
    this.#unfinished.add(made);
    return made;
  }

  /** Stores a bundle that has come whole. */
  commit(from: Import, most: number): Promise<Imported[]> {
    const stored = from.commit(most, this.#storing);
    this.#storing = stored.catch(() => undefined);
    return stored;
  }

  async stop(): Promise<void> {
    for (const each of this.#unfinished) each.discard();
    await this.#storing;
  }
}

/** One bundle on its way. */
export class Import {
  readonly caller: Caller;
  /** Of the whole bundle. */
  readonly bytes: number;
  readonly #o: ImportsOptions;
  readonly #file: Incoming;
  readonly #gone: () => void;
  #received = 0;
  #storing: Storing | undefined;

  constructor(options: ImportsOptions, caller: Caller, bytes: number, gone: () => void) {
    this.#o = options;
    this.caller = caller;
    this.bytes = bytes;
    this.#gone = gone;
    this.#file = options.folders.incoming();
  }

  put(offset: number, data: Buffer): void {
    if (this.#storing) throw wrong('an import that is being stored takes no more');
    if (offset !== this.#received) throw wrong(`offset ${offset}: expected ${this.#received}`);
    const end = offset + data.length;
    if (end > this.bytes) throw wrong(`byte ${end}: expected at most ${this.bytes}, as was said`);
    this.#file.write(data, offset);
    this.#received = end;
  }

  /** Whatever becomes of it, this is its end. */
  async commit(most: number, before: Promise<unknown>): Promise<Imported[]> {
    if (this.#storing) throw wrong('the import is being stored already');
    this.#storing = new Storing(this.#o, this.caller);
    try {
      this.#file.close();
      if (this.#received !== this.bytes) {
        throw wrong(`${this.#received} bytes came: expected ${this.bytes}, as was said`);
      }
      const { folders } = this.#o;
      await checkBundle(this.#file.path, { most, isDocument: (path) => folders.isDocument(path) });
      await before;
      return await this.#storing.run(linesOf(this.#file.path, most));
    } finally {
      this.#end();
    }
  }

  /** Nobody will bring the rest. What is being stored stops where it is. */
  discard(): void {
    if (this.#storing) this.#storing.isStopped = true;
    else this.#end();
  }

  #end(): void {
    this.#gone();
    this.#file.remove();
  }
}
