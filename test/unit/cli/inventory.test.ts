// `inventory`: without an agent it looks by itself; --diff compares two documents and says by its exit code what it found.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { parse } from 'yaml';
import { main } from '../../../src/cli/main.js';
import { collectEnvironment } from '../../../src/inventory/collect.js';
import { type Environment, environment } from '../../../src/inventory/document.js';
import { withRun } from '../../../src/inventory/run-environment.js';
import { FakeAgent } from '../client/fake-agent.js';
import { nodeFiles } from '../inventory/node-files.js';

let folder: string;
let out: string;
let err: string;
let agent: FakeAgent;
let live: Environment;

const io = {
  out: (text: string) => {
    out += text;
  },
  err: (text: string) => {
    err += text;
  },
};

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'lezea-inventory-'));
  [out, err] = ['', ''];
  live = await collectEnvironment({
    version: '0.1.0',
    nowMs: 0,
    files: nodeFiles(),
    ask: () => Promise.reject(new Error('no')),
  });
  agent = await FakeAgent.start();
  agent.answers['node.inventory'] = () => live;
  vi.stubEnv('LEZEA_MONITOR_SOCKET', agent.path);
});

afterEach(async () => {
  vi.unstubAllEnvs();
  await agent.stop();
  rmSync(folder, { recursive: true });
});

function file(name: string, content: unknown): string {
  const path = join(folder, name);
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
}

test('the agent says what the node is: as a table, JSON and YAML', async () => {
  expect(await main(['inventory'], io)).toBe(0);
  expect(out).toMatch(
    /^cpu +Intel\(R\) Xeon\(R\) Platinum 8480\+, 2 sockets, 2 cores, 4 threads, microcode 0x2b0004d0$/m,
  );
  expect(out).toMatch(/^gpu +NVIDIA H100 80GB HBM3, GPU-3a, 96/m);
  expect(out).toContain(live.fingerprint.stable);
  out = '';
  expect(await main(['inventory', '--json'], io)).toBe(0);
  expect(JSON.parse(out)).toEqual(live);
  out = '';
  expect(await main(['inventory', '--format', 'yaml'], io)).toBe(0);
  expect(parse(out)).toEqual(live);
});

test('of two runs, what was said of them counts too, where it makes another run of it', async () => {
  const one = withRun(live, { runId: 'r', attempt: 1 }, { seeds: 1, note: 'a' });
  const noted = withRun(live, { runId: 's', attempt: 1 }, { seeds: 1, note: 'b' });
  expect(await main(['inventory', '--diff', file('1.json', one), file('2.json', noted)], io)).toBe(0);
  expect(out).toMatch(/^run\.facts\.note +no +a +b$/m);
  out = '';
  const seeded = withRun(live, { runId: 't', attempt: 1 }, { seeds: 2, note: 'a' });
  expect(await main(['inventory', '--diff', file('1.json', one), file('3.json', seeded)], io)).toBe(1);
  expect(out).toMatch(/^run\.facts\.seeds +yes +1 +2$/m);
  // A node by itself has no facts.
  expect(await main(['inventory', '--diff', file('1.json', one), 'live'], io)).toBe(0);
});

test('the same: 0; another microcode: 1, and what it was', async () => {
  const same = file('same.json', live);
  expect(await main(['inventory', '--diff', same, 'live'], io)).toBe(0);
  expect(out).toBe('no difference\n');
  out = '';
  const other = structuredClone(live);
  other.hardware.cpu.microcode = '0x1';
  other.volatile.boot_id = 'another';
  const path = file('other.json', other);
  expect(await main(['inventory', '--diff', path, same], io)).toBe(1);
  expect(out).toMatch(/^hardware\.cpu\.microcode +yes +0x1 +0x2b0004d0$/m);
  expect(out).toMatch(/^1 stable difference$/m);
  out = '';
  expect(await main(['inventory', '--diff', '--json', path, 'live'], io)).toBe(1);
  expect(JSON.parse(out)).toMatchObject({
    same: false,
    differences: [
      { path: 'hardware.cpu.microcode', stable: true, a: '0x1', b: '0x2b0004d0' },
      { path: 'volatile.boot_id', stable: false, a: 'another' },
    ],
  });
});

test.each([
  [['--diff'], '--diff: expected two of: a file, a run, live'],
  [['--diff', 'live'], '--diff: expected two of: a file, a run, live'],
  [['--diff', 'live', 'live', 'live'], '--diff: expected two of: a file, a run, live'],
  [['x'], 'x: expected no argument without --diff'],
  [['--diff', '/nowhere', 'live'], '/nowhere: ENOENT'],
])('%j: exit code 2', async (args, line) => {
  expect(await main(['inventory', ...args], io)).toBe(2);
  expect(err).toContain(`lezea-monitor: ${line}`);
  expect(out).toBe('');
});

test('a run stands for what it ran on', async () => {
  const other = structuredClone(live);
  other.software.nvidia_driver = '535.1';
  const asked: unknown[] = [];
  agent.answers['run.get'] = (params: unknown) => {
    asked.push(params);
    const data = Buffer.from(JSON.stringify(other));
    return { offset: 0, size: data.length, data: data.toString('base64'), eof: true };
  };
  expect(await main(['inventory', '--diff', 'r1', 'live'], io)).toBe(1);
  expect(out).toMatch(/^software\.nvidia_driver +yes +535\.1 +550\.54\.15$/m);
  expect(asked).toEqual([{ run_id: 'r1', file: 'environment/full.json', offset: 0 }]);
});

test('a file that is no such document is refused, with what is wrong', async () => {
  for (const [content, line] of [
    ['{', 'expected an environment document (JSON)'],
    [{ ...live, hardware: { ...live.hardware, memory_gib: 'much' } }, 'hardware.memory_gib: '],
  ] as const) {
    err = '';
    expect(await main(['inventory', '--diff', file('bad.json', content), 'live'], io)).toBe(2);
    expect(err).toContain(line);
  }
});

test('without an agent it looks by itself', async () => {
  vi.stubEnv('LEZEA_MONITOR_SOCKET', undefined);
  vi.stubEnv('XDG_RUNTIME_DIR', folder);
  vi.stubEnv('TMPDIR', folder);
  expect(await main(['inventory', '--json'], io)).toBe(0);
  const own = environment.parse(JSON.parse(out));
  expect(own.hardware.cpu.threads).toBeGreaterThan(0);
});
