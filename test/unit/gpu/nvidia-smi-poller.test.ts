// When nvidia-smi is asked, and how long its answer counts.

import { existsSync } from 'node:fs';
import { beforeEach, expect, it } from 'vitest';
import type { GpuReport } from '../../../src/gpu/device.js';
import { NvidiaSmi } from '../../../src/gpu/nvidia-smi-poller.js';

const MINUTE = 60_000;
let now: number;
let asked: number;
let answer: () => Promise<GpuReport>;

beforeEach(() => {
  now = 5;
  asked = 0;
  answer = async () => ({
    source: 'nvidia_smi',
    driverVersion: '570',
    devices: [{ uuid: 'GPU-1', readAtMs: now }],
  });
});

function poller(enabled = true): NvidiaSmi {
  return new NvidiaSmi({
    enabled,
    program: '/opt/nvidia-smi',
    nowMs: () => now,
    monotonicMs: () => now,
    ask: () => {
      asked++;
      return answer();
    },
  });
}

it('it is asked while somebody reads, at most once a minute', async () => {
  const smi = poller();
  expect(asked).toBe(0);
  expect(smi.report).toBeUndefined();
  await smi.refresh();
  for (let seconds = 0; seconds < 59; seconds++) {
    now += 1000;
    expect(smi.report?.devices).toHaveLength(1);
  }
  expect(asked).toBe(1);
  now += 1000;
  expect(smi.report?.devices[0]?.readAtMs).toBe(5);
  await smi.refresh();
  expect(asked).toBe(2);
  expect(smi.report?.devices[0]?.readAtMs).toBe(5 + MINUTE);
  expect(smi.source).toMatchObject({ state: 'fallback', reason: '1 GPU, driver 570, 0 s ago' });
});

it('it is not asked again while it has not answered, however long that takes', async () => {
  let say: (report: GpuReport) => void = () => undefined;
  answer = () =>
    new Promise((resolve) => {
      say = resolve;
    });
  const smi = poller();
  const refreshed = smi.refresh();
  for (let minute = 0; minute < 5; minute++) {
    now += MINUTE;
    expect(smi.report).toBeUndefined();
  }
  expect(smi.source).toMatchObject({ state: 'disabled', reason: '/opt/nvidia-smi: no answer yet' });
  say({ source: 'nvidia_smi', devices: [] });
  await refreshed;
  expect(asked).toBe(1);
  expect(smi.report?.devices).toEqual([]);
});

it('an answer counts for three minutes where later ones fail, then there is none, and it is said why', async () => {
  const smi = poller();
  await smi.refresh();
  answer = () => Promise.reject(new Error('exit status 9'));
  now += MINUTE;
  expect(smi.report).toBeDefined();
  await smi.refresh();
  expect(smi.source).toMatchObject({ state: 'unavailable', reason: '/opt/nvidia-smi: exit status 9' });
  now += 2 * MINUTE;
  expect(smi.report).toBeDefined();
  await smi.refresh();
  now += 1;
  expect(smi.report).toBeUndefined();
});

it('one that does not answer is asked ever more seldom, every hour in the end; one that does, every minute again', async () => {
  answer = () => Promise.reject(new Error('no answer'));
  const smi = poller();
  const asks: number[] = [];
  while (asks.length < 9) {
    const before = asked;
    await smi.refresh();
    if (asked > before) asks.push(now / MINUTE);
    now += MINUTE;
  }
  const pauses = asks.slice(1).map((at, index) => Math.round(at - (asks[index] as number)));
  expect(pauses).toEqual([2, 4, 8, 16, 32, 60, 60, 60]);
  answer = async () => ({ source: 'nvidia_smi', devices: [] });
  now += 60 * MINUTE;
  for (let minute = 0; minute < 3; minute++, now += MINUTE) await smi.refresh();
  expect(asked).toBe(12);
});

it('asks nothing once it is closed', async () => {
  const smi = poller();
  smi.close();
  await smi.refresh();
  expect(asked).toBe(0);
});

it('is asked nothing where that is switched off', async () => {
  const smi = poller(false);
  expect(smi.report).toBeUndefined();
  await smi.refresh();
  expect([asked, smi.source.state]).toEqual([0, 'disabled']);
});

it('is nowhere without a driver, which is no fault', async () => {
  const smi = new NvidiaSmi({ enabled: true, program: null, nowMs: () => 0, find: async () => undefined });
  await smi.refresh();
  expect(smi.report).toBeUndefined();
  const reason = existsSync('/proc/driver/nvidia')
    ? expect.stringContaining('no nvidia-smi in /')
    : 'no NVIDIA driver';
  expect(smi.source).toMatchObject({ state: 'disabled', reason });
});
