// The folders of ended runs by their keys alone: a delivery's documents are there also when the run itself is not known here,
// because it came from another agent. Owns the folders that were made for such runs, and imports/, where bundles come in.

import { closeSync, mkdirSync, openSync, rm, rmSync, writeSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { syncFolder, writeBytesAtomically } from './atomic.js';
import { type FilePiece, isRunFile, readRunFile, runFilePath, runFolder } from './run-files.js';

/** A run as its folder is called: of an agent's own making, never a client's words. */
interface RunKey {
  key: string;
  attempt: number;
}

export class RunFolders {
  readonly #stateDir: string;
  #lastFile = 0;

  constructor(stateDir: string) {
    this.#stateDir = stateDir;
  }

  isDocument(path: string): boolean {
    return isRunFile(path);
  }

  piece(run: RunKey, at: { file: string; offset: number; limit: number }): Promise<FilePiece> {
    return readRunFile(this.#stateDir, run, at);
  }

  /** Keeps a document; it is on the disk when this resolves. */
  async add(run: RunKey, name: string, pieces: AsyncIterable<Buffer>): Promise<void> {
    const path = runFilePath(this.#stateDir, run, name);
    if (path === undefined) throw new Error(`${name}: not a document of a run`);
    await mkdir(dirname(path), { recursive: true, mode: 0o750 });
    await writeBytesAtomically(path, pieces);
    for (let at = dirname(dirname(path)); at.length >= this.#stateDir.length; at = dirname(at)) {
      await syncFolder(at);
    }
  }

  /** Removes all attempts of a run. */
  remove(key: string): void {
    rmSync(dirname(runFolder(this.#stateDir, { key, attempt: 1 })), { recursive: true, force: true });
  }

  incoming(): IncomingFile {
    mkdirSync(this.#incomingDir, { recursive: true, mode: 0o700 });
    this.#lastFile += 1;
    return new IncomingFile(join(this.#incomingDir, String(this.#lastFile)));
  }

  clearIncoming(): void {
    rmSync(this.#incomingDir, { recursive: true, force: true });
  }

  get #incomingDir(): string {
    return join(this.#stateDir, 'imports');
  }
}

/** A bundle as it comes, piece by piece. */
class IncomingFile {
  #descriptor: number | undefined;

  constructor(readonly path: string) {
    this.#descriptor = openSync(path, 'wx', 0o600);
  }

  write(data: Buffer, offset: number): void {
    if (this.#descriptor === undefined) throw new Error(`${this.path}: written to after it was closed`);
    for (let done = 0; done < data.length; ) {
      done += writeSync(this.#descriptor, data, done, data.length - done, offset + done);
    }
  }

  close(): void {
    if (this.#descriptor !== undefined) closeSync(this.#descriptor);
    this.#descriptor = undefined;
  }

  remove(): void {
    this.close();
    // A big one takes a while; what cannot be removed now goes with the next start.
    rm(this.path, { force: true }, () => undefined);
  }
}
