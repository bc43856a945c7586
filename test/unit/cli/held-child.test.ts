// A held command as its runner has it: begun when told to, its end told while its last figures can still be read.

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { spawnHeld, startByNode } from '../../../src/cli/held-child.js';
import { loadAddon } from '../../../src/native/addon.js';

const addon = loadAddon();

const cpuSeconds = (pid: number) => {
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) / 100;
};

describe('a held command', () => {
  it('can be read after its end, until it is reaped', async () => {
    const burn = 'import time\nwhile time.process_time() < 0.1: pass\nraise SystemExit(7)';
    const child = await spawnHeld(['python3', '-c', burn], process.env);
    child.release();
    expect(await child.ended).toEqual({ status: 7 });
    expect(cpuSeconds(child.pid)).toBeGreaterThanOrEqual(0.08);
    expect(addon.processIdentity(child.pid)?.ended).toBe(true);
    child.reap();
    expect(addon.processIdentity(child.pid)).toBe(undefined);
  });

  for (const [how, starter] of [
    ['by the addon', undefined],
    ['by Node, where the addon does not load', startByNode],
  ] as const) {
    const held = (...command: string[]) => spawnHeld(command, process.env, [], starter);

    it(`${how}: does nothing until it is released`, async () => {
      const child = await held('sh', '-c', 'exit 3');
      expect(addon.processIdentity(child.pid)).toMatchObject({ ppid: process.pid, ended: false });
      child.release();
      expect(await child.ended).toEqual({ status: 3 });
      child.reap();
    });

    it(`${how}: says which signal ended it`, async () => {
      const child = await held('sleep', '60');
      child.kill('SIGTERM');
      expect(await child.ended).toEqual({ status: 143, signal: 'SIGTERM' });
      child.release();
      child.reap();
    });
  }

  it('is refused where no process can be made', async () => {
    await expect(spawnHeld(['x'.repeat(1 << 20)], process.env)).rejects.toThrow(/E2BIG/);
  });
});
