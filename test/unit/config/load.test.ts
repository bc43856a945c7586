// Configuration: precedence, provenance, hints, one-line errors, mode defaults.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CONFIG_KEYS, environmentName, nearestKey } from '../../../src/config/keys.js';
import { ConfigError, type Flags, loadConfig } from '../../../src/config/load.js';
import { RATE_VARIABLES } from '../../../src/config/schema.js';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lezea-config-'));
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

function file(text: string): string {
  const path = join(folder, 'config.yaml');
  writeFileSync(path, text);
  return path;
}

function load(options: { yaml?: string; env?: NodeJS.ProcessEnv; flags?: Flags; uid?: number }) {
  const flags = { ...(options.yaml === undefined ? {} : { config: file(options.yaml) }), ...options.flags };
  return loadConfig({ flags, env: { HOME: folder, ...options.env }, uid: options.uid ?? 1000 });
}

function problems(options: Parameters<typeof load>[0]): readonly string[] {
  try {
    load(options);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  throw new Error('the configuration was taken');
}

function sourceOf(loaded: ReturnType<typeof load>, key: string): string | undefined {
  return loaded.values.find((entry) => entry.key === key)?.source;
}

describe("LeZeA's prices", () => {
  const env = { GPU_RATE_EUR_PER_HOUR: '1.5', CPU_RATE_EUR_PER_CORE_HOUR: '0.03', IO_RATE_EUR_PER_GB: '' };

  it('are below the configuration, and are named', () => {
    const loaded = load({ env, yaml: 'cost:\n  gpu_per_hour: 2\n' });
    expect(loaded.config.cost).toMatchObject({ gpu_per_hour: 2, cpu_per_core_hour: 0.03, io_per_gb: null });
    expect(sourceOf(loaded, 'cost.cpu_per_core_hour')).toBe('environment CPU_RATE_EUR_PER_CORE_HOUR');
    expect(load({}).config.cost).toEqual({
      ...Object.fromEntries(Object.keys(RATE_VARIABLES).map((name) => [name, null])),
      energy_per_kwh: null,
      gpu_basis: 'active',
      currency: 'EUR',
    });
  });

  it('are in EUR, and count for no other currency', () => {
    const { config } = load({ env, flags: { set: ['cost.currency=USD'] } });
    expect(config.cost).toMatchObject({ currency: 'USD', gpu_per_hour: null });
  });

  it('are checked like any other', () => {
    expect(problems({ env: { GPU_RATE_EUR_PER_HOUR: 'much' } })).toEqual([
      'cost.gpu_per_hour (environment GPU_RATE_EUR_PER_HOUR): "much": expected a number from 0 to 1000000 with at most 9 decimals',
    ]);
    for (const value of ['-1', '1000001', '0.0000000001']) {
      expect(problems({ flags: { set: [`cost.io_per_gb=${value}`] } })).toHaveLength(1);
    }
    expect(load({ flags: { set: ['cost.io_per_gb=999999.123456789'] } }).config.cost.io_per_gb).toBe(
      999_999.123456789,
    );
  });
});

describe('precedence', () => {
  const yaml = 'sampling:\n  interval_ms: 200\nlog: {level: warn}\nhttp:\n  listen: 127.0.0.1:1\n';

  it('takes defaults where nothing is said', () => {
    const { config, values } = load({});
    expect(config.sampling.interval_ms).toBe(100);
    expect(config.http.listen).toBe('127.0.0.1:10470');
    expect(values.map((entry) => entry.key)).toEqual([...CONFIG_KEYS.keys()]);
  });

  it('puts environment above file and flags above both, and says which it was', () => {
    const loaded = load({
      yaml,
      env: { LEZEA_MONITOR_SAMPLING__INTERVAL_MS: '300', LEZEA_MONITOR_LOG__LEVEL: 'error' },
      flags: { listen: '127.0.0.1:2', set: ['log.level=debug'] },
    });
    expect(loaded.config.sampling.interval_ms).toBe(300);
    expect(loaded.config.log.level).toBe('debug');
    expect(loaded.config.http.listen).toBe('127.0.0.1:2');
    expect(sourceOf(loaded, 'sampling.interval_ms')).toBe('environment LEZEA_MONITOR_SAMPLING__INTERVAL_MS');
    expect(sourceOf(loaded, 'log.level')).toBe('--set');
    expect(sourceOf(loaded, 'http.listen')).toBe('--listen');
    expect(sourceOf(load({ yaml }), 'sampling.interval_ms')).toBe(`${join(folder, 'config.yaml')}:2`);
    expect(sourceOf(loaded, 'checkpoint.interval_ms')).toBe('default');
  });

  it('reads lists and booleans from text', () => {
    const { config } = load({
      env: { LEZEA_MONITOR_OPERATORS: '1001, 1002', LEZEA_MONITOR_METRICS__INCLUSIVE: 'true' },
      flags: { set: ['metrics.columns=[cpu_seconds,memory_bytes]', 'http.allowed_hosts=Node7.Lab'] },
    });
    expect(config.operators).toEqual([1001, 1002]);
    expect(config.metrics.inclusive).toBe(true);
    expect(config.metrics.columns).toEqual(['cpu_seconds', 'memory_bytes']);
    expect(config.http.allowed_hosts).toEqual(['node7.lab']);
  });

  it('finds the file of the mode, or the one that is named', () => {
    writeFileSync(join(folder, 'other.yaml'), 'checkpoint: {interval_ms: 500}');
    const named = load({ env: { LEZEA_MONITOR_CONFIG: join(folder, 'other.yaml') } });
    expect(named.config.checkpoint.interval_ms).toBe(500);
    expect(load({}).file).toBeNull();
  });

  it("lets the clients' variables be", () => {
    const { config } = load({
      env: {
        LEZEA_MONITOR_SOCKET: '/elsewhere.sock',
        LEZEA_MONITOR_CAPTURE_LEVEL: 'none',
        LEZEA_MONITOR_PURE: '1',
        XDG_RUNTIME_DIR: '/run/user/7',
      },
    });
    expect(config.socket.path).toBe('/run/user/7/lezea-monitor/agent.sock');
  });

  it('knows an environment name for every key', () => {
    for (const key of CONFIG_KEYS.keys()) expect(environmentName(key)).toMatch(/^LEZEA_MONITOR_[A-Z_]+$/);
    expect(new Set([...CONFIG_KEYS.keys()].map(environmentName)).size).toBe(CONFIG_KEYS.size);
  });
});

describe('modes', () => {
  it('is the system agent for root and for the unit, else a user agent', () => {
    expect(load({ uid: 0 }).config).toMatchObject({
      agent: { mode: 'system' },
      socket: { path: '/run/lezea-monitor/agent.sock' },
      state: { dir: '/var/lib/lezea-monitor' },
    });
    expect(load({ env: { RUNTIME_DIRECTORY: '/run/lezea-monitor' } }).config.agent.mode).toBe('system');
    const user = load({ env: { TMPDIR: '/tmp/x' } });
    expect(user.config).toMatchObject({
      agent: { mode: 'user' },
      socket: { path: '/tmp/x/lezea-monitor-1000/agent.sock' },
      state: { dir: join(folder, '.local/state/lezea-monitor') },
    });
    expect(sourceOf(user, 'socket.path')).toBe('default (user mode)');
    expect(sourceOf(user, 'agent.mode')).toBe('default (not root, not the systemd unit)');
  });

  it('can be told', () => {
    const { config } = load({
      uid: 0,
      flags: { set: ['agent.mode=user'], stateDir: '/s', socket: '/t/a.sock' },
    });
    expect(config).toMatchObject({
      agent: { mode: 'user' },
      state: { dir: '/s' },
      socket: { path: '/t/a.sock' },
    });
  });
});

describe('errors', () => {
  it('names key, value, expectation and place, one line each', () => {
    const yaml =
      'sampling:\n  interval_ms: fast\nhttp:\n  listen: nowhere\nmetrics:\n  columns: [cpu_seconds, gpu]\n';
    const path = join(folder, 'config.yaml');
    const lines = problems({ yaml, env: { LEZEA_MONITOR_CHECKPOINT__INTERVAL_MS: '7' } });
    expect(lines).toContain(
      `sampling.interval_ms (${path}:2): "fast": expected a whole number from 10 to 60000`,
    );
    expect(lines).toContain(
      `http.listen (${path}:4): "nowhere": expected HOST:PORT with a port from 0 to 65535`,
    );
    expect(lines.find((line) => line.startsWith(`metrics.columns (${path}:6)`))).toContain(
      'expected a list of',
    );
    expect(lines).toContain(
      'checkpoint.interval_ms (environment LEZEA_MONITOR_CHECKPOINT__INTERVAL_MS): 7: ' +
        'expected a whole number from 100 to 60000',
    );
    for (const line of lines) expect(line).not.toContain('\n');
  });

  it('hints at the nearest name of an unknown key, wherever it is said', () => {
    const path = join(folder, 'config.yaml');
    expect(problems({ yaml: 'sampling:\n  intervall_ms: 5\n' })).toEqual([
      `sampling.intervall_ms (${path}:2): unknown key; did you mean sampling.interval_ms?`,
    ]);
    expect(problems({ env: { LEZEA_MONITOR_HTTP__LISTNE: 'x' } })).toEqual([
      'http.listne (environment LEZEA_MONITOR_HTTP__LISTNE): unknown key; did you mean http.listen?',
    ]);
    expect(problems({ flags: { set: ['metric.max_series=5'] } })[0]).toContain(
      'did you mean metrics.max_series?',
    );
    expect(problems({ flags: { set: ['quite.another=5'] } })[0]).toContain('config print');
    expect(problems({ flags: { set: ['log.level'] } })).toEqual(['--set log.level: expected KEY=VALUE']);
    expect(nearestKey('max_series')).toBe('metrics.max_series');
  });

  it('refuses what is no mapping, no YAML, no file or too big', () => {
    const path = join(folder, 'config.yaml');
    expect(problems({ yaml: '- a\n' })).toEqual([`${path}:1: expected a mapping of configuration keys`]);
    expect(problems({ yaml: 'http: 5\n' })).toEqual([`http (${path}:1): 5: expected a mapping of keys`]);
    expect(problems({ yaml: 'a: [\n' })[0]).toContain(`${path}:`);
    expect(problems({ flags: { config: join(folder, 'none.yaml') } })[0]).toContain('cannot be read');
    expect(problems({ yaml: `# ${'x'.repeat(1 << 20)}\n` })[0]).toContain('expected at most');
    expect(problems({ yaml: 'log: {level: info}\nlog: {level: warn}\n' })[0]).toContain('not valid YAML');
  });

  it('does not let an alias bomb or a prototype key through', () => {
    const bomb =
      'a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a]\noperators: [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n';
    expect(problems({ yaml: bomb }).length).toBeGreaterThan(0);
    expect(problems({ yaml: '__proto__:\n  polluted: 1\n' })[0]).toContain('unknown key');
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  });

  it('asks for what a webhook needs, once it is switched on', () => {
    const address = 'an http:// or https:// address without user, password and query';
    const there = '; where webhook.enabled is true there is one';
    expect(problems({ flags: { set: ['webhook.enabled=true'] } })).toEqual([
      `webhook.url: expected ${address}${there}`,
      `webhook.secret_file: expected an absolute path${there}`,
    ]);
    const set = ['webhook.enabled=true', 'webhook.url=https://h/x', 'webhook.secret_file=/s'];
    expect(load({ flags: { set } }).config.webhook).toMatchObject({
      url: 'https://h/x',
      timeout_seconds: 60,
    });
    expect(load({ flags: { set: set.slice(1) } }).config.webhook.enabled).toBe(false);
  });

  it.each(['ftp://h', 'http://h?token=x', 'http://h:99999', 'http://', 'h/x', 'https://[::1/x'])(
    'takes no webhook at %s',
    (url) => {
      expect(problems({ flags: { set: [`webhook.url=${url}`] } })[0]).toContain(
        `webhook.url (--set): "${url}": `,
      );
    },
  );

  it('does not say a password that is in an address', () => {
    const urls = ['https://me:s3cret@h/x', 'https://me:s3/cr#et@h/x'];
    for (const url of urls) {
      const [line] = problems({ flags: { set: [`webhook.url=${url}`] } });
      expect(line).toMatch(/^webhook\.url \(--set\): "https:\/\/…@h\/x": expected an http/);
    }
    const [line] = problems({ flags: { set: [`tracker.addresses=http://a,${urls[0]}`] } });
    expect(line).toContain('["http://a","https://…@h/x"]');
  });

  it('takes an empty file and empty sections', () => {
    expect(load({ yaml: '' }).config.log.level).toBe('info');
    expect(load({ yaml: 'http:\nlog:\n' }).config.log.level).toBe('info');
  });
});
