// What is said to a service manager and when, without one: by the clock of the test.

import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { ServiceManager } from '../../../src/agent/service-manager.js';
import { createLogger } from '../../../src/log.js';

let said: string[];
let lines: string[];
let beat: bigint;
let status: string;
let isDeaf: boolean;

beforeEach(() => {
  vi.useFakeTimers();
  [said, lines, beat, status, isDeaf] = [[], [], 0n, 'idle', false];
});

afterEach(() => {
  vi.useRealTimers();
});

const watched = { status: () => status, heartbeat: () => beat };

function manager(env: NodeJS.ProcessEnv = {}): ServiceManager | undefined {
  return ServiceManager.of({
    env,
    pid: 42,
    send: (address, message) => {
      if (isDeaf) throw new Error(`${address}: Connection refused`);
      said.push(message);
    },
    monotonicNs: () => 7_654_321n,
    log: createLogger({ level: 'info', destination: { write: (line) => lines.push(line) } }),
  });
}

const SOCKET = { NOTIFY_SOCKET: '/run/systemd/notify' };

/** The words of the watchdog in so long, milliseconds, the thread moving all the while. */
function fedIn(ms: number): number {
  said = [];
  for (let t = 0; t < ms; t += 1000) {
    beat++;
    vi.advanceTimersByTime(1000);
  }
  return said.filter((message) => message === 'WATCHDOG=1').length;
}

it('is none where nothing manages the process, and has its variables to itself where something does', () => {
  expect(manager({ HOME: '/root' })).toBeUndefined();
  const env = { ...SOCKET, WATCHDOG_USEC: '1', WATCHDOG_PID: '42', HOME: '/root' };
  expect(manager(env)).toBeDefined();
  expect(env).toEqual({ HOME: '/root' });
});

it('feeds the watchdog at half of its period, where the period is of this very process', () => {
  const fed = (variables: NodeJS.ProcessEnv) => {
    manager({ ...SOCKET, ...variables })?.ready(watched);
    const times = fedIn(60_000);
    vi.clearAllTimers();
    return times;
  };
  expect(fed({ WATCHDOG_USEC: '20000000', WATCHDOG_PID: '42' })).toBe(6);
  expect(fed({ WATCHDOG_USEC: '20000000' })).toBe(6);
  expect(fed({ WATCHDOG_USEC: '20000000', WATCHDOG_PID: '43' })).toBe(0);
  for (const none of ['0', '', 'soon', '-5']) expect(fed({ WATCHDOG_USEC: none })).toBe(0);
});

it('does not feed it while the sampling thread has not moved, and does again when it has', () => {
  manager({ ...SOCKET, WATCHDOG_USEC: '20000000' })?.ready(watched);
  expect(fedIn(10_000)).toBe(1);
  said = [];
  vi.advanceTimersByTime(30_000);
  expect(said).toEqual([]);
  expect(lines.join('')).toContain('the sampling thread hangs');
  expect(fedIn(10_000)).toBe(1);
});

it('tells the status in one line, and again only where it is another', () => {
  status = 'one\ntwo';
  manager({ ...SOCKET })?.ready(watched);
  expect(said).toEqual(['READY=1\nSTATUS=one two']);
  vi.advanceTimersByTime(60_000);
  expect(said).toHaveLength(1);
  status = 'three';
  vi.advanceTimersByTime(10_000);
  expect(said).toEqual(['READY=1\nSTATUS=one two', 'STATUS=three']);
});

it('says READY again when the manager hears again, and complains once', () => {
  isDeaf = true;
  manager({ ...SOCKET })?.ready(watched);
  vi.advanceTimersByTime(30_000);
  expect(lines).toHaveLength(1);
  isDeaf = false;
  vi.advanceTimersByTime(10_000);
  expect(said).toEqual(['READY=1\nSTATUS=idle']);
});

it('keeps a refused reload in the status until one is taken, and tells of none before READY', () => {
  const service = manager({ ...SOCKET });
  service?.reload(() => '');
  expect(said).toEqual([]);
  service?.ready(watched);
  service?.reload(() => 'refused');
  expect(said.slice(1)).toEqual(['RELOADING=1\nMONOTONIC_USEC=7654', 'READY=1\nSTATUS=idle; refused']);
  status = 'busy';
  vi.advanceTimersByTime(10_000);
  expect(said.at(-1)).toBe('STATUS=busy; refused');
  service?.reload(() => '');
  expect(said.at(-1)).toBe('READY=1\nSTATUS=busy');
});

it('says nothing after STOPPING', () => {
  const service = manager({ ...SOCKET, WATCHDOG_USEC: '20000000' });
  service?.ready(watched);
  service?.stopping();
  expect(said.at(-1)).toMatch(/^STOPPING=1\n/);
  expect(fedIn(60_000)).toBe(0);
  expect(said).toEqual([]);
});
