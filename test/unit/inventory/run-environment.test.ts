// The run's fingerprint: what makes another run of it, and what does not.

import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { collectEnvironment } from '../../../src/inventory/collect.js';
import { environment as schema } from '../../../src/inventory/document.js';
import { differences } from '../../../src/inventory/fingerprint.js';
import { runFingerprint, withRun } from '../../../src/inventory/run-environment.js';
import { nodeFiles } from './node-files.js';

const FACTS = {
  captured: {
    level: 'complete',
    python: { version: '3.11.2', implementation: 'CPython', executable: '/usr/bin/python3' },
    code: { commit: 'abc', branch: 'main', dirty: true, diff_sha256: 'd1', dirty_files: ['a.py'] },
    packages: { torch: '2.3.1', numpy: '1.26.4' },
  },
  dataset_version: 'v3',
  seeds: { torch: 1 },
  config_sha256: 'c1',
  hyperparameters: { lr: 0.001 },
  note: 'first try',
};
type Changed = Record<string, string | undefined>;
type Facts = Readonly<Record<string, unknown>>;

async function documentOf(files: Changed = {}, facts: Facts = FACTS) {
  const node = await collectEnvironment({ version: '0.1.0', nowMs: 0, files: nodeFiles(files), ask: null });
  return withRun(node, { runId: 'r', attempt: 1 }, facts);
}

const sha256Of = async (files?: Changed, facts?: Facts) =>
  (await documentOf(files, facts)).run.fingerprint.sha256;
/** With another value at the place. */
const changed = (path: string, value: unknown): Facts => {
  const [last = '', ...above] = path.split('.').reverse();
  const facts = structuredClone(FACTS) as Record<string, unknown>;
  const place = above.reverse().reduce((inner, key) => inner[key] as Record<string, unknown>, facts);
  place[last] = value;
  return facts;
};

describe('the fingerprint of a run', () => {
  it('is the SHA-256 of canonical JSON that anybody can make', async () => {
    const document = await documentOf();
    expect(schema.parse(document)).toEqual(document);
    const text =
      '{"facts":{"captured":{"code":{"commit":"abc","diff_sha256":"d1","dirty":true},' +
      '"packages":{"numpy":"1.26.4","torch":"2.3.1"},"python":{"implementation":"CPython","version":"3.11.2"}},' +
      '"config_sha256":"c1","dataset_version":"v3","hyperparameters":{"lr":0.001},"seeds":{"torch":1}},' +
      `"node":"${document.fingerprint.stable}","schema":"lezea.run_fingerprint/v1"}`;
    expect(document.run.fingerprint).toEqual({
      schema: 'lezea.run_fingerprint/v1',
      sha256: createHash('sha256').update(text).digest('hex'),
    });
  });

  it('is the same after a reboot, and whatever else was said', async () => {
    const rebooted = {
      'proc/sys/kernel/random/boot_id': '99999999-2222-3333-4444-555555555555\n',
      'proc/stat': 'btime 1790086400\n',
      'proc/meminfo': 'MemTotal:       131071800 kB\nMemAvailable:   1 kB\nSwapTotal:      0 kB\n',
    };
    const before = await sha256Of();
    expect(await sha256Of(rebooted)).toBe(before);
    for (const [path, value] of [
      ['note', 'second try'],
      ['captured.python.executable', '/opt/python'],
      ['captured.code.branch', 'other'],
      ['captured.level', 'basic'],
    ] as const)
      expect(await sha256Of({}, changed(path, value)), path).toBe(before);
  });

  it.each<[string, Changed]>([
    [
      'driver',
      { 'proc/driver/nvidia/version': 'NVRM version: NVIDIA UNIX x86_64  555.42.02  Release Build\n' },
    ],
    ['kernel', { 'proc/sys/kernel/osrelease': '6.8.0-46-generic\n' }],
    [
      'microcode',
      { 'proc/cpuinfo': 'processor\t: 0\nmodel name\t: Intel\nmicrocode\t: 0x2b000590\nflags\t\t: fpu\n' },
    ],
  ])('is another with another %s', async (_what, files) => {
    expect(await sha256Of(files)).not.toBe(await sha256Of());
  });

  it.each([
    ['captured.packages', { torch: '2.3.2', numpy: '1.26.4' }],
    ['captured.packages', { torch: '2.3.1' }],
    ['captured.code.commit', 'abd'],
    ['captured.code.diff_sha256', 'd2'],
    ['captured.python.version', '3.12.0'],
    ['dataset_version', 'v4'],
    ['seeds', { torch: 2 }],
    ['config_sha256', 'c2'],
    ['hyperparameters', { lr: 0.002 }],
  ])('is another with other %s %#', async (path, value) => {
    expect(await sha256Of({}, changed(path, value))).not.toBe(await sha256Of());
  });

  it('is there where nothing was said, too', () => {
    expect(runFingerprint('n', {})).toMatch(/^[0-9a-f]{64}$/);
    expect(runFingerprint('n', { seeds: 1 })).not.toBe(runFingerprint('n', {}));
  });
});

describe('differences', () => {
  it('name the facts, and which of them are stable', async () => {
    const a = await documentOf();
    const b = await documentOf({}, { ...FACTS, note: 'x', hyperparameters: { lr: 0.1 }, extra: 1 });
    expect(differences(a, b)).toEqual([
      { path: 'run.facts.hyperparameters.lr', stable: true, a: 0.001, b: 0.1 },
      { path: 'run.facts.note', stable: false, a: 'first try', b: 'x' },
      { path: 'run.facts.extra', stable: false, b: 1 },
    ]);
  });

  it('are of the node alone where one is no run', async () => {
    const { run: _run, ...node } = await documentOf();
    expect(differences(await documentOf(), node)).toEqual([]);
  });
});
