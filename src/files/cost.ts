// What a run cost: each of its scopes, itself and with everything below it, and what was in no scope; in integers, so that
// the parts are the whole. Reads a run whose figures stand still; owns nothing.

import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Run, ScopeNode } from '../attribution/model.js';
import { knowsEnergy, type Totals } from '../attribution/totals.js';
import { priceParts } from './apportion.js';
import {
  type CostSettings,
  columnsOf,
  MEASURED,
  RESOURCE_NAMES,
  RESOURCES,
  type ResourceName,
  ratesOf,
} from './cost-rates.js';

/** So many scopes are read before other work has its turn. */
const SCOPES_TOGETHER = 500;

/** What not every machine has, or tells. */
const OPTIONAL = new Set<ResourceName>(['gpu_hours', 'gpu_mem_gb_hours', 'energy_kwh']);

/** By resource: native units, or 10⁻⁹ of the currency. Absent: not measured, or without a price. */
export type Amounts = Partial<Record<ResourceName, bigint>>;

type Rates = ReturnType<typeof ratesOf>;

/** What was used, and its price. */
export interface Bill {
  used: Amounts;
  cost: Amounts;
}

export interface ScopeBill {
  path: string;
  self: Bill;
  inclusive: Bill;
}

export interface RunCost {
  scopes: ScopeBill[];
  unattributed: Bill;
  total: Bill;
}

/** Whether anything that the run has used has a price. */
export function isPriced(run: Pick<Run, 'totals'>, settings: CostSettings): boolean {
  return pricedIn(usedOf(run.totals, settings), ratesOf(settings)).length > 0;
}

/** Undefined where nothing that the run used has a price. */
export async function costOf(run: Run, settings: CostSettings): Promise<RunCost | undefined> {
  const rates = ratesOf(settings);
  const total: Bill = { used: usedOf(run.totals, settings), cost: {} };
  const priced = pricedIn(total.used, rates);
  if (priced.length === 0) return undefined;
  const { scopes, unattributed } = await billsOf(run, settings);
  const bills = [...scopes.map(({ self }) => self), unattributed];
  for (const name of priced) {
    const price = { rate: rates.get(name) ?? 0n, unit: RESOURCES[name].natives };
    const { total: sum, shares } = priceParts(
      bills.map(({ used }) => used[name] ?? 0n),
      price,
    );
    for (const [index, bill] of bills.entries()) {
      if (bill.used[name] !== undefined) bill.cost[name] = shares[index] ?? 0n;
    }
    total.cost[name] = sum;
    await nextTurn();
  }
  addUp(scopes);
  return { scopes: scopes.map(({ parent: _parent, ...scope }) => scope), unattributed, total };
}

/** What a run cost in all: the total of its cost document, and what is not in it. Undefined where there would be none. */
export function costTotal(
  { totals }: Pick<Run, 'totals'>,
  settings: CostSettings,
):
  | { currency: string; total: number; gpu_basis?: CostSettings['gpu_basis']; unpriced: ResourceName[] }
  | undefined {
  const [rates, used] = [ratesOf(settings), usedOf(totals, settings)];
  const priced = pricedIn(used, rates);
  if (priced.length === 0) return undefined;
  const sum = priced.reduce((before, name) => before + priceOfOne(name, used[name] ?? 0n, rates), 0n);
  const unpriced = RESOURCE_NAMES.filter((name) => !priced.includes(name));
  const basis = priced.includes('gpu_hours') && { gpu_basis: settings.gpu_basis };
  return { currency: settings.currency, total: Number(sum) / 1e9, ...basis, unpriced };
}

/**
 * What totals cost, for a limit of cost: the total that the cost document would have. Undefined where nothing that is
 * measured has a price, or something that has one is not known; energy and GPUs are not in it where nothing tells of them.
 */
export function priceOf(totals: Totals, settings: CostSettings): number | undefined {
  const rates = ratesOf(settings);
  const used = usedOf(totals, settings);
  const priced = MEASURED.filter(
    (name) => rates.has(name) && (used[name] !== undefined || !OPTIONAL.has(name)),
  );
  if (priced.length === 0) return undefined;
  let sum = 0n;
  for (const name of priced) {
    const amount = used[name];
    if (amount === undefined) return undefined;
    sum += priceOfOne(name, amount, rates);
  }
  return Number(sum) / 1e9;
}

function pricedIn(used: Amounts, rates: Rates): ResourceName[] {
  return MEASURED.filter((name) => rates.has(name) && used[name] !== undefined);
}

function priceOfOne(name: ResourceName, amount: bigint, rates: Rates): bigint {
  return priceParts([amount], { rate: rates.get(name) ?? 0n, unit: RESOURCES[name].natives }).total;
}

type Open = ScopeBill & { parent: string | undefined };

async function billsOf(run: Run, settings: CostSettings): Promise<{ scopes: Open[]; unattributed: Bill }> {
  const scopes: Open[] = [];
  for (const scope of run.scopes()) {
    scopes.push(open(scope, settings));
    if (scopes.length % SCOPES_TOGETHER === 0) await nextTurn();
  }
  return { scopes, unattributed: { used: usedOf(run.unattributed, settings), cost: {} } };
}

function open(scope: ScopeNode, settings: CostSettings): Open {
  return {
    path: scope.path,
    parent: scope.parent?.path,
    self: { used: usedOf(scope.self, settings), cost: {} },
    inclusive: { used: usedOf(scope.inclusive(), settings), cost: {} },
  };
}

function usedOf(totals: Totals, settings: CostSettings): Amounts {
  const used: Amounts = {};
  for (const name of MEASURED) {
    if (name === 'energy_kwh' && !knowsEnergy(totals)) continue;
    for (const column of columnsOf(name, settings)) {
      const value = totals.native(column);
      if (value !== undefined) used[name] = (used[name] ?? 0n) + value;
    }
  }
  return used;
}

/** Each scope's price goes to itself and to all that it lies in. A scope comes after the one that it lies in. */
function addUp(scopes: readonly Open[]): void {
  const byPath = new Map(scopes.map((scope) => [scope.path, scope]));
  for (const { self, inclusive } of scopes) inclusive.cost = { ...self.cost };
  for (const { parent, inclusive } of scopes.toReversed()) {
    const above = parent === undefined ? undefined : byPath.get(parent)?.inclusive.cost;
    if (!above) continue;
    for (const [name, cost] of Object.entries(inclusive.cost) as [ResourceName, bigint][]) {
      above[name] = (above[name] ?? 0n) + cost;
    }
  }
}
