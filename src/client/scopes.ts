// The client's half of a run's scope tree: which (parent, level, name) has which id. Owns the ids of one process's session;
// they stay the same when the session is opened again.

import { cleanLevel, encodeName } from './names.js';

/** Scopes that one process may have; the agent takes no more per run. Others count on their parent. */
const MAX_SCOPES = 10_000;

export interface Scope {
  readonly id: number;
  readonly parent: Scope | null;
  readonly level: string;
  readonly name: string;
  readonly label?: string;
  readonly path: string;
}

/** One entry of `scope.define`. */
export interface Definition {
  id: number;
  parent: number;
  level: string;
  name: string;
  label?: string;
}

export class ScopeTable {
  readonly #byKey = new Map<string, Scope>();
  readonly #inOrder: Scope[] = [];
  /** Lookups that were refused because the table is full. */
  dropped = 0;

  constructor(readonly onNew: (scope: Scope) => void) {}

  /** The child of that name, made if need be; the parent itself when there is room for no more. */
  child(parent: Scope | null, level: string, name: unknown): Scope | null {
    // Names are looked up as given: encoding costs more than everything else here.
    const key = `${parent?.id ?? 0} ${level} ${String(name)}`;
    const known = this.#byKey.get(key);
    if (known) return known;
    if (this.#inOrder.length >= MAX_SCOPES) {
      this.dropped += 1;
      return parent;
    }
    const scope = this.#make(parent, level, name);
    this.#byKey.set(key, scope);
    this.#inOrder.push(scope);
    this.onNew(scope);
    return scope;
  }

  #make(parent: Scope | null, rawLevel: string, rawName: unknown): Scope {
    const level = cleanLevel(rawLevel);
    const { name, label } = encodeName(rawName);
    const step = `${level}:${name}`;
    const path = parent ? `${parent.path}/${step}` : step;
    const scope = { id: this.#inOrder.length + 1, parent, level, name, path };
    return label === undefined ? scope : { ...scope, label };
  }

  /** All of them, parents before children. */
  all(): readonly Scope[] {
    return this.#inOrder;
  }
}

export function definitionOf(scope: Scope): Definition {
  const { id, level, name, label } = scope;
  const definition = { id, parent: scope.parent?.id ?? 0, level, name };
  return label === undefined ? definition : { ...definition, label };
}
