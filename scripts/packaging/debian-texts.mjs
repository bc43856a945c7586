// Debian's two texts about a package: whose it is, with every licence in full of what it carries, and what changed.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { carriedNode } from './nodes.mjs';
import { epoch, manifest } from './tools.mjs';

const MAINTAINER = 'lezea-monitor maintainers <maintainers@lezea-monitor.example>';
const RULE = '-'.repeat(78);

/** Of the installed program's folder. */
export function copyrightText(program, machine) {
  const node = carriedNode(machine);
  const carried = [
    `${RULE}
Node.js ${node.version}, node/ (official build, symbols removed)

Its licences, and those of what it carries: /usr/lib/lezea-monitor/node/LICENSE
`,
    ...modules(program).map(({ place, name, version, license }) => {
      const folder = join(program, place);
      const file = readdirSync(folder).find((entry) => /^(licen[cs]e|copying)/i.test(entry));
      const title = `${name} ${version}, ${place} (${license})`;
      const told = file === undefined || license === 'Apache-2.0';
      return told ? `${RULE}\n${title}\n` : section(title, join(folder, file));
    }),
  ];
  return `lezea-monitor is licensed under the Apache License 2.0, which is in
/usr/share/common-licenses/Apache-2.0 on Debian systems.

Copyright: the lezea-monitor maintainers

It carries the following works under /usr/lib/lezea-monitor, each under its own
licence. SQLite, in prebuilt/, is in the public domain.

${carried.join('\n')}`;
}

function section(title, file) {
  return `${RULE}\n${title}\n\n${readFileSync(file, 'utf8').trimEnd()}\n`;
}

/** Every package in it, by place. */
function modules(program) {
  return readdirSync(join(program, 'node_modules'), { recursive: true, encoding: 'utf8' })
    .filter((path) => /(^|node_modules\/)(@[^/]+\/)?[^/@]+\/package\.json$/.test(path))
    .map((path) => join('node_modules', path, '..'))
    .filter((place) => existsSync(join(program, place, 'package.json')))
    .sort()
    .map((place) => {
      const { name, version, license } = JSON.parse(
        readFileSync(join(program, place, 'package.json'), 'utf8'),
      );
      return { place, name, version, license };
    });
}

export function changelogText(revision) {
  const date = new Date(Number(epoch()) * 1000).toUTCString().replace('GMT', '+0000');
  const title = `${manifest.name} (${revision}) unstable; urgency=medium`;
  return `${title}

  * Built from the sources of ${manifest.version}; changelog.gz has what changed.

 -- ${MAINTAINER}  ${date}
`;
}
