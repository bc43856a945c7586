// What a command line that is wrong gets: one line that says what, and exit code 2; and help where nothing was asked.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Io } from '../../../src/cli/io.js';
import { main } from '../../../src/cli/main.js';

let out: string;
let err: string;
let folder: string;

const io: Io = {
  out: (text) => {
    out += text;
  },
  err: (text) => {
    err += text;
  },
};

beforeEach(() => {
  out = '';
  err = '';
  folder = mkdtempSync(join(tmpdir(), 'lezea-usage-'));
});

afterEach(() => rmSync(folder, { recursive: true }));

test.each([
  [['bogus'], "unknown command 'bogus'"],
  [['runz'], "unknown command 'runz' (Did you mean one of run, runs?)"],
  [['config', 'x'], "unknown command 'x'"],
  [['outbox', 'x'], "unknown command 'x'"],
  [['outbox', 'ls', '--run', '../x'], '--run ../x: expected [A-Za-z0-9][A-Za-z0-9._-]{0,63}'],
  [['outbox', 'show'], "missing required argument 'id'"],
  [['outbox', 'show', '0'], 'ID 0: expected a number from the list'],
  [['outbox', 'show', '1', '--item', 'x'], '--item x: expected a number from the list'],
  [['outbox', 'retry'], 'expected ids of deliveries, or --all'],
  [['outbox', 'retry', '1', '--all'], '1: expected ids or --all, not both'],
  [['run'], "missing required argument 'command'"],
  [['show'], "missing required argument 'run'"],
  [['status', '--nope'], "unknown option '--nope'"],
  [
    ['run', '--format', 'xml', 'true'],
    "option '--format <format>' argument 'xml' is invalid. expected json or yaml",
  ],
  [['run', '--run-id', '../x', 'true'], '--run-id ../x: expected [A-Za-z0-9][A-Za-z0-9._-]{0,63}'],
  [['run', '--tag', 'novalue', 'true'], '--tag novalue: expected KEY=VALUE'],
  [['run', '--scope', 'b0', 'true'], '--scope b0: expected LEVEL:NAME'],
  [['run', '--scope', 'Builder:b0', 'true'], '--scope Builder:b0: the level is not a lower-case word'],
  [
    ['run', '--name', 'a/b', 'true'],
    '--name a/b: the name has a character that is not printable, or a slash',
  ],
])('%j: one line, exit code 2', async (args, line) => {
  expect(await main(args, io)).toBe(2);
  expect(out).toBe('');
  expect(err).toContain(`lezea-monitor: ${line}`);
  expect(err.trimEnd().split('\n')).toHaveLength(1);
});

test('help and version are fine, nothing at all is not', async () => {
  expect(await main(['--help'], io)).toBe(0);
  expect(out).toContain('Usage: lezea-monitor');
  out = '';
  expect(await main(['--version'], io)).toBe(0);
  expect(out).toMatch(/^\d+\.\d+\.\d+\n$/);
  expect(await main([], io)).toBe(2);
  expect(err).toContain('Usage: lezea-monitor');
});

test('no command of a later version is offered', async () => {
  await main(['--help'], io);
  const offered = [...out.matchAll(/^ {2}([a-z]+) /gm)].map(([, name]) => name);
  expect(offered).toEqual([
    'agent',
    'run',
    'status',
    'runs',
    'show',
    'events',
    'inventory',
    'doctor',
    'bugreport',
    'preflight',
    'outbox',
    'config',
  ]);
});

test.each([['status'], ['runs'], ['show', 'x'], ['doctor'], ['outbox', 'ls'], ['outbox', 'retry', '--all']])(
  '%s without an agent: exit code 3',
  async (...args) => {
    expect(await main([...args, '--socket', join(folder, 'none.sock')], io)).toBe(3);
    expect(err).toMatch(/^lezea-monitor: no agent answers \(.*none\.sock: ENOENT\)\n$/);
  },
);

test('config check: fine, or exit code 2 with the line of the file', async () => {
  const file = join(folder, 'c.yaml');
  writeFileSync(file, 'log:\n  level: debug\n');
  expect(await main(['config', 'check', file], io)).toBe(0);
  expect(out).toBe(`${file}: fine\n`);
  writeFileSync(file, 'log:\n  levle: debug\n');
  expect(await main(['config', 'check', file], io)).toBe(2);
  expect(err).toContain(`${file}:2`);
  expect(err).toContain('did you mean log.level?');
  out = '';
  expect(await main(['config', 'check', file, '--json'], io)).toBe(2);
  expect(JSON.parse(out)).toMatchObject({
    ok: false,
    file,
    problems: [expect.stringContaining('log.levle')],
  });
});

test('config print says where a value comes from', async () => {
  const file = join(folder, 'c.yaml');
  writeFileSync(file, 'log:\n  level: debug\n');
  expect(await main(['config', 'print', '--config', file, '--json'], io)).toBe(0);
  const { values } = JSON.parse(out);
  expect(values).toContainEqual({ key: 'log.level', value: 'debug', source: `${file}:2` });
  out = '';
  expect(await main(['config', 'print', '--config', file], io)).toBe(0);
  expect(out).toMatch(/^log\.level +"debug" +.*c\.yaml:2$/m);
});
