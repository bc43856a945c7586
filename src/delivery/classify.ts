// What an HTTP answer means for what was sent. Reads the answer only; owns nothing. What a place says of itself goes into
// messages shortened and printable; what we sent, credentials above all, never does.

import { SendError, type Verdict } from './model.js';
import type { HttpAnswer } from './request.js';

/** How much of a place's own words a message repeats, characters. */
const MAX_WORDS = 300;
/** No place keeps us away for longer, milliseconds. */
const MAX_RETRY_AFTER_MS = 24 * 3600 * 1000;

/** A client error that says "later", not "no". */
const LATER = new Set([408, 425, 429]);

/**
 * The error that an answer stands for; undefined when the request was taken. A 4xx is about what was sent, unless the place
 * has a word for it that says otherwise; that is for the caller to know.
 */
export function faultOf(answer: HttpAnswer, what: string, nowMs = Date.now()): SendError | undefined {
  const { status, headers } = answer;
  if (status >= 200 && status < 300) return undefined;
  const said = `${what}: ${status}${wordsOf(answer)}`;
  const verdict = verdictOf(status);
  if (status >= 300 && status < 400) {
    return new SendError(
      'refused',
      `${said}: redirects${targetOf(headers.location)}; redirects are not followed`,
    );
  }
  if (verdict !== 'retry') return new SendError(verdict, said + adviceOf(answer), { status });
  const retryAfterMs = parseRetryAfter(headers['retry-after'], nowMs);
  return new SendError('retry', said, retryAfterMs === undefined ? {} : { retryAfterMs });
}

function verdictOf(status: number): Verdict {
  if (status === 401 || status === 403 || status === 407) return 'refused';
  if (status >= 400 && status < 500 && !LATER.has(status)) return 'poison';
  return 'retry';
}

/** What the place said, in one printable line. */
export function wordsOf({ body }: Pick<HttpAnswer, 'body'>): string {
  const words = body
    .subarray(0, 4 * MAX_WORDS)
    .toString()
    .replace(/<[^>]*>/g, ' ')
    .replace(/[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\u202A-\u202E\u2066-\u2069\s]+/gu, ' ')
    .trim();
  if (words === '') return '';
  return ` (${words.length > MAX_WORDS ? `${words.slice(0, MAX_WORDS)}…` : words})`;
}

/** What somebody has to do about it, where that is known. */
function adviceOf({ status, body }: HttpAnswer): string {
  const isHost = status === 403 && body.includes('Invalid Host header');
  // MLflow since 3.5 compares the Host header with a list, port included.
  return isHost ? '; start the server with this host and port in --allowed-hosts' : '';
}

/** Scheme, host and port of a redirect; its path and query may hold secrets. */
function targetOf(location: string | undefined): string {
  if (location === undefined || !URL.canParse(location)) return '';
  return ` to ${new URL(location).origin}`;
}

/** Milliseconds from now that a Retry-After asks for, given in seconds or as a date; undefined where it is neither. */
export function parseRetryAfter(header: string | undefined, nowMs: number): number | undefined {
  if (header === undefined) return undefined;
  const text = header.trim();
  const wait = /^\d+(\.\d+)?$/.test(text) ? Number(text) * 1000 : Date.parse(text) - nowMs;
  if (Number.isNaN(wait)) return undefined;
  return Math.min(Math.max(wait, 0), MAX_RETRY_AFTER_MS);
}
