// Figures between a document and the integers that they were: a column's base unit (seconds, byte-seconds) has a thousand
// million native ones. Reads and emits numbers; owns nothing.

import type { ColumnUnit } from '../native/frame.js';

/** Native units in a base unit. */
const NANO = 1_000_000_000n;
/** Bits behind the point that a double of 1e-9 and more can have: 30 bits down to 1e-9, and 53 of its own. */
const SHIFT = 83;

/**
 * The integer behind a figure of a document, the one that is nearest to it: exact where the figure is below 2^23 seconds,
 * and else what a double can tell. Not negative, finite.
 */
export function nativeOf(value: number, unit: ColumnUnit): bigint {
  if (unit === 'bytes' || unit === 'count') return BigInt(Math.round(value));
  // Whole and broken part, each exactly: a multiplication of doubles would round.
  const whole = Math.floor(value);
  const rest = BigInt(Math.floor((value - whole) * 2 ** SHIFT));
  const half = 1n << BigInt(SHIFT - 1);
  return BigInt(whole) * NANO + ((rest * NANO + half) >> BigInt(SHIFT));
}

/** The figure as documents have it. */
export function baseOf(native: bigint, unit: ColumnUnit): number {
  return unit === 'bytes' || unit === 'count' ? Number(native) : Number(native) / 1e9;
}
