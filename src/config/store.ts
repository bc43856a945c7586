// The configuration in force, and its reload on SIGHUP: an invalid new one keeps the old. Owns the current Config.

import { CONFIG_KEYS, setAt } from './keys.js';
import { ConfigError, type EffectiveValue, type LoadedConfig, type LoadInput, loadConfig } from './load.js';
import type { Config } from './schema.js';

export interface ReloadResult {
  /** Why the old configuration was kept; null when the new one is in force. */
  error: ConfigError | null;
  /** Keys whose new value is in force. */
  applied: string[];
  /** Keys whose new value waits for a restart; the old value stays in force. */
  waiting: string[];
}

export class ConfigStore {
  #input: LoadInput;
  #loaded: LoadedConfig;
  #listeners: ((config: Config) => void)[] = [];

  /** Throws ConfigError when the configuration cannot be used. */
  constructor(input: LoadInput) {
    this.#input = input;
    this.#loaded = loadConfig(input);
  }

  get current(): Config {
    return this.#loaded.config;
  }

  /** The configuration file that is read, or null. */
  get file(): string | null {
    return this.#loaded.file;
  }

  /** Every key with its value and where it came from. */
  effectiveConfig(): EffectiveValue[] {
    return this.#loaded.values;
  }

  /** Called after every reload that was applied. */
  onChange(listener: (config: Config) => void): void {
    this.#listeners.push(listener);
  }

  reload(): ReloadResult {
    let next: LoadedConfig;
    try {
      next = loadConfig(this.#input);
    } catch (error) {
      if (error instanceof ConfigError) return { error, applied: [], waiting: [] };
      throw error;
    }
    const before = new Map(this.#loaded.values.map((entry) => [entry.key, entry]));
    const changed = next.values.filter(
      (entry) => JSON.stringify(entry.value) !== JSON.stringify(before.get(entry.key)?.value),
    );
    const isLive = (entry: EffectiveValue) => CONFIG_KEYS.get(entry.key)?.meta.live === true;
    const waiting = changed.filter((entry) => !isLive(entry)).map((entry) => entry.key);
    for (const key of waiting) keepOld(next, before.get(key) as EffectiveValue);
    this.#loaded = next;
    for (const listener of this.#listeners) listener(next.config);
    return { error: null, applied: changed.filter(isLive).map((entry) => entry.key), waiting };
  }
}

/** Puts the value in force back into a freshly loaded configuration. */
function keepOld(next: LoadedConfig, old: EffectiveValue): void {
  next.values = next.values.map((entry) => (entry.key === old.key ? old : entry));
  setAt(next.config, old.key, old.value);
}
