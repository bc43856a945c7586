// The cost document, business/cost_analysis_summary.json: the shape of LeZeA's CostModel.summary(), with more beside it. Owns its
// schema, from which docs/schemas/cost.json is made. Emits pieces of JSON, one scope a line.

import { z } from 'zod';
import type { Run } from '../attribution/model.js';
import type { Amounts, Bill, RunCost } from './cost.js';
import {
  type CostSettings,
  MEASURED,
  RESOURCE_NAMES,
  RESOURCES,
  type ResourceName,
  ratesOf,
} from './cost-rates.js';

export const COST_SCHEMA = 'lezea.cost/v1';
/** What was in no scope; LeZeA's word, which no path of a scope is. */
const GLOBAL = 'global';
const CURRENCY = 'eur';

function perResource<K extends string>(keyOf: (name: ResourceName) => K, description: string) {
  const shape = Object.fromEntries(
    RESOURCE_NAMES.map((name) => [keyOf(name), z.number().nonnegative().optional()]),
  );
  return z.strictObject(shape).meta({ description });
}

const totals = perResource((name) => name, 'What was used; GB is 10⁹ bytes. Absent: not measured.');
const components = perResource(
  (name) => `${RESOURCES[name].component}_${CURRENCY}`,
  'What it cost. Absent: not measured, or without a rate.',
);
const bill = { totals, [`components_${CURRENCY}`]: components, [`total_${CURRENCY}`]: z.number() };
const integer = z.string().regex(/^\d+$/);

export const costDocument = z
  .strictObject({
    schema: z.literal(COST_SCHEMA),
    created_at: z
      .string()
      .meta({ description: 'When the run ended; while it goes on, when it began. ISO 8601, UTC.' }),
    run: z.strictObject({ id: z.string(), attempt: z.int() }),
    currency: z.string().meta({ description: '`cost.currency`, ISO 4217.' }),
    [`rates_${CURRENCY}`]: perResource(
      (name) => `${RESOURCES[name].rate}_${CURRENCY}`,
      'The rates that were used.',
    ),
    grand_totals: totals,
    [`grand_components_${CURRENCY}`]: components,
    [`total_${CURRENCY}`]: z.number(),
    unpriced: z
      .array(z.enum(RESOURCE_NAMES))
      .meta({ description: 'What is not in the total: not measured, or without a rate.' }),
    conservation: z
      .strictObject({
        unit: z.literal('1e-9'),
        scopes: integer,
        unattributed: integer,
        total: integer,
        residual: z.literal('0'),
      })
      .meta({ description: 'The total as the sum of its parts, in 10⁻⁹ of the currency.' }),
    scopes: z
      .record(z.string(), z.strictObject({ ...bill, inclusive: z.strictObject(bill).optional() }))
      .meta({
        description: `Each scope by its path, itself and with everything below it; \`${GLOBAL}\`: what was in no scope.`,
      }),
  })
  .meta({
    title: 'Cost of a run',
    description: 'The names end in the currency in small letters.',
  });

/** JSON Schema, draft 2020-12. */
export function costSchema(): string {
  const schema = z.toJSONSchema(costDocument, { override: ({ jsonSchema }) => inAnyCurrency(jsonSchema) });
  return `${JSON.stringify({ $id: COST_SCHEMA, ...schema }, null, 2)}\n`;
}

/** Names that end in a currency may end in any; that none of them is missing can be said by their number only. */
function inAnyCurrency(schema: z.core.JSONSchema.BaseSchema): void {
  const { properties = {}, required = [] } = schema;
  const ofCurrency = (name: string) => name.endsWith(`_${CURRENCY}`);
  const named = Object.entries(properties).filter(([name]) => ofCurrency(name));
  if (named.length === 0) return;
  const stem = (name: string) => name.slice(0, -CURRENCY.length);
  schema.properties = Object.fromEntries(Object.entries(properties).filter(([name]) => !ofCurrency(name)));
  schema.patternProperties = Object.fromEntries(
    named.map(([name, value]) => [`^${stem(name)}[a-z]{3}$`, value]),
  );
  schema.minProperties = required.length;
  schema.required = required.filter((name) => !ofCurrency(name));
}

