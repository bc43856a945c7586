// What an agent might say of itself, for tests.

import type { AgentState } from '../../../src/metrics/self.js';

export function fakeState(): Omit<AgentState, 'series'> {
  return {
    version: '0.1.0',
    mode: 'user',
    startedAtMs: 1_700_000_000_000,
    sampling: { intervalMs: 100, cpuBudgetRatio: 0.005 },
    snapshot: {
      tMonoNs: 1n,
      tWallMs: 1,
      acceptedRings: 2,
      refusedRings: 1,
      late: false,
      lostRecords: 4n,
      lostExitEvents: 0n,
      forgedRecords: 5n,
      undefinedRecords: 9n,
      cutStamps: 6n,
      self: {
        cpuNs: 1_500_000_000n,
        rssBytes: 70_000_000,
        ticks: 7n,
        overruns: 1n,
        intervalMs: 100,
        tickDurationNs: new BigUint64Array([1n, 6n, 7n]),
        tickDurationSumNs: 9_000_000n,
      },
      gpus: [],
    },
    tickBucketsNs: [1_000_000n, 10_000_000n],
    sources: [
      { name: 'taskstats', state: 'fallback', reason: 'EPERM', how: 'CAP_NET_ADMIN' },
      { name: 'smaps', state: 'ok', reason: '', how: '' },
      { name: 'cgroup', state: 'disabled', reason: '', how: '' },
    ],
    nvml: {
      calls: [
        { symbol: 'nvmlInit_v2', count: 2, failures: 1, late: 0, totalNs: 5_000_000, longestNs: 4_000_000 },
      ],
      stuck: false,
    },
    runsLive: 1,
    sessions: 2,
    connections: 3,
    unidentified: 0,
    requests: { handled: 12, errors: new Map([['invalid_params', 2]]) },
    refusals: new Map([['sessions', 3]]),
    waits: new Map([['queuedBytes', 1]]),
    conservationViolations: 0,
    decreasedTotals: 0,
    checkpoints: { commits: 10, failures: 0, totalMs: 12.5 },
    limitsTold: { warned: 0, exceeded: 0 },
    droppedExits: 0,
    droppedRollups: 4,
    droppedNotifications: 0,
    sinks: [
      {
        sink: 'mlflow http://tracker:5000',
        waiting: 3,
        withClient: 2,
        dead: 1,
        bytes: 4096,
        oldestMs: 61_500,
        failures: 4,
        refused: true,
        deliveredMs: 1_700_000_000_500,
      },
      {
        sink: 'mlflow http://new:5000',
        waiting: 1,
        withClient: 0,
        dead: 0,
        bytes: 10,
        failures: 0,
        refused: false,
      },
    ],
  };
}
