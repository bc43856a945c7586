// /etc/lezea-monitor/config.yaml as packages bring it: every key with its meaning and its default, all of it
// commented out. Lines of meaning begin with `##`; what is left with one `#` taken off the others is a valid
// configuration.
const WIDTH = 110;

const INTRODUCTION =
  'Configuration of the lezea-monitor service; lezea-monitor-config(5). All of it is optional: what is commented out ' +
  'are the defaults. `lezea-monitor config check` says what is wrong, `lezea-monitor config print` what is in force ' +
  'and why. `systemctl reload lezea-monitor` applies the keys that are live, a restart all of them.';

export function configFile(sections) {
  const lines = meaning(INTRODUCTION, 0);
  let before = [];
  for (const { name, description, keys } of sections) {
    const parts = name === '' ? [] : name.split('.');
    const shared = parts.findIndex((part, depth) => part !== before[depth]);
    lines.push('', ...meaning(description, 0));
    parts.forEach((part, depth) => {
      if (shared !== -1 && depth >= shared) lines.push(`#${'  '.repeat(depth)}${part}:`);
    });
    before = parts;
    for (const key of keys) lines.push(...keyLines(key, parts.length));
  }
  return `${lines.join('\n')}\n`;
}

function keyLines({ name, fallback, meta }, depth) {
  const unit = meta.unit === undefined ? '' : ` Unit: ${meta.unit}.`;
  const chosen = meta.defaultNote === undefined ? '' : ` Default: ${meta.defaultNote}.`;
  const said = `${meta.description}${unit} Expects ${meta.expects}.${chosen}${meta.live ? ' Live.' : ''}`;
  return [
    ...meaning(said, depth),
    `#${'  '.repeat(depth)}${name.split('.').at(-1)}: ${JSON.stringify(fallback)}`,
  ];
}

function meaning(words, depth) {
  const start = `## ${'  '.repeat(depth)}`;
  const lines = [];
  for (const word of words.split(/\s+/).filter(Boolean)) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + word.length < WIDTH) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(`${start}${word}`);
  }
  return lines;
}
