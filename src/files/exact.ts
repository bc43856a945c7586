// Figures between a document and the integers that they were: a second has a thousand million native units, a joule a
// million. Reads and emits numbers; owns nothing.

import { type ColumnUnit, DECIMALS } from '../native/frame.js';

/** Bits behind the point that a double of 1e-9 and more can have: 30 bits down to 1e-9, and 53 of its own. */
const SHIFT = 83;

/**
 * The integer behind a figure of a document, the one that is nearest to it: exact where the figure is below 2^23 seconds
 * or 2^33 joules, and else what a double can tell. Not negative, finite.
 */
export function nativeOf(value: number, unit: ColumnUnit): bigint {
  if (DECIMALS[unit] === 0) return BigInt(Math.round(value));
  const natives = 10n ** BigInt(DECIMALS[unit]);
  // Whole and broken part, each exactly: a multiplication of doubles would round.
  const whole = Math.floor(value);
  const rest = BigInt(Math.floor((value - whole) * 2 ** SHIFT));
  const half = 1n << BigInt(SHIFT - 1);
  return BigInt(whole) * natives + ((rest * natives + half) >> BigInt(SHIFT));
}

/** The figure as documents have it. */
export function baseOf(native: bigint, unit: ColumnUnit): number {
  return Number(native) / 10 ** DECIMALS[unit];
}
