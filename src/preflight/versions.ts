// Versions, compared by their numbers: 9.2 is older than 12.1. Pure.

const VERSION = /^v?(\d+(?:\.\d+)*)(.*)$/;
/** Of Python packages (PEP 440): older than the release they come before. */
const BEFORE = /^[-_.]?(?:a|b|c|rc|alpha|beta|pre|preview|dev)/i;

/** Negative: `one` is older; 0: the same, as far as numbers go. What is no version is older than any. */
export function compareVersions(one: string, other: string): number {
  const [a, b] = [partsOf(one), partsOf(other)];
  for (let i = 0; i < Math.max(a.numbers.length, b.numbers.length); i++) {
    const difference = (a.numbers[i] ?? 0) - (b.numbers[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return Number(b.isBefore) - Number(a.isBefore);
}

export function isVersion(text: string): boolean {
  return VERSION.test(text);
}

function partsOf(text: string): { numbers: number[]; isBefore: boolean } {
  const [, numbers, rest = ''] = VERSION.exec(text.trim()) ?? [];
  if (numbers === undefined) return { numbers: [-1], isBefore: true };
  return { numbers: numbers.split('.').map(Number), isBefore: BEFORE.test(rest) };
}
