// Whose a run is. Pure.

import type { Owner } from './model.js';

/** One owner is one user id in one PID namespace: a container's root is not the machine's. */
export function sameOwner(a: Owner, b: Owner): boolean {
  return a.uid === b.uid && a.pidNamespace === b.pidNamespace;
}