/** Pieces of JSON; together they are one document. */
export function* costText(run: Run, cost: RunCost, settings: CostSettings): Generator<string> {
  const write = new Writer(settings.currency.toLowerCase());
  yield `{\n${write.head(run, cost, settings)},\n"scopes": {`;
  let before = '\n  ';
  for (const { path, self, inclusive } of cost.scopes) {
    yield `${before}${JSON.stringify(path)}: ${JSON.stringify({ ...write.bill(self), inclusive: write.bill(inclusive) })}`;
    before = ',\n  ';
  }
  yield `${before}${JSON.stringify(GLOBAL)}: ${JSON.stringify(write.bill(cost.unattributed))}\n}\n}\n`;
}

/** The names in one currency, and what is said under them. */
class Writer {
  readonly #names: { total: string; components: string; rates: string };
  readonly #resources: { name: ResourceName; component: string; rate: string; natives: number }[];

  constructor(currency: string) {
    this.#names = {
      total: `total_${currency}`,
      components: `components_${currency}`,
      rates: `rates_${currency}`,
    };
    this.#resources = RESOURCE_NAMES.map((name) => ({
      name,
      component: `${RESOURCES[name].component}_${currency}`,
      rate: `${RESOURCES[name].rate}_${currency}`,
      natives: Number(RESOURCES[name].natives),
    }));
  }

  head(run: Run, cost: RunCost, settings: CostSettings): string {
    const { total, components: parts, rates } = this.#names;
    const { totals: used, [parts]: prices, [total]: sum } = this.bill(cost.total);
    const document = {
      schema: COST_SCHEMA,
      created_at: new Date(run.endedAtMs ?? run.startedAtMs).toISOString(),
      run: { id: run.runId, attempt: run.attempt },
      currency: settings.currency,
      [rates]: this.#rates(settings),
      grand_totals: used,
      [`grand_${parts}`]: prices,
      [total]: sum,
      unpriced: RESOURCE_NAMES.filter((name) => cost.total.cost[name] === undefined),
      conservation: conservationOf(cost),
    };
    return Object.entries(document)
      .map(([key, value]) => `${JSON.stringify(key)}: ${JSON.stringify(value)}`)
      .join(',\n');
  }

  bill({ used, cost }: Bill): Record<string, unknown> {
    const amounts: Record<string, number> = {};
    const prices: Record<string, number> = {};
    for (const { name, component, natives } of this.#resources) {
      if (used[name] !== undefined) amounts[name] = Number(used[name]) / natives;
      if (cost[name] !== undefined) prices[component] = money(cost[name]);
    }
    const { total, components: parts } = this.#names;
    return { totals: amounts, [parts]: prices, [total]: money(sumOf(cost)) };
  }

  #rates(settings: CostSettings): Record<string, number> {
    const rates = ratesOf(settings);
    const known = this.#resources.flatMap(({ name, rate }) => {
      const value = rates.get(name);
      return value === undefined ? [] : [[rate, money(value)] as const];
    });
    return Object.fromEntries(known);
  }
}

function conservationOf({ scopes, unattributed, total }: RunCost) {
  const inScopes = scopes.reduce((sum, { self }) => sum + sumOf(self.cost), 0n);
  const [rest, whole] = [sumOf(unattributed.cost), sumOf(total.cost)];
  return {
    unit: '1e-9',
    scopes: String(inScopes),
    unattributed: String(rest),
    total: String(whole),
    residual: String(whole - inScopes - rest),
  };
}

function sumOf(amounts: Amounts): bigint {
  let sum = 0n;
  for (const name of MEASURED) sum += amounts[name] ?? 0n;
  return sum;
}

/** From 10⁻⁹ of the currency. */
function money(value: bigint): number {
  return Number(value) / 1e9;
}
