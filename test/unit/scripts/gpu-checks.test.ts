// `npm run test:gpu` where no GPU is: that it says so, and that its cases run and find what is wrong, on the NVML double.

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';

const FOLDER = join(import.meta.dirname, '../../gpu');
const OTHER = 'GPU-00000000-1111-2222-3333-444444444441';

interface Line {
  case: string;
  state?: string;
  what?: string;
  said?: string;
  table?: { call: string; calls: number };
}

function run(file: string, ...args: string[]): { status: number | null; out: string } {
  const done = spawnSync('python3', [join(FOLDER, file), ...args], { encoding: 'utf8' });
  expect(done.stderr).toBe('');
  return { status: done.status, out: done.stdout };
}

function onDouble(...args: string[]): { status: number | null; lines: Line[] } {
  const { status, out } = run('on_double.py', '--json', '--seconds', '2', ...args);
  const lines = out.trimEnd().split('\n');
  return { status, lines: lines.map((line) => JSON.parse(line) as Line) };
}

it.skipIf(existsSync('/proc/driver/nvidia/version'))('says in one line that there is no driver', () => {
  expect(run('main.py')).toEqual({
    status: 0,
    out: 'skipped: no NVIDIA driver (/proc/driver/nvidia/version is not there)\n',
  });
});

it('compares every fact and figure, and tells what each call took', { timeout: 120_000 }, () => {
  const { status, lines } = onDouble();
  // What needs torch on a GPU says why it is not compared; all else is, and agrees.
  const others = lines.filter(({ state }) => state !== undefined && state !== 'ok');
  const without = {
    state: 'not compared',
    said: expect.stringMatching(/no torch|finds no GPU|tells no UUID/),
  };
  expect(others).toMatchObject([
    { case: 'cuda_layers', ...without },
    { case: 'tenants', ...without },
  ]);
  expect(status).toBe(0);
  const compared = lines.flatMap(({ case: name, what }) => (what ? [`${name}: ${what}`] : []));
  const facts = ['driver', 'model', 'serial', 'vbios', 'bus', 'MiB of memory'];
  const figures = ['power', 'energy by time', 'utilisation', 'memory used', 'temperature'];
  expect(compared).toEqual(expect.arrayContaining(facts.map((fact) => `inventory: ${OTHER}: ${fact}`)));
  expect(compared).toEqual(expect.arrayContaining(figures.map((name) => `figures: ${OTHER}: ${name}`)));
  expect(compared).toEqual(expect.arrayContaining(['inventory: doctor', 'nvml_calls: time in NVML']));
  const calls = new Map(lines.flatMap(({ table }) => (table ? [[table.call, table.calls]] : [])));
  expect(calls.get('nvmlInit_v2')).toBe(1);
  expect(calls.get('nvmlDeviceGetFieldValues')).toBeGreaterThan(4);
});

it('finds what differs, of which GPU, and fails', { timeout: 120_000 }, () => {
  const lies = { serial: '7', 'power.draw': '300.00', 'utilization.gpu': '10', 'memory.total': '90000' };
  const { status, lines } = onDouble(...Object.entries(lies).flatMap((lie) => ['--lie', lie.join('=')]));
  expect(status).toBe(1);
  const failed = lines.filter(({ state }) => state === 'failed').map(({ what }) => what);
  expect(failed.sort()).toEqual(
    [
      `${OTHER}: MiB of memory`,
      `${OTHER}: energy by time`,
      `${OTHER}: power`,
      `${OTHER}: serial`,
      `${OTHER}: utilisation`,
      'doctor',
    ].sort(),
  );
});
