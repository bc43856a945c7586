// What a run cost: exact sums, the shape of LeZeA's cost model, and the same figures worked out again by another program.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { priceParts } from '../../../src/files/apportion.js';
import { costOf, priceOf } from '../../../src/files/cost.js';
import { costDocument, costText } from '../../../src/files/cost-document.js';
import type { CostSettings } from '../../../src/files/cost-rates.js';
import { buildSummary } from '../../../src/files/summary.js';
import { pricesOf, recomputed } from '../support/prices.js';
import { exampleRun, type FakeScope, fakeRun, totals } from './fake-run.js';

const PRICES = pricesOf({
  gpu_per_hour: 2,
  cpu_per_core_hour: 0.05,
  ram_per_gb_hour: 0.004,
  io_per_gb: 0.01,
});
const CONTEXT = {
  node: { name: 'n', boot_id: 'b', architecture: 'x64', kernel: 'k', cpus: 1, memory_bytes: 1 },
  agent: { version: '0.1.0' },
  user: 'ada',
};

async function textOf(run: ReturnType<typeof fakeRun>, prices: CostSettings = PRICES): Promise<string> {
  const cost = await costOf(run, prices);
  return cost ? [...costText(run, cost, prices)].join('') : '';
}

/** A run of three nested scopes and one beside them, of those amounts. */
function runOf(amounts: { cpu: bigint; ram: bigint; read: bigint; write?: bigint }[]) {
  const parts = amounts.map(({ cpu, ram, read, write }) =>
    totals({
      ...{ cpu_seconds: cpu, memory_byte_seconds: ram, io_read_bytes: read },
      ...(write !== undefined && { io_write_bytes: write }),
    }),
  );
  const [b0, t0, n0, b1, rest] = parts as [(typeof parts)[0], ...typeof parts];
  const inner: FakeScope = { step: 'tasker:t0', self: t0!, children: [{ step: 'network:n0', self: n0! }] };
  const scopes = [
    { step: 'builder:b0', self: b0!, children: [inner] },
    { step: 'builder:b1', self: b1! },
  ];
  return fakeRun({ scopes, unattributed: rest!, totals: parts.reduce((sum, part) => sum!.plus(part!))! });
}

describe('the document', () => {
  it('is the golden one, and what its schema says', async () => {
    const text = await textOf(exampleRun());
    await expect(text).toMatchFileSnapshot('cost.golden.json');
    expect(costDocument.parse(JSON.parse(text))).toBeTruthy();
  });

  it('has the total that the summary has', async () => {
    const odd = runOf(
      [1n, 3n, 7n, 11n, 13n].map((n) => ({ cpu: n * 999n, ram: n ** 20n, read: n, write: n })),
    );
    for (const run of [exampleRun(), odd]) {
      const { total_eur: total, currency, unpriced } = JSON.parse(await textOf(run));
      expect(buildSummary(run, [], { ...CONTEXT, prices: PRICES }).cost).toEqual({
        ...{ currency, total, unpriced },
      });
      expect(buildSummary(run, [], { ...CONTEXT, prices: pricesOf({}) }).cost).toBeUndefined();
    }
  });

  it('has the names of the currency', async () => {
    const { rates_usd, total_usd, currency, scopes } = JSON.parse(
      await textOf(exampleRun(), { ...PRICES, currency: 'USD' }),
    );
    expect({ currency, rates: Object.keys(rates_usd) }).toEqual({
      currency: 'USD',
      rates: ['gpu_hour_usd', 'cpu_core_hour_usd', 'ram_gb_hour_usd', 'io_gb_usd'],
    });
    expect(scopes['builder:b0'].inclusive.total_usd + scopes.global.total_usd).toBeCloseTo(total_usd, 6);
  });

  it('names what is not in the total: not measured, or without a price', async () => {
    const { unpriced, grand_totals } = JSON.parse(
      await textOf(exampleRun(), pricesOf({ ram_per_gb_hour: 1 })),
    );
    expect(unpriced).toEqual([
      ...['gpu_hours', 'cpu_core_hours', 'io_gb', 'egress_gb', 'storage_gb_months'],
      ...['gpu_mem_gb_hours', 'energy_kwh'],
    ]);
    expect(Object.keys(grand_totals)).toEqual(['cpu_core_hours', 'ram_gb_hours']);
  });

  it('is none where nothing that was used has a price; what is free has one', async () => {
    expect(await textOf(exampleRun(), pricesOf({}))).toBe('');
    expect(await textOf(exampleRun(), pricesOf({ gpu_per_hour: 2, io_per_gb: 1 }))).toBe('');
    expect(JSON.parse(await textOf(exampleRun(), pricesOf({ cpu_per_core_hour: 0 }))).total_eur).toBe(0);
  });
});

describe('worked out again by another program', () => {
  it('is the same, also past 2^53', () => {
    return textOf(exampleRun()).then((text) =>
      expect(recomputed(JSON.stringify(buildSummary(exampleRun(), [], CONTEXT)), text)).toBe(''),
    );
  });

  it('is the same for amounts of every size', async () => {
    const sizes = [1n, 7n, 1_234_567n, 9_876_543_210n, 31_415_926_535_897n];
    const run = runOf(
      sizes.map((size, n) => ({
        ...{ cpu: size, ram: size * 1_000_003n, read: size % 1_000_000n },
        ...(n === 2 && { write: 17n }),
      })),
    );
    const text = await textOf(run);
    expect(recomputed(JSON.stringify(buildSummary(run, [], CONTEXT)), text)).toBe('');
    // The program would see it.
    const wrong = JSON.parse(text);
    wrong.scopes['builder:b1'].components_eur.cpu_eur += 1e-8;
    expect(recomputed(JSON.stringify(buildSummary(run, [], CONTEXT)), JSON.stringify(wrong))).not.toBe('');
  });
});

