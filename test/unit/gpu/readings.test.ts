// Readings that are asked for at a run's end: each is told by one that began after it was asked, and few are made.

import { expect, it } from 'vitest';
import { Gpus } from '../../../src/gpu/gpus.js';
import type { NvmlSnapshot } from '../../../src/native/addon.js';

const settings = {
  nvml: true,
  nvml_library: 'libnvidia-ml.so.1',
  nvml_disabled_symbols: [],
  nvidia_smi: false,
  nvidia_smi_path: null,
};

/** GPUs whose poller ends a reading at the test's word. */
function gpusOf(state: NvmlSnapshot['state'], devices: NvmlSnapshot['devices']) {
  const waiting: (() => void)[] = [];
  class Poller {
    snapshot = (): NvmlSnapshot => ({ state, reason: '', devices, calls: [], xids: [] });
    refresh = () => new Promise<boolean>((resolve) => waiting.push(() => resolve(true)));
    stop = () => undefined;
  }
  const addon = { GpuPoller: Poller, monotonicNs: () => 0n, processIdentity: () => undefined };
  const gpus = new Gpus({ addon, settings, nowMs: () => 0 });
  return { gpus, waiting };
}

const DEVICE = { facts: { uuid: 'GPU-1' }, lost: false };

it('however many ask at once, one reading is under way and one comes after it', async () => {
  const { gpus, waiting } = gpusOf('running', [DEVICE]);
  const ended: number[] = [];
  const asked = [0, 1, 2, 3].map((one) => gpus.read()?.then(() => ended.push(one)));
  expect(waiting).toHaveLength(1);
  waiting[0]?.();
  await asked[0];
  expect(ended).toEqual([0]);
  await expect.poll(() => waiting.length).toBe(2);
  waiting[1]?.();
  await Promise.all(asked);
  expect(ended).toEqual([0, 1, 2, 3]);
  const later = gpus.read();
  expect(waiting).toHaveLength(3);
  waiting[2]?.();
  await later;
});

it('an agent in a PID namespace of its own says what that means', () => {
  const { gpus } = gpusOf('running', [DEVICE]);
  expect(gpus.source).toMatchObject({
    state: 'ok',
    how: expect.stringMatching(/run the agent in the host’s/),
  });
});

it('nobody waits where there is no device, or no driver that answers', () => {
  for (const { gpus } of [gpusOf('running', []), gpusOf('stuck', [DEVICE]), gpusOf('no_driver', [])]) {
    expect(gpus.read()).toBeUndefined();
  }
});
