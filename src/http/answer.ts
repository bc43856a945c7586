// How answers are written: JSON or an exposition, compressed where the client takes it, errors as JSON too.
// Reads the request's headers; writes the response.

import { promisify } from 'node:util';
import { constants, gzip } from 'node:zlib';
import type { ErrorRequestHandler, Request, RequestHandler, Response } from 'express';
import type { Logger } from '../log.js';
import { acceptsGzip } from './negotiate.js';

export const JSON_TYPE = 'application/json; charset=utf-8';

const compress = promisify(gzip);
/** Bodies that several get are compressed once. */
const packed = new WeakMap<Buffer, Promise<Buffer>>();
/** Below this an answer is one packet anyway. */
const MIN_GZIP_BYTES = 1024;

/** An error that is answered as JSON with its own status. */
export class HttpError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
    this.name = 'HttpError';
  }
}

/** Sends a body, compressed off the event loop if the client takes gzip. */
export async function sendBody(
  request: Request,
  response: Response,
  body: { type: string; bytes: Buffer },
): Promise<void> {
  response.vary('Accept-Encoding');
  response.setHeader('Content-Type', body.type);
  let { bytes } = body;
  if (bytes.length >= MIN_GZIP_BYTES && acceptsGzip(request.headers['accept-encoding'])) {
    const known = packed.get(bytes) ?? compress(bytes, { level: constants.Z_BEST_SPEED });
    packed.set(bytes, known);
    bytes = await known;
    response.setHeader('Content-Encoding', 'gzip');
  }
  response.setHeader('Content-Length', bytes.length);
  response.end(request.method === 'HEAD' ? undefined : bytes);
}

export async function sendJson(request: Request, response: Response, document: unknown): Promise<void> {
  const bytes = Buffer.from(`${JSON.stringify(document)}\n`);
  await sendBody(request, response, { type: JSON_TYPE, bytes });
}

export const notFound: RequestHandler = (request) => {
  throw new HttpError(404, 'not_found', `${request.path}: no such page`);
};

/** Ends every failed request with a JSON body; what is our own mistake is logged and not shown. */
export function errorHandler(log: Logger): ErrorRequestHandler {
  return (error: unknown, request, response, next) => {
    if (response.headersSent) {
      next(error);
      return;
    }
    const known = error instanceof HttpError ? error : statusError(error);
    if (known === undefined) log.error({ err: error, path: request.path }, 'http request failed');
    response.status(known?.status ?? 500).json({
      error: {
        code: known?.code ?? 'internal',
        message: known?.message ?? 'the request failed; the log says why',
      },
    });
  };
}

/** Errors of express itself (a path that cannot be decoded) carry a status. */
function statusError(error: unknown): HttpError | undefined {
  const status = (error as { status?: unknown } | null)?.status;
  if (typeof status !== 'number' || status < 400 || status > 499) return undefined;
  return new HttpError(status, 'bad_request', 'the request cannot be understood');
}
