// The child that asks systeminformation cannot outlive its time, see the agent's environment or say too much.

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { FIXED_PATH, runFenced } from '../../../src/inventory/fenced-child.js';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lezea-fence-'));
});

afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true });
});

function script(text: string): [string, string] {
  const path = join(folder, 'script.mjs');
  writeFileSync(path, text);
  return [process.execPath, path];
}

const FENCE = { timeoutMs: 20_000, mostBytes: 100_000 };

test('it has a fixed PATH, the C locale and nothing else', async () => {
  vi.stubEnv('LEZEA_PLANTED_SECRET', 'hunter2');
  vi.stubEnv('PATH', `${folder}:${process.env.PATH}`);
  const said = await runFenced(script('process.stdout.write(JSON.stringify(process.env))'), FENCE);
  expect(JSON.parse(said)).toEqual({ PATH: FIXED_PATH, LC_ALL: 'C' });
});

test('what it starts is killed with it when its time is up', async () => {
  const pidFile = join(folder, 'pid');
  const hanging = script(`
    import { spawn } from 'node:child_process';
    import { renameSync, writeFileSync } from 'node:fs';
    const { pid } = spawn('/bin/sleep', ['1000'], { stdio: 'inherit' });
    writeFileSync(${JSON.stringify(`${pidFile}.new`)}, String(pid));
    renameSync(${JSON.stringify(`${pidFile}.new`)}, ${JSON.stringify(pidFile)});
    setInterval(() => undefined, 1000);`);
  const running = runFenced(hanging, { ...FENCE, timeoutMs: 3000 });
  const ended = expect(running).rejects.toThrow('ended by SIGKILL, perhaps after 3000 ms');
  await vi.waitFor(() => expect(existsSync(pidFile)).toBe(true), { timeout: 10_000 });
  const pid = Number(readFileSync(pidFile, 'utf8'));
  await ended;
  await vi.waitFor(() => expect(isRunning(pid)).toBe(false), { timeout: 10_000 });
});

test('what it leaves behind is killed when it has answered', async () => {
  const leaving = script(`
    import { spawn } from 'node:child_process';
    const left = spawn('/bin/sleep', ['1000'], { stdio: 'ignore' });
    left.unref();
    process.stdout.write(String(left.pid));`);
  const pid = Number(await runFenced(leaving, FENCE));
  expect(pid).toBeGreaterThan(1);
  await vi.waitFor(() => expect(isRunning(pid)).toBe(false), { timeout: 10_000 });
});

test.each([
  ['process.exit(3)', 'exit status 3'],
  [
    "process.stdout.write('x'.repeat(200_000)); setInterval(() => undefined, 1000)",
    'said more than 100000 bytes',
  ],
])('%s: %s', async (text, message) => {
  await expect(runFenced(script(text), FENCE)).rejects.toThrow(message);
});

/** A zombie has ended. */
function isRunning(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}
