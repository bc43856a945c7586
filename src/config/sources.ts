// The three places a value can come from: a YAML file, the environment (LEZEA_MONITOR_*), the command line. Each becomes
// a list of settings, key by key, with where it was said. Reads the file; owns nothing.

import { isMap, LineCounter, parseDocument } from 'yaml';
import { readRegular } from '../regular-file.js';
import { CONFIG_KEYS, type ConfigKey, environmentName, nearestKey } from './keys.js';
import { RATE_VARIABLES } from './schema.js';

/** One value as it was given, before it is checked. */
export interface Setting {
  key: string;
  value: unknown;
  /** For people: `/etc/x.yaml:12`, `environment LEZEA_MONITOR_LOG__LEVEL`, `--listen`. */
  source: string;
}

export interface Settings {
  settings: Setting[];
  /** One line each; empty when all is well. */
  problems: string[];
}

/** Variables of this prefix that are not configuration: the clients', and where the file is. */
const OTHER_VARIABLES = new Set([
  'LEZEA_MONITOR_SOCKET',
  'LEZEA_MONITOR_CAPTURE_LEVEL',
  'LEZEA_MONITOR_PURE',
  'LEZEA_MONITOR_CONFIG',
]);

const MAX_FILE_BYTES = 1 << 20;

function unknownKey(name: string, source: string): string {
  const near = nearestKey(name);
  const hint =
    near === undefined ? 'run `lezea-monitor config print` for the known keys' : `did you mean ${near}?`;
  return `${name} (${source}): unknown key; ${hint}`;
}

/** Turns text into the key's type; text that does not fit is left for the schema to refuse by name. */
function fromText(key: ConfigKey, text: string): unknown {
  switch (key.kind) {
    case 'number':
      return /^-?\d+(\.\d+)?$/.test(text.trim()) ? Number(text) : text;
    case 'boolean':
      return text === 'true' ? true : text === 'false' ? false : text;
    case 'list':
    case 'number list': {
      const parts = text
        .replace(/^\[(.*)\]$/s, '$1')
        .split(',')
        .map((part) => part.trim())
        .filter((part) => part !== '');
      return key.kind === 'list' ? parts : parts.map((part) => (/^\d+$/.test(part) ? Number(part) : part));
    }
    default:
      return text;
  }
}

/** Settings of a YAML file; a file that cannot be read or parsed is a problem, not an exception. */
export function fromFile(path: string): Settings {
  const read = readRegular(path, MAX_FILE_BYTES);
  return 'text' in read
    ? fromYaml(read.text, path)
    : { settings: [], problems: [`${path}: ${read.problem}`] };
}

/** The same, of text; `path` is only for messages. */
export function fromYaml(text: string, path: string): Settings {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  if (document.errors.length > 0) {
    const problems = document.errors.map((error) => {
      const at = lines.linePos(error.pos[0]);
      return `${path}:${at.line}: not valid YAML: ${error.message.split('\n')[0]}`;
    });
    return { settings: [], problems };
  }
  const found: Settings = { settings: [], problems: [] };
  if (document.contents === null) return found;
  if (!isMap(document.contents)) {
    return { settings: [], problems: [`${path}:1: expected a mapping of configuration keys`] };
  }
  collect(document.contents, '', found, (offset) => `${path}:${lines.linePos(offset).line}`);
  return found;
}

function collect(map: unknown, prefix: string, found: Settings, where: (offset: number) => string): void {
  if (!isMap(map)) return;
  for (const pair of map.items) {
    const keyNode = pair.key as { value?: unknown; range?: [number, number, number] | null };
    const source = where(keyNode.range?.[0] ?? 0);
    const name = prefix + String(keyNode.value);
    const known = CONFIG_KEYS.get(name);
    const isSection =
      known === undefined && [...CONFIG_KEYS.keys()].some((other) => other.startsWith(`${name}.`));
    const value = pair.value as { toJSON?: () => unknown; value?: unknown } | null;
    if (known !== undefined) {
      found.settings.push({ key: name, value: value?.toJSON?.() ?? null, source });
    } else if (!isSection) {
      found.problems.push(unknownKey(name, source));
    } else if (isMap(value)) {
      collect(value, `${name}.`, found, where);
    } else if (value !== null && value.value !== null) {
      found.problems.push(
        `${name} (${source}): ${JSON.stringify(value.toJSON?.())}: expected a mapping of keys`,
      );
    }
  }
}

/** Settings of the environment: LEZEA_MONITOR_ and the key in capitals, `__` for the dot. */
export function fromEnvironment(env: NodeJS.ProcessEnv): Settings {
  const found: Settings = { settings: [], problems: [] };
  for (const variable of Object.keys(env).sort()) {
    if (!variable.startsWith('LEZEA_MONITOR_') || OTHER_VARIABLES.has(variable)) continue;
    const name = variable.slice('LEZEA_MONITOR_'.length).replaceAll('__', '.').toLowerCase();
    const known = CONFIG_KEYS.get(name);
    if (known === undefined || environmentName(name) !== variable) {
      found.problems.push(unknownKey(name, `environment ${variable}`));
      continue;
    }
    found.settings.push({
      key: name,
      value: fromText(known, env[variable] ?? ''),
      source: `environment ${variable}`,
    });
  }
  return found;
}

/** Prices as LeZeA's cost model reads them, from the environment. */
export function fromCostModel(env: NodeJS.ProcessEnv): Setting[] {
  return Object.entries(RATE_VARIABLES).flatMap(([name, variable]) => {
    const known = CONFIG_KEYS.get(`cost.${name}`);
    const text = env[variable];
    if (known === undefined || text === undefined || text === '') return [];
    return [{ key: known.name, value: fromText(known, text), source: `environment ${variable}` }];
  });
}

/** What the command line may say; each is the flag's text. */
export interface Flags {
  config?: string;
  listen?: string;
  /** The exporter-toolkit's own spelling. */
  'web.config.file'?: string;
  socket?: string;
  stateDir?: string;
  logLevel?: string;
  /** `KEY=VALUE`, in order; the last one wins. */
  set?: string[];
}

const FLAG_KEYS = [
  ['listen', '--listen', 'http.listen'],
  ['web.config.file', '--web.config.file', 'http.web_config_file'],
  ['socket', '--socket', 'socket.path'],
  ['stateDir', '--state-dir', 'state.dir'],
  ['logLevel', '--log-level', 'log.level'],
] as const;

/** Settings of the command line; `--set` comes after the named flags. */
export function fromFlags(flags: Flags): Settings {
  const found: Settings = { settings: [], problems: [] };
  for (const [field, source, key] of FLAG_KEYS) {
    const value = flags[field];
    if (value !== undefined) found.settings.push({ key, value, source });
  }
  for (const text of flags.set ?? []) {
    const at = text.indexOf('=');
    const name = at < 0 ? text : text.slice(0, at);
    const known = CONFIG_KEYS.get(name);
    if (at < 0) found.problems.push(`--set ${text}: expected KEY=VALUE`);
    else if (known === undefined) found.problems.push(unknownKey(name, '--set'));
    else found.settings.push({ key: name, value: fromText(known, text.slice(at + 1)), source: '--set' });
  }
  return found;
}
