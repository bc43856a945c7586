// The known name that is nearest to a mistyped one, for hints. Pure.

/** Edit distance, with a swap of neighbours as one edit. */
export function distance(a: string, b: string): number {
  const width = b.length + 1;
  // cells[i * width + j]: the cost of turning the first i characters of a into the first j of b.
  const cells = new Uint16Array((a.length + 1) * width);
  const cost = (i: number, j: number): number => cells[i * width + j] ?? 0;
  for (let i = 0; i <= a.length; i++) {
    for (let j = 0; j <= b.length; j++) {
      let best = Math.max(i, j);
      if (i > 0 && j > 0) {
        const same = a[i - 1] === b[j - 1] ? 0 : 1;
        best = Math.min(cost(i - 1, j) + 1, cost(i, j - 1) + 1, cost(i - 1, j - 1) + same);
        const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
        if (swapped) best = Math.min(best, cost(i - 2, j - 2) + 1);
      }
      cells[i * width + j] = best;
    }
  }
  return cost(a.length, b.length);
}

/** Longest part of a mistyped name that is looked at, characters. */
const LOOKED_AT = 128;

/** The nearest of the names, if any is near enough to be meant; `cost`: how far one is. */
export function nearest(
  mistyped: string,
  names: Iterable<string>,
  cost: (mistyped: string, name: string) => number = distance,
): string | undefined {
  const short = mistyped.slice(0, LOOKED_AT);
  let best: { name: string; cost: number } | undefined;
  for (const name of names) {
    const far = cost(short, name);
    if (best === undefined || far < best.cost) best = { name, cost: far };
  }
  return best !== undefined && best.cost <= Math.max(2, Math.floor(short.length / 3)) ? best.name : undefined;
}
