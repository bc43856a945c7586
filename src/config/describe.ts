// docs/configuration.md, made from the schema so that it can never say something else. Pure.

import { CONFIG_SECTIONS, type ConfigKey, environmentName } from './keys.js';

/** The whole document, Markdown. */
export function describeConfig(): string {
  const sections = CONFIG_SECTIONS.map(({ name, description, keys }) =>
    [`## ${name === '' ? 'Keys without a section' : `\`${name}\``}`, description, table(keys)]
      .filter((part) => part !== '')
      .join('\n\n'),
  );
  return `${[INTRODUCTION, ...sections].join('\n\n')}\n`;
}

const INTRODUCTION = `# Configuration

Generated from \`src/config/schema.ts\` by \`npm run docs\`; do not edit.

Values come from, later ones winning: the defaults below; a YAML file; the environment; the command line. The file is the
one that \`--config\` or LEZEA_MONITOR_CONFIG names, else \`/etc/lezea-monitor/config.yaml\` in system mode and
\`$XDG_CONFIG_HOME/lezea-monitor/config.yaml\` (else under \`~/.config\`) in user mode, where there is one. The environment
variable of a key is LEZEA_MONITOR_ and its name in capitals with \`__\` for each dot: \`sampling.interval_ms\` is
${environmentName('sampling.interval_ms')}. On the command line any key is \`--set KEY=VALUE\`; \`--listen\`, \`--socket\`,
\`--state-dir\` and \`--log-level\` are short for \`http.listen\`, \`socket.path\`, \`state.dir\` and \`log.level\`. Lists in the
environment and on the command line are separated by commas.

An unknown key or a value that does not fit is an error; nothing is guessed. \`lezea-monitor config check\` says what is
wrong, \`lezea-monitor config print\` which value is in force and where it came from. SIGHUP reads everything again: an
invalid configuration changes nothing, and keys that are not marked *live* wait for a restart.

LEZEA_MONITOR_SOCKET is the clients' variable; the agent does not look at it.`;

function table(keys: readonly ConfigKey[]): string {
  const rows = keys.map(({ name, fallback, meta }) => {
    const unit = meta.unit === undefined ? '' : ` Unit: ${meta.unit}.`;
    const live = meta.live ? ' *Live.*' : '';
    const chosen =
      meta.defaultNote ?? (name === 'agent.mode' ? '`"auto"`' : `\`${JSON.stringify(fallback)}\``);
    const cells = [`\`${name}\``, meta.expects, chosen, `${meta.description}${unit}${live}`];
    return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  });
  return ['| key | value | default | meaning |', '|---|---|---|---|', ...rows].join('\n');
}
