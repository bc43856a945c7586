// The child that asks systeminformation cannot outlive its time, see the agent's environment or say too much.

import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { FIXED_PATH, runFenced } from '../../../src/inventory/fenced-child.js';

const BUILT = new URL('../../../dist/inventory/fenced-child.js', import.meta.url);

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

test('it and what it starts are killed when its time is up, however busy and deaf they are', async () => {
  const { pids, hanging } = hangingScript();
  const running = runFenced(hanging, { ...FENCE, timeoutMs: 3000 });
  const ended = expect(running).rejects.toThrow('ended by SIGKILL, perhaps after 3000 ms');
  const started = await pids();
  await ended;
  await vi.waitFor(() => expect(started.filter(isRunning)).toEqual([]), { timeout: 10_000 });
});

test('they are killed when its time is up though the agent was killed before', async () => {
  const { pids, hanging } = hangingScript();
  const agent = spawn(
    process.execPath,
    [
      '--input-type=module',
      '--eval',
      `const { runFenced } = await import(${JSON.stringify(BUILT.href)});
      await runFenced(${JSON.stringify(hanging)}, { timeoutMs: 3000, mostBytes: 100 });`,
    ],
    { stdio: 'ignore' },
  );
  const started = await pids();
  agent.kill('SIGKILL');
  expect(started.filter(isRunning)).toHaveLength(2);
  await vi.waitFor(() => expect(started.filter(isRunning)).toEqual([]), { timeout: 10_000 });
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

/** A command that never ends, as little as what it started; `pids` are theirs. */
function hangingScript(): { hanging: [string, string]; pids: () => Promise<number[]> } {
  const pidFile = join(folder, 'pids');
  const hanging = script(`
    import { spawn } from 'node:child_process';
    import { renameSync, writeFileSync } from 'node:fs';
    process.on('SIGTERM', () => undefined);
    const { pid } = spawn('/bin/sleep', ['1000'], { stdio: 'inherit' });
    writeFileSync(${JSON.stringify(`${pidFile}.new`)}, process.pid + ' ' + pid);
    renameSync(${JSON.stringify(`${pidFile}.new`)}, ${JSON.stringify(pidFile)});
    // Nothing of its own gets a turn any more, as in a command that it waits for.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);`);
  const pids = async () => {
    await vi.waitFor(() => expect(existsSync(pidFile)).toBe(true), { timeout: 10_000 });
    return readFileSync(pidFile, 'utf8').split(' ').map(Number);
  };
  return { hanging, pids };
}

/** A zombie has ended. */
function isRunning(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}