describe('GPUs and energy', () => {
  const prices = pricesOf({ gpu_per_hour: 2, gpu_memory_per_gb_hour: 0.1, energy_per_kwh: 0.3 });
  const used = (more: Parameters<typeof totals>[0] = {}) => {
    const part = totals({
      cpu_seconds: 5n,
      cpu_energy_joules: 3_600_000_000_001n,
      gpu_active_seconds: 1_800_000_000_000n,
      gpu_allocated_seconds: 7_200_000_000_000n,
      gpu_memory_byte_seconds: 3_600_000_000_000n * 80_000_000_001n,
      gpu_energy_joules: 7_200_000_000_000n,
      ...more,
    });
    return fakeRun({
      scopes: [{ step: 'layer:a', self: part }],
      unattributed: part,
      totals: part.plus(part),
    });
  };

  it('have a price, of CPU and GPU together, as another program finds it', async () => {
    const text = await textOf(used(), prices);
    expect(recomputed(JSON.stringify(buildSummary(used(), [], CONTEXT)), text)).toBe('');
    const { grand_components_eur: parts, total_eur } = JSON.parse(text);
    expect(parts).toEqual({ gpu_eur: 2, gpu_mem_eur: 16, energy_eur: 1.8 });
    expect(total_eur).toBe(19.8);
    expect(costDocument.parse(JSON.parse(text))).toBeTruthy();
    expect(priceOf(used().totals, prices)).toBe(19.8);
  });

  it('are paid for while they are held where the operator says so, and the summary says which', async () => {
    const held = { ...prices, gpu_basis: 'allocated' as const };
    expect(JSON.parse(await textOf(used(), held)).grand_components_eur.gpu_eur).toBe(8);
    const { cost } = buildSummary(used(), [], { ...CONTEXT, prices: held });
    expect(cost).toMatchObject({ gpu_basis: 'allocated', total: 25.8 });
    const cpuOnly = { ...CONTEXT, prices: pricesOf({ cpu_per_core_hour: 1 }) };
    expect(buildSummary(used(), [], cpuOnly).cost).not.toHaveProperty('gpu_basis');
  });

  it('energy of the CPU alone is not what a run with a GPU used; what is not known is left out, and named', async () => {
    const noCounter = totals({ cpu_seconds: 5n, cpu_energy_joules: 9n, gpu_allocated_seconds: 1n });
    const run = fakeRun({ scopes: [], unattributed: noCounter, totals: noCounter });
    const all = { ...prices, cpu_per_core_hour: 3_600_000_000 };
    const { unpriced, total_eur } = JSON.parse(await textOf(run, all));
    expect(unpriced).toEqual(expect.arrayContaining(['gpu_hours', 'gpu_mem_gb_hours', 'energy_kwh']));
    expect(priceOf(noCounter, all)).toBe(total_eur);
  });
});

describe('the parts', () => {
  const amount = fc.bigInt(0n, 1n << 60n);
  const rate = fc.bigInt(0n, 10n ** 15n);
  const unit = fc.constantFrom(3_600_000_000_000n, 1_000_000_000n, 3n, 1n);

  it('are the whole, to the last billionth, and each is less than one from its own price', () => {
    fc.assert(
      fc.property(fc.array(amount, { minLength: 1, maxLength: 40 }), rate, unit, (parts, rate, unit) => {
        const { total, shares } = priceParts(parts, { rate, unit });
        expect(shares.reduce((sum, share) => sum + share, 0n)).toBe(total);
        for (const [index, part] of parts.entries()) {
          const off = shares[index]! * unit - part * rate;
          expect(off > -unit && off < unit).toBe(true);
        }
        const used = parts.reduce((sum, part) => sum + part, 0n);
        const off = 2n * (total * unit - used * rate);
        expect(off <= unit && off > -unit).toBe(true);
      }),
    );
  });

  it('are the whole in the run, for scopes themselves and with what is below them', async () => {
    const column = fc.record({ cpu: amount, ram: amount, read: amount, write: amount });
    await fc.assert(
      fc.asyncProperty(fc.array(column, { minLength: 5, maxLength: 5 }), async (amounts) => {
        const cost = (await costOf(runOf(amounts), PRICES))!;
        const roots = cost.scopes.filter(({ path }) => !path.includes('/'));
        for (const name of ['cpu_core_hours', 'ram_gb_hours', 'io_gb'] as const) {
          const rest = cost.unattributed.cost[name]!;
          const own = cost.scopes.reduce((sum, { self }) => sum + self.cost[name]!, rest);
          expect(own).toBe(cost.total.cost[name]);
          const all = roots.reduce((sum, { inclusive }) => sum + inclusive.cost[name]!, rest);
          expect(all).toBe(cost.total.cost[name]);
        }
      }),
    );
  });
});
