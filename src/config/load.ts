// Puts a configuration together: defaults < LeZeA's own variables < YAML file < environment < flags, checked against the schema, with where
// every value came from. Reads the file and the environment it is given; emits the Config and its provenance.

import { existsSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { LezeaError } from '../errors.js';
import { CONFIG_KEYS, setAt, valueAt } from './keys.js';
import { type Config, configSchema, type RawConfig } from './schema.js';
import { type Flags, fromCostModel, fromEnvironment, fromFile, fromFlags, type Setting } from './sources.js';

export type { Flags } from './sources.js';

export interface LoadInput {
  flags: Flags;
  env: NodeJS.ProcessEnv;
  /** User id the agent runs as. */
  uid: number;
}

/** One line of `config print`. */
export interface EffectiveValue {
  key: string;
  value: unknown;
  source: string;
}

export interface LoadedConfig {
  config: Config;
  /** The file that was read, or null when there is none. */
  file: string | null;
  values: EffectiveValue[];
}

/** A configuration that cannot be used. Every problem is one line: key, value, expectation, where it was said. */
export class ConfigError extends LezeaError {
  readonly problems: readonly string[];

  constructor(problems: string[]) {
    super('invalid_config', problems.join('\n'));
    this.name = 'ConfigError';
    this.problems = problems;
  }
}

/** Reads and checks everything. Throws ConfigError. */
export function loadConfig(input: LoadInput): LoadedConfig {
  const environment = fromEnvironment(input.env);
  const flags = fromFlags(input.flags);
  const early = [...environment.settings, ...flags.settings];
  const file = findFile(input, early);
  const fromDisk = file === null ? { settings: [], problems: [] } : fromFile(file);
  // In order of precedence: a later setting of the same key wins.
  const own = [...fromDisk.settings, ...early];
  const currency = own.findLast(({ key }) => key === 'cost.currency')?.value ?? 'EUR';
  const all = [...(currency === 'EUR' ? fromCostModel(input.env) : []), ...own];
  const said = new Map(all.map((setting) => [setting.key, setting]));
  const problems = [...fromDisk.problems, ...environment.problems, ...flags.problems];

  const parsed = configSchema.safeParse(nest(said.values()));
  if (!parsed.success) {
    const bad = new Set(parsed.error.issues.map((issue) => keyOfPath(issue.path)));
    for (const name of bad) problems.push(describeProblem(name, said.get(name)));
  }
  if (!parsed.success || problems.length > 0) throw new ConfigError(problems);
  const { config, derived } = settle(parsed.data, input);
  return { config, file, values: effectiveValues(config, said, derived) };
}

/** The file that `--config` or LEZEA_MONITOR_CONFIG names, else the mode's usual one where it exists. */
function findFile(input: LoadInput, early: Setting[]): string | null {
  const named = input.flags.config ?? (input.env.LEZEA_MONITOR_CONFIG || undefined);
  if (named !== undefined) return named;
  const said = early.findLast((setting) => setting.key === 'agent.mode')?.value;
  const mode = said === 'user' || said === 'system' ? said : decideMode('auto', input);
  const usual =
    mode === 'system'
      ? '/etc/lezea-monitor/config.yaml'
      : join(input.env.XDG_CONFIG_HOME || join(home(input), '.config'), 'lezea-monitor', 'config.yaml');
  return existsSync(usual) ? usual : null;
}

function home(input: LoadInput): string {
  return input.env.HOME || homedir();
}

function decideMode(mode: RawConfig['agent']['mode'], input: LoadInput): 'user' | 'system' {
  if (mode !== 'auto') return mode;
  return input.uid === 0 || input.env.RUNTIME_DIRECTORY === '/run/lezea-monitor' ? 'system' : 'user';
}

function nest(settings: Iterable<Setting>): Record<string, unknown> {
  const root: Record<string, unknown> = {};
  for (const { key, value } of settings) setAt(root, key, value);
  return root;
}

/** The key an issue is about: the path without indices into a list. */
function keyOfPath(path: PropertyKey[]): string {
  return path.filter((part) => typeof part === 'string').join('.');
}

function describeProblem(name: string, setting: Setting | undefined): string {
  const expects = CONFIG_KEYS.get(name)?.meta.expects ?? 'another value';
  if (setting === undefined) return `${name}: expected ${expects}`;
  const said = JSON.stringify(setting.value) ?? String(setting.value);
  // The message goes into a log; a password that is where none belongs does not.
  const text = said.replace(/:\/\/[^"]*@/g, '://…@');
  const short = text.length > 200 ? `${text.slice(0, 200)}…` : text;
  return `${name} (${setting.source}): ${short}: expected ${expects}`;
}

/** Decides the mode and the paths that depend on it; `derived` says how, for the keys that were left open. */
function settle(raw: RawConfig, input: LoadInput): { config: Config; derived: Map<string, string> } {
  const mode = decideMode(raw.agent.mode, input);
  const usual = mode === 'system' ? SYSTEM_PATHS : userPaths(input);
  const derived = new Map<string, string>();
  if (raw.agent.mode === 'auto') {
    const why =
      mode === 'user' ? 'not root, not the systemd unit' : input.uid === 0 ? 'root' : 'the systemd unit';
    derived.set('agent.mode', why);
  }
  if (raw.socket.path === null) derived.set('socket.path', `${mode} mode`);
  if (raw.state.dir === null) derived.set('state.dir', `${mode} mode`);
  const config: Config = {
    ...raw,
    agent: { ...raw.agent, mode },
    socket: { ...raw.socket, path: raw.socket.path ?? usual.socket },
    state: { ...raw.state, dir: raw.state.dir ?? usual.state },
  };
  return { config, derived };
}

const SYSTEM_PATHS = { socket: '/run/lezea-monitor/agent.sock', state: '/var/lib/lezea-monitor' };

function userPaths(input: LoadInput): { socket: string; state: string } {
  const { env, uid } = input;
  const runtime = env.XDG_RUNTIME_DIR
    ? join(env.XDG_RUNTIME_DIR, 'lezea-monitor')
    : join(env.TMPDIR || tmpdir(), `lezea-monitor-${uid}`);
  const state = env.XDG_STATE_HOME || join(home(input), '.local', 'state');
  return { socket: join(runtime, 'agent.sock'), state: join(state, 'lezea-monitor') };
}

function effectiveValues(
  config: Config,
  said: Map<string, Setting>,
  derived: Map<string, string>,
): EffectiveValue[] {
  return [...CONFIG_KEYS.keys()].map((key) => {
    const setting = said.get(key);
    const why = derived.get(key);
    const given = setting === undefined ? 'default' : setting.source;
    return { key, value: valueAt(config, key), source: why === undefined ? given : `${given} (${why})` };
  });
}
