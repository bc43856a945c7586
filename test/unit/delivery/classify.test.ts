// What an answer means: later, never this, or nobody lets us in; with what a place asked for and what somebody has to do.

import { describe, expect, it } from 'vitest';
import { faultOf, parseRetryAfter } from '../../../src/delivery/classify.js';

const NOW = Date.parse('2026-11-21T10:00:00Z');
const answer = (status: number, headers: Record<string, string> = {}, body = '') => ({
  status,
  headers,
  body: Buffer.from(body),
});
const fault = (...args: Parameters<typeof answer>) => faultOf(answer(...args), 'POST http://t/a', NOW);

it.each([200, 201, 204])('%i is taken', (status) => {
  expect(fault(status)).toBeUndefined();
});

it.each([
  [408, 'retry'],
  [429, 'retry'],
  [500, 'retry'],
  [502, 'retry'],
  [503, 'retry'],
  [504, 'retry'],
  [301, 'refused'],
  [401, 'refused'],
  [403, 'refused'],
  [407, 'refused'],
  [400, 'poison'],
  [404, 'poison'],
  [409, 'poison'],
  [413, 'poison'],
  [422, 'poison'],
])('%i means %s', (status, verdict) => {
  expect(fault(status)).toMatchObject({
    verdict,
    message: `POST http://t/a: ${status}${status === 301 ? ': redirects; redirects are not followed' : ''}`,
  });
});

describe('Retry-After', () => {
  it.each<[string | undefined, number | undefined]>([
    ['7', 7000],
    ['0', 0],
    ['1.5', 1500],
    ['Sat, 21 Nov 2026 10:00:30 GMT', 30_000],
    ['Sat, 21 Nov 2026 09:00:00 GMT', 0],
    ['99999999999', 24 * 3600 * 1000],
    ['soon', undefined],
    ['', undefined],
    [undefined, undefined],
  ])('%j is %j ms', (header, wait) => {
    expect(parseRetryAfter(header, NOW)).toBe(wait);
  });

  it('goes with the error that it was sent with', () => {
    expect(fault(429, { 'retry-after': '7' })?.retryAfterMs).toBe(7000);
    expect(fault(503)?.retryAfterMs).toBeUndefined();
  });
});

describe('the message', () => {
  it('says what to do about a Host that is not allowed', () => {
    const body = 'Invalid Host header - possible DNS rebinding attack detected';
    expect(fault(403, {}, body)?.message).toBe(
      `POST http://t/a: 403 (${body}); start the server with this host and port in --allowed-hosts`,
    );
  });

  it('has the place’s own words, printable and short', () => {
    expect(fault(400, {}, '<h1>Bad</h1>\n\x1b[31m“key”\u202e')?.message).toBe(
      'POST http://t/a: 400 (Bad [31m“key”)',
    );
    expect(fault(400, {}, 'x'.repeat(9000))?.message.length).toBeLessThan(400);
  });

  it('names where a redirect leads, without what may be secret in it', () => {
    const message = fault(302, { location: 'https://login.example/x?ticket=secret' })?.message;
    expect(message).toContain('redirects to https://login.example; ');
    expect(message).not.toContain('secret');
    expect(fault(302, { location: '/login?secret' })?.message).not.toContain('secret');
  });
});
