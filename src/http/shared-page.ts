// One page for all who ask within a moment: many scrapers, or one that asks without end, cost what one costs.
// Owns the pages of that moment.

/** How long a page serves, milliseconds; figures are committed once a second. */
const SHARED_MS = 100;

export function sharedPages<K, V>(
  make: (key: K) => Promise<V>,
  nowMs = () => performance.now(),
): (key: K) => Promise<V> {
  const pages = new Map<K, { page: Promise<V>; madeAtMs: number }>();
  return (key) => {
    const known = pages.get(key);
    if (known && nowMs() - known.madeAtMs < SHARED_MS) return known.page;
    const page = make(key);
    pages.set(key, { page, madeAtMs: nowMs() });
    // Whoever asked hears of a failure; the next one tries again.
    page.catch(() => pages.delete(key));
    return page;
  };
}
