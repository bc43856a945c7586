// Divides a price among those that used what it is for, in integers, by largest remainder. Pure.

/** `parts` in native units, `rate` for every `unit` of them; each part's price, and their sum: the price of all, rounded. */
export function priceParts(
  parts: readonly bigint[],
  { rate, unit }: { rate: bigint; unit: bigint },
): { total: bigint; shares: bigint[] } {
  const shares: bigint[] = [];
  const remainders = new Float64Array(parts.length);
  let [exact, given] = [0n, 0n];
  for (const [index, part] of parts.entries()) {
    const product = part * rate;
    const share = product / unit;
    shares.push(share);
    remainders[index] = Number(product - share * unit);
    exact += product;
    given += share;
  }
  const total = (2n * exact + unit) / (2n * unit);
  // Whoever lost most by rounding down has one more; the first of equals. Never more parts than lost something.
  const order = Uint32Array.from(parts.keys()).sort(
    (a, b) => (remainders[b] ?? 0) - (remainders[a] ?? 0) || a - b,
  );
  for (const index of order.subarray(0, Number(total - given))) shares[index] = (shares[index] ?? 0n) + 1n;
  return { total, shares };
}
