// Which facts make two runs different ones. Pure.

type Facts = Readonly<Record<string, unknown>>;

/** Facts that make another run of it, by where they are; everything else may differ between two runs that are the same. */
const STABLE_FACTS: readonly (readonly string[])[] = [
  ['captured', 'code', 'commit'],
  ['captured', 'code', 'dirty'],
  ['captured', 'code', 'diff_sha256'],
  ['captured', 'python', 'implementation'],
  ['captured', 'python', 'version'],
  ['captured', 'packages'],
  ['dataset_version'],
  ['seeds'],
  ['config_sha256'],
  ['hyperparameters'],
];

/** The stable ones alone, in the places that they have. */
export function stableFacts(facts: Facts): Facts {
  const stable: Record<string, unknown> = {};
  for (const path of STABLE_FACTS) {
    const value = path.reduce<unknown>((inner, key) => (isObject(inner) ? inner[key] : undefined), facts);
    if (value === undefined) continue;
    const [last = '', ...above] = path.toReversed();
    const place = above.toReversed().reduce<Record<string, unknown>>((inner, key) => {
      inner[key] ??= {};
      return inner[key] as Record<string, unknown>;
    }, stable);
    place[last] = value;
  }
  return stable;
}

/** Whether a difference there makes another run of it; dotted, below `run.facts`. */
export function isStableFact(path: string): boolean {
  return STABLE_FACTS.some((parts) => `${path}.`.startsWith(`run.facts.${parts.join('.')}.`));
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
