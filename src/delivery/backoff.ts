// How long to wait before a place is tried again. Pure.

export interface BackoffLimits {
  firstMs: number;
  mostMs: number;
}

/**
 * Doubles with every failure up to `mostMs`, between half of it and all of it at random, so that many agents do not come
 * back at once. What the place asked for is the least.
 */
export function backoffMs(
  failures: number,
  limits: BackoffLimits,
  { random, retryAfterMs = 0 }: { random: number; retryAfterMs?: number },
): number {
  const full = Math.min(limits.mostMs, limits.firstMs * 2 ** Math.min(failures - 1, 30));
  return Math.max(full * (0.5 + random / 2), Math.min(retryAfterMs, limits.mostMs));
}

/** What is left of a wait that was written down by wall clock; a clock that was set cannot make it longer than it can be. */
export function restOfWait(retryMs: number, nowMs: number, limits: BackoffLimits): number {
  return Math.min(Math.max(0, retryMs - nowMs), limits.mostMs);
}
