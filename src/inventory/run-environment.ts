// What tells one run's conditions from another's: the node it ran on, and what was said of it. Pure.

import type { Environment, RunSection } from './document.js';
import { fingerprintOf } from './fingerprint.js';
import { stableFacts } from './stable-facts.js';

export const RUN_FINGERPRINT_SCHEMA = 'lezea.run_fingerprint/v1';

type Facts = Readonly<Record<string, unknown>>;

/** Lower-case hexadecimal SHA-256. */
export function runFingerprint(stableNode: string, facts: Facts): string {
  return fingerprintOf({ schema: RUN_FINGERPRINT_SCHEMA, node: stableNode, facts: stableFacts(facts) });
}

/** The environment of a node as a run's document has it. */
export function withRun(
  environment: Environment,
  run: { runId: string; attempt: number },
  facts: Facts,
): Environment & { run: RunSection } {
  const sha256 = runFingerprint(environment.fingerprint.stable, facts);
  const { runId: id, attempt } = run;
  return {
    ...environment,
    run: { id, attempt, facts, fingerprint: { schema: RUN_FINGERPRINT_SCHEMA, sha256 } },
  };
}
