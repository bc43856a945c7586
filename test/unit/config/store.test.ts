// Reload: a valid change is applied key by key, an invalid one changes nothing.

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { ConfigStore } from '../../../src/config/store.js';

let folder: string;
let path: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lezea-config-'));
  path = join(folder, 'config.yaml');
  writeFileSync(path, 'log: {level: warn}\nmetrics: {linger_seconds: 10}\n');
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

function store(): ConfigStore {
  return new ConfigStore({ flags: { config: path }, env: { HOME: folder }, uid: 1000 });
}

it('keeps the old configuration when the new one is invalid, and says why', () => {
  const config = store();
  writeFileSync(path, 'log: {level: loud}\nmetrics: {linger_seconds: 20}\n');
  const { error, applied } = config.reload();
  expect(error?.message).toBe(
    `log.level (${path}:1): "loud": expected trace, debug, info, warn, error, fatal or silent`,
  );
  expect(applied).toEqual([]);
  expect(config.current.log.level).toBe('warn');
  expect(config.current.metrics.linger_seconds).toBe(10);
});

it('applies what can change while running, tells the listeners, and names what waits for a restart', () => {
  const config = store();
  const told: number[] = [];
  config.onChange((next) => told.push(next.metrics.linger_seconds));
  writeFileSync(path, 'metrics: {linger_seconds: 20}\nsampling: {interval_ms: 50}\n');
  expect(config.reload()).toEqual({
    error: null,
    applied: ['metrics.linger_seconds', 'log.level'],
    waiting: ['sampling.interval_ms'],
  });
  expect(told).toEqual([20]);
  expect(config.current.log.level).toBe('info');
  expect(config.current.sampling.interval_ms).toBe(100);
  const shown = config.effectiveConfig().find((entry) => entry.key === 'sampling.interval_ms');
  expect(shown).toEqual({ key: 'sampling.interval_ms', value: 100, source: 'default' });
});

it('refuses what is no regular file, says what it is, and does not wait for it', () => {
  const config = store();
  rmSync(path);
  execFileSync('mkfifo', [path]);
  expect(config.reload().error?.message).toBe(`${path}: a pipe (FIFO): expected a regular file`);
  rmSync(path);
  mkdirSync(path);
  expect(config.reload().error?.message).toBe(`${path}: a folder: expected a regular file`);
  rmSync(path, { recursive: true });
  symlinkSync('/dev/zero', path);
  expect(config.reload().error?.message).toBe(`${path}: a device: expected a regular file`);
  expect(config.current.log.level).toBe('warn');
});

it('refuses to begin with an invalid configuration', () => {
  writeFileSync(path, 'lgo: {}\n');
  expect(store).toThrow('did you mean log?');
});
