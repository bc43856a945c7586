// Limits by themselves: names, merging, and when a use is told.

import { describe, expect, it } from 'vitest';
import {
  judged,
  keyOf,
  keyText,
  limitNameFault,
  limitValueFault,
  mergedLimits,
  rearmed,
  scopePathFault,
  stateOf,
} from '../../../src/attribution/run-limits.js';
import { priceOf } from '../../../src/files/cost.js';
import { MEASURED } from '../../../src/files/cost-rates.js';
import { newLimits } from '../../../src/ipc/limits-shape.js';
import { totals } from '../files/fake-run.js';
import { pricesOf } from '../support/prices.js';

const words = (value: number, used: number, mark = {}) => judged(value, used, mark, 7).told;

describe('a use', () => {
  it.each([
    [5, 3.999, []],
    [5, 4, ['warned']],
    [100, 80, ['warned']],
    [100, 99.999, ['warned']],
    [100, 100, ['warned', 'exceeded']],
    [0.1, 0.3, ['warned', 'exceeded']],
  ])('of a limit of %d at %d tells %j', (value, used, told) => {
    expect(words(value, used)).toEqual(told);
  });

  it('is told once, and what is not known tells nothing', () => {
    const first = judged(10, 8, {}, 7);
    expect(judged(10, 9, first.mark, 8).told).toEqual([]);
    expect(judged(10, 12, first.mark, 9)).toEqual({
      mark: { warnedAtMs: 7, exceededAtMs: 9 },
      told: ['exceeded'],
    });
    expect(judged(10, undefined, {}, 9).told).toEqual([]);
  });

  it('is unknown, never 0, where it is not measured', () => {
    expect(stateOf({ limit: 'gpu_hours' }, 3, undefined, {})).toEqual({
      limit: 'gpu_hours',
      value: 3,
      state: 'unknown',
    });
    expect(stateOf({ limit: 'steps' }, 4, 6, { warnedAtMs: 1, exceededAtMs: 2 })).toMatchObject({
      used: 6,
      remaining: 0,
      ratio: 1.5,
      state: 'exceeded',
    });
  });

  it('that a raised limit leaves room for may be told again', () => {
    const mark = { warnedAtMs: 1, exceededAtMs: 2 };
    expect(rearmed(10, 10, mark)).toEqual(mark);
    expect(rearmed(12, 10, mark)).toEqual({ warnedAtMs: 1 });
    expect(rearmed(20, 10, mark)).toEqual({});
  });
});

describe('a limit', () => {
  it('has one key, there and back', () => {
    for (const key of [
      { limit: 'cost' as const },
      { limit: 'steps' as const, scope: 'builder:b/tasker:a@b' },
      { limit: 'steps' as const, level: 'tasker' },
    ]) {
      expect(keyOf(keyText(key))).toEqual(key);
    }
    expect(keyOf('cost', 'demo')).toEqual({ limit: 'cost', experiment: 'demo' });
    expect(keyText({ limit: 'cost', experiment: 'demo' })).toBe('experiment.cost');
  });

  it('is merged by its key; the same again changes nothing; null takes it away', () => {
    const change = {
      values: new Map([
        ['cost', 3],
        ['steps@tasker', 5],
      ]),
    };
    const once = mergedLimits(undefined, change);
    expect(once).toMatchObject({
      values: { cost: 3, 'steps@tasker': 5 },
      onExceeded: 'tell',
      graceSeconds: 30,
    });
    expect(mergedLimits(once, change)).toEqual(once);
    const less = mergedLimits(once, { values: new Map([['cost', null]]), onExceeded: 'terminate' });
    expect(less).toMatchObject({ values: { 'steps@tasker': 5 }, onExceeded: 'terminate' });
    expect(mergedLimits(undefined, { values: new Map() })).toBeUndefined();
  });

  it('is called by its name, and is of what can have it', () => {
    expect(limitNameFault('core_hour', 'run')).toMatch(/did you mean core_hours\?/);
    expect(limitNameFault('memory_bytes', 'level')).toMatch(
      /no limit of a level: expected one of core_hours/,
    );
    expect(limitNameFault('runtime_seconds', 'scope')).toMatch(/no limit of a scope/);
    expect(limitNameFault('memory_bytes', 'scope')).toBeUndefined();
    for (const value of [0, -1, Number.NaN, Number.POSITIVE_INFINITY, '3', null])
      expect(limitValueFault(value)).toMatch(/above 0/);
    expect(limitValueFault(1e-9)).toBeUndefined();
    expect(scopePathFault('builder:b/tasker:t')).toBeUndefined();
    expect(scopePathFault('builder')).toMatch(/not the path of a scope/);
    expect(scopePathFault('Builder:b')).toMatch(/lower-case/);
    expect(scopePathFault('layer:l/'.repeat(600))).toMatch(/longer than 4200/);
  });
});

describe('on the wire', () => {
  const faultOf = (given: unknown) => {
    const issue = newLimits.safeParse(given).error?.issues[0];
    return issue && `${issue.path.join('.')}: ${issue.message}`;
  };

  it('limits become a change', () => {
    const change = newLimits.parse({
      core_hours: 2,
      scopes: { 'builder:b': { steps: 10 } },
      levels: { tasker: { episodes: null } },
      experiment: { cost: 5 },
      on_exceeded: 'refuse',
      grace_seconds: 1,
    });
    expect([...change.values]).toEqual([
      ['core_hours', 2],
      ['steps@builder:b', 10],
      ['episodes@tasker', null],
    ]);
    expect([...change.experiment]).toEqual([['cost', 5]]);
    expect(change).toMatchObject({ onExceeded: 'refuse', graceSeconds: 1 });
  });

  it.each([
    [{ core_hour: 2 }, /^core_hour: .*did you mean core_hours/],
    [{ scope: {} }, /^scope: .*did you mean scopes/],
    [{ steps: -1 }, /^steps: .*above 0/],
    [{ steps: '3' }, /^steps: .*above 0/],
    [{ scopes: { tasker: { steps: 1 } } }, /^scopes\.tasker: .*LEVEL:NAME/],
    [{ scopes: { 'tasker:t': 3 } }, /^scopes\.tasker:t: expected an object/],
    [{ levels: { tasker: { memory_bytes: 3 } } }, /^levels\.tasker\.memory_bytes: .*no limit of a level/],
    [{ levels: { total: { steps: 3 } } }, /^levels\.total: .*reserved/],
    [{ experiment: 3 }, /^experiment: expected an object/],
    [{ on_exceeded: 'kill' }, /^on_exceeded: expected one of tell, refuse, terminate/],
    [{ grace_seconds: -1 }, /^grace_seconds: expected a number from 0/],
  ])('%j is refused', (given, fault) => {
    expect(faultOf(given)).toMatch(fault);
  });
});

describe('a price for a limit', () => {
  const used = totals({ cpu_seconds: 3_600_000_000_000n });

  it('is the total of what is measured', () => {
    expect(priceOf(used, pricesOf({ cpu_per_core_hour: 0.5, gpu_per_hour: 9 }))).toBe(0.5);
  });

  it('is not known without a rate, nor where something that has one was not measured', () => {
    expect(MEASURED).toContain('ram_gb_hours');
    expect(priceOf(used, pricesOf({ gpu_per_hour: 9 }))).toBeUndefined();
    expect(priceOf(used, pricesOf({ cpu_per_core_hour: 1, ram_per_gb_hour: 1 }))).toBeUndefined();
  });
});
