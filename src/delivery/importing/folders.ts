// Where documents and bundles lie, as src/files keeps them. Types only.

import type { Delivery } from '../model.js';

type RunKey = Pick<Delivery['run'], 'key' | 'attempt'>;

/** Where what comes from elsewhere is put. */
export interface ImportFolders {
  isDocument(path: string): boolean;
  /** A new file for a bundle. */
  incoming(): Incoming;
  /** Forgets bundles of an earlier life. */
  clearIncoming(): void;
  /** Keeps a document of a run that is known here by this key only. */
  add(run: RunKey, path: string, pieces: AsyncIterable<Buffer>): Promise<void>;
  /** Removes all of a run's folder. */
  remove(key: string): void;
}

export interface Incoming {
  readonly path: string;
  write(data: Buffer, offset: number): void;
  close(): void;
  /** Closes it, too. */
  remove(): void;
}

export interface PieceAt {
  file: string;
  offset: number;
  /** Bytes. */
  limit: number;
}

/** The documents of ended runs, those that came from elsewhere too. */
export interface Folders extends ImportFolders {
  /** A piece of a document; `invalid_params` for a name that is none. */
  piece(run: RunKey, at: PieceAt): Promise<{ size: number; data: Buffer; eof: boolean }>;
}
