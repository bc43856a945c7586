// What was used of what is limited, by a run, a scope, a level or a whole experiment, in the unit of the limit's name.
// Unknown stays unknown. Reads published figures; owns nothing.

import type { Run, ScopeNode } from './model.js';
import type { LimitKey, RunLimitName } from './run-limits.js';
import { knowsEnergy, Totals } from './totals.js';

const HOUR_SECONDS = 3600;

/** What these totals cost, in the configured currency; undefined where that is not known. */
export type Price = (totals: Totals) => number | undefined;

/** What limits are held against: of an attempt, or of several together. */
export interface Part {
  totals: Totals;
  steps: number;
  episodes: number;
  /** Wall time by CLOCK_MONOTONIC. */
  runtimeSeconds: number;
}

/** The part of an attempt that a limit speaks of; undefined where nothing of it is there (yet). */
export function partOf(run: Run, key: LimitKey, runtimeSeconds: number): Part | undefined {
  const { scope, level } = key;
  if (scope === undefined && level === undefined) return wholeOf(run, runtimeSeconds);
  const nodes =
    scope === undefined ? outermost(run, level ?? '') : [run.scope(scope)].filter((node) => !!node);
  const [first] = nodes;
  if (!first) return undefined;
  const all = withBelow(nodes);
  // All at once: a sum for each scope of a large level would be made in vain.
  const totals =
    nodes.length === 1
      ? first.inclusive()
      : Totals.sum(
          first.self,
          all.filter((node) => node !== first).map(({ self }) => self),
        );
  return { totals, ...progressOf(all), runtimeSeconds };
}

/** One after the other, or side by side: sums. The peak is the first's, since peaks do not add up. */
export function joined(first: Part, others: readonly Part[]): Part {
  if (others.length === 0) return first;
  const sum = (of: (part: Part) => number) => others.reduce((all, part) => all + of(part), of(first));
  return {
    totals: Totals.sum(
      first.totals,
      others.map(({ totals }) => totals),
    ),
    steps: sum(({ steps }) => steps),
    episodes: sum(({ episodes }) => episodes),
    runtimeSeconds: sum(({ runtimeSeconds }) => runtimeSeconds),
  };
}

/** What a part has used of this; undefined where that is not measured. */
export function usedOf(part: Part, limit: RunLimitName, price: Price): number | undefined {
  switch (limit) {
    case 'runtime_seconds':
      return part.runtimeSeconds;
    case 'steps':
      return part.steps;
    case 'episodes':
      return part.episodes;
    case 'core_hours': {
      const seconds = part.totals.value('cpu_seconds');
      return seconds === undefined ? undefined : seconds / HOUR_SECONDS;
    }
    case 'cost':
      return price(part.totals);
    // A level, no sum: the most that was held at one tick, so that a peak between two looks is not missed.
    case 'memory_bytes':
      return part.totals.value('memory_peak_bytes');
    case 'gpu_hours': {
      const seconds = part.totals.value('gpu_active_seconds');
      return seconds === undefined ? undefined : seconds / HOUR_SECONDS;
    }
    case 'gpu_memory_bytes':
      return part.totals.value('gpu_memory_peak_bytes');
    case 'energy_joules': {
      const { totals } = part;
      if (!knowsEnergy(totals)) return undefined;
      return (totals.value('cpu_energy_joules') ?? 0) + (totals.value('gpu_energy_joules') ?? 0);
    }
  }
}

/** Steps and episodes of a run are all that were reported, in whatever scope. */
export function wholeOf(run: Run, runtimeSeconds: number): Part {
  const below = progressOf(withBelow(run.roots));
  const { steps, episodes } = run.progress;
  return {
    totals: run.totals,
    steps: below.steps + steps,
    episodes: below.episodes + episodes,
    runtimeSeconds,
  };
}

function withBelow(nodes: readonly ScopeNode[]): ScopeNode[] {
  const found: ScopeNode[] = [];
  const waiting = [...nodes];
  for (let node = waiting.pop(); node; node = waiting.pop()) {
    found.push(node);
    waiting.push(...node.children);
  }
  return found;
}

function progressOf(nodes: readonly ScopeNode[]): { steps: number; episodes: number } {
  const sum = { steps: 0, episodes: 0 };
  for (const { progress } of nodes) {
    sum.steps += progress.steps;
    sum.episodes += progress.episodes;
  }
  return sum;
}

/** The scopes of a level that lie in no other of it: none is counted twice. */
function outermost(run: Run, level: string): ScopeNode[] {
  const found: ScopeNode[] = [];
  const waiting = [...run.roots];
  for (let node = waiting.pop(); node; node = waiting.pop()) {
    if (node.level === level) found.push(node);
    else waiting.push(...node.children);
  }
  return found;
}
