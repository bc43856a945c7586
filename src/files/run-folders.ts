// The folders of ended runs by their keys alone: a delivery's documents are there also when the run itself is not known here,
// because it came from another agent. Owns the folders that were made for such runs, and what is on its way in.

import { type FilePiece, readRunFile } from './run-files.js';

/** A run as its folder is called; both are of an agent's own making, never a client's words. */
interface RunKey {
  key: string;
  attempt: number;
}

export class RunFolders {
  readonly #stateDir: string;

  constructor(stateDir: string) {
    this.#stateDir = stateDir;
  }

  piece(run: RunKey, at: { file: string; offset: number; limit: number }): Promise<FilePiece> {
    return readRunFile(this.#stateDir, run, at);
  }
}
