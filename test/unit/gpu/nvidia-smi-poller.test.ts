// When nvidia-smi is asked, and how long its answer counts.

import { beforeEach, expect, it } from 'vitest';
import type { GpuReport } from '../../../src/gpu/device.js';
import { findNvidiaSmi } from '../../../src/gpu/nvidia-smi.js';
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
    readAtMs: now,
    driverVersion: '570',
    devices: [{ uuid: 'GPU-1' }],
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
  expect(smi.report?.readAtMs).toBe(5);
  await smi.refresh();
  expect(asked).toBe(2);
  expect(smi.report?.readAtMs).toBe(5 + MINUTE);
  expect(smi.source).toMatchObject({ state: 'fallback', reason: '1 GPU, driver 570, once a minute' });
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
  say({ source: 'nvidia_smi', readAtMs: now, devices: [] });
  await refreshed;
  expect(asked).toBe(1);
  expect(smi.report?.devices).toEqual([]);
});

it('an answer counts for three minutes where later ones fail, then there is none, and it is said why', async () => {
  const smi = poller();
  await smi.refresh();
  answer = () => Promise.reject(new Error('exit status 9'));
  for (let minute = 0; minute < 3; minute++) {
    now += MINUTE;
    expect(smi.report).toBeDefined();
    await smi.refresh();
  }
  expect(smi.source).toMatchObject({ state: 'unavailable', reason: '/opt/nvidia-smi: exit status 9' });
  now += 1;
  expect(smi.report).toBeUndefined();
});

it('is asked nothing where that is switched off', async () => {
  const smi = poller(false);
  expect(smi.report).toBeUndefined();
  await smi.refresh();
  expect([asked, smi.source.state]).toEqual([0, 'disabled']);
});

it('is nowhere without a driver, which is no fault', async ({ skip }) => {
  skip((await findNvidiaSmi()) !== undefined, 'there is a driver');
  const smi = new NvidiaSmi({ enabled: true, program: null, nowMs: () => 0 });
  await smi.refresh();
  expect(smi.report).toBeUndefined();
  expect(smi.source).toMatchObject({ state: 'disabled', reason: 'no NVIDIA driver' });
});
