// `config check` and `config print`: what is wrong with a configuration, and which value comes from where. Reads the same
// file, environment and defaults as the agent; starts nothing.

import { ConfigError, type LoadedConfig, loadConfig } from '../../config/load.js';
import { messageOf } from '../../errors.js';
import { readWebConfig } from '../../http/web-config.js';
import { formatTable } from '../format.js';
import { EXIT, type Io } from '../io.js';

function load(config: string | undefined): LoadedConfig {
  const flags = config === undefined ? {} : { config };
  return loadConfig({ flags, env: process.env, uid: process.getuid?.() ?? -1 });
}

export function configCheckCommand(file: string | undefined, options: { json?: boolean }, io: Io): number {
  try {
    const loaded = load(file);
    checkWebConfig(loaded);
    if (options.json) io.out(`${JSON.stringify({ ok: true, file: loaded.file, problems: [] }, null, 2)}\n`);
    else io.out(`${loaded.file ?? 'no configuration file: defaults'}: fine\n`);
    return EXIT.ok;
  } catch (error) {
    if (!(error instanceof ConfigError) || !options.json) throw error;
    const { problems } = error;
    io.out(`${JSON.stringify({ ok: false, file: file ?? null, problems }, null, 2)}\n`);
    return EXIT.usage;
  }
}

/** What the agent would refuse to start with is found here too. */
function checkWebConfig({ config: { http } }: LoadedConfig): void {
  if (!http.enabled || http.web_config_file === null) return;
  try {
    readWebConfig(http.web_config_file);
  } catch (error) {
    throw new ConfigError(messageOf(error).split('\n'));
  }
}

export function configPrintCommand(options: { config?: string; json?: boolean }, io: Io): number {
  const { file, values } = load(options.config);
  if (options.json) {
    io.out(`${JSON.stringify({ file, values }, null, 2)}\n`);
    return EXIT.ok;
  }
  const rows = values.map(({ key, value, source }) => [key, JSON.stringify(value), source]);
  io.out(`${formatTable([{ title: 'KEY' }, { title: 'VALUE' }, { title: 'FROM' }], rows)}`);
  return EXIT.ok;
}
