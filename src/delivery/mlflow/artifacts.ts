// Brings documents to an MLflow run's artifacts through the server's artifact proxy. Reads what lies there before it writes;
// what is not byte for byte ours is never written over. Owns where ours goes instead.

import { createHash } from 'node:crypto';
import { posix } from 'node:path';
import { SendError } from '../model.js';
import type { ArtifactBody } from './items.js';
import type { MlflowServer } from './server.js';

const API = '/api/2.0/mlflow-artifacts/artifacts';
/** Longest list of a folder that is read. */
const MAX_LIST_BYTES = 16 * 1024 * 1024;
/** An earlier document of ours that is longer than this is not looked at: it stays. */
export const MAX_REPLACED_BYTES = 64 * 1024 * 1024;

/** What lies at a path: nothing, a file of that size, or what no file can take the place of. */
export type Found = 'nothing' | 'folder' | { bytes?: number };

export interface ListedFile {
  path: string;
  is_dir: boolean;
  /** Not every store says it. */
  file_size?: number;
}

/** The artifacts of one MLflow run. */
export class RunArtifacts {
  readonly #server: MlflowServer;
  /** Below the proxy's root, without slashes at its ends. */
  readonly #root: string;

  /** Throws SendError `elsewhere` where the artifacts are not behind the server's own proxy. */
  constructor(server: MlflowServer, artifactUri: string) {
    this.#server = server;
    const [, host, path = ''] = /^mlflow-artifacts:(?:\/\/([^/]*))?\/*(.*?)\/*$/.exec(artifactUri) ?? [];
    const isHere = host === undefined || host === '' || isHostOf(server.address, host);
    // Another host gets neither documents nor credentials because a run's record says so.
    if (!/^mlflow-artifacts:/.test(artifactUri) || !isHere) {
      const store = /^[a-z][a-z0-9+.-]*:(\/\/[^/@?]*(?=[/?]|$))?/i.exec(artifactUri)?.[0] ?? 'a local path';
      throw new SendError(
        'elsewhere',
        `${server.address}: the run's artifacts are not behind the server: ${store}`,
      );
    }
    this.#root = path;
  }

  /**
   * Puts a document where it belongs, or into the first of the other places that is free or ours; the last is ours by its
   * name. Resolves to where it lies.
   */
  async put(
    body: ArtifactBody,
    data: Buffer,
    others: readonly [...string[], string],
    signal: AbortSignal,
  ): Promise<string> {
    const last = others.at(-1) as string;
    for (const path of [body.path, ...others]) {
      if (await this.#settle({ ...body, path }, data, path === last, signal)) return path;
    }
    throw new SendError('poison', `${this.#server.address}: ${last} is a folder of the run's artifacts`);
  }

  /** False: something else lies there. */
  async #settle(body: ArtifactBody, data: Buffer, isOurs: boolean, signal: AbortSignal): Promise<boolean> {
    const found = await this.look(body.path, signal);
    if (found === 'folder') return false;
    if (found !== 'nothing') {
      const there = await this.#compare(body, data, found.bytes, signal);
      if (there === 'same') return true;
      if (there === 'foreign' && !isOurs) return false;
    }
    await this.upload(body.path, data, signal);
    return true;
  }

  async #compare(
    body: ArtifactBody,
    data: Buffer,
    bytes: number | undefined,
    signal: AbortSignal,
  ): Promise<'same' | 'older' | 'foreign'> {
    const { replaces = [] } = body;
    const most = replaces.length === 0 ? data.length : Math.max(data.length, MAX_REPLACED_BYTES);
    if (bytes !== undefined && bytes > most) return 'foreign';
    const there = await this.download(body.path, most, signal);
    if (there.equals(data)) return 'same';
    // The beginning of ours: an upload that was cut short. Nothing of it is lost.
    if (there.equals(data.subarray(0, there.length))) return 'older';
    return replaces.includes(sha256(there)) ? 'older' : 'foreign';
  }

  /** What lies at a path. Goes down from the root, because servers differ in what they say of what is not there. */
  async look(path: string, signal: AbortSignal): Promise<Found> {
    const names = path.split('/');
    let folder = '';
    for (const [depth, name] of names.entries()) {
      const entry = (await this.list(folder, signal)).find((file) => posix.basename(file.path) === name);
      if (!entry) return 'nothing';
      const isLast = depth === names.length - 1;
      if (isLast && !entry.is_dir) return entry.file_size === undefined ? {} : { bytes: entry.file_size };
      // A file where a folder would have to be is as much in the way as a folder in the place of a file.
      if (isLast || !entry.is_dir) return 'folder';
      folder = posix.join(folder, name);
    }
    return 'folder';
  }

  /** What lies in a folder; where there is none, servers answer with nothing or a fault. */
  async list(folder: string, signal: AbortSignal): Promise<ListedFile[]> {
    const path = `${API}?path=${encodeURIComponent(posix.join(this.#root, folder))}`;
    const request = { method: 'GET', path, repeatable: true, maxBytes: MAX_LIST_BYTES } as const;
    const answer = await this.#server.send(request, signal);
    this.#server.check(answer, 'GET', path);
    return (this.#server.json(answer, 'GET', path) as { files?: ListedFile[] }).files ?? [];
  }

  /** A file, or the beginning of one that is longer than `most`: enough to see that it is another. */
  async download(file: string, most: number, signal: AbortSignal): Promise<Buffer> {
    const path = this.#fileUrl(file);
    const limits = { headBytes: most + 1, maxBytes: Number.POSITIVE_INFINITY };
    const answer = await this.#server.send({ method: 'GET', path, repeatable: true, ...limits }, signal);
    // Gone since it was listed: it is looked for again.
    if (answer.status === 404)
      throw new SendError('retry', `${this.#server.address}${path}: 404, but it was listed`);
    this.#server.check(answer, 'GET', path);
    return answer.body;
  }

  async upload(file: string, data: Buffer, signal: AbortSignal): Promise<void> {
    const path = this.#fileUrl(file);
    const headers = {
      'content-type': file.endsWith('.json') ? 'application/json' : 'application/octet-stream',
    };
    const answer = await this.#server.send(
      { method: 'PUT', path, headers, body: data, repeatable: true },
      signal,
    );
    this.#server.check(answer, 'PUT', path);
    // MLflow 3 says nothing, MLflow 2 `{}`; a page is somebody else's.
    if (answer.body.length > 0) this.#server.json(answer, 'PUT', path);
  }

  #fileUrl(file: string): string {
    const segments = posix.join(this.#root, file).split('/');
    return `${API}/${segments.map(encodeURIComponent).join('/')}`;
  }
}

export function sha256(data: Buffer): string {
  return createHash('sha256').update(data).digest('hex');
}

/** Whether a host and port, as an artifact URI names them, are those of the address. */
function isHostOf(address: string, host: string): boolean {
  const { protocol, host: own } = new URL(address);
  return URL.canParse(`${protocol}//${host}`) && new URL(`${protocol}//${host}`).host === own;
}
