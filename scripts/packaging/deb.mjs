// The Debian package: the program with a Node.js of its own under /usr/lib/lezea-monitor, the service from systemd/,
// the Python client, man pages, completions. Made by dpkg-deb alone: all that debhelper would add is in
// packaging/debian/.
import { createHash } from 'node:crypto';
import {
  chmodSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { NEWEST } from './binaries.mjs';
import { commandTree } from './command-tree.mjs';
import { bashCompletion, zshCompletion } from './completions.mjs';
import { configFile } from './config-file.mjs';
import { changelogText, copyrightText } from './debian-texts.mjs';
import { tool } from './machines.mjs';
import { manPages } from './man-pages.mjs';
import { carriedNode } from './nodes.mjs';
import { epoch, manifest, packages, parts, root, run } from './tools.mjs';

const REVISION = `${manifest.version}-1`;
const PROGRAM = 'usr/lib/lezea-monitor';
const EXECUTED = ['bin/lezea-monitor', 'node/bin/node'];
const DOCS = 'usr/share/doc/lezea-monitor';

/** Of the program's folder and the wheel, which lies beside itself unpacked; the path of the package. */
export async function makeDeb(program, wheel, machine) {
  const tree = join(parts, `deb-${machine.debian}`);
  rmSync(tree, { recursive: true, force: true });
  copyProgram(tree, program);
  copyNode(tree, machine);
  copyClient(tree, wheel);
  copyService(tree);
  await writeDerived(tree, program);
  writeDocs(tree, program, machine);
  setModes(tree);
  writeControl(tree, machine);
  const target = join(packages, `${manifest.name}_${REVISION}_${machine.debian}.deb`);
  const environment = { ...process.env, SOURCE_DATE_EPOCH: epoch() };
  run('dpkg-deb', ['--root-owner-group', '-Zxz', '-z1', '--build', tree, target], { env: environment });
  return target;
}

function put(tree, path, content, mode = 0o644) {
  mkdirSync(dirname(join(tree, path)), { recursive: true });
  writeFileSync(join(tree, path), content, { mode });
}

function copyProgram(tree, program) {
  for (const part of ['bin', 'dist', 'node_modules', 'prebuilt', 'package.json'])
    cpSync(join(program, part), join(tree, PROGRAM, part), { recursive: true });
  mkdirSync(join(tree, 'usr/bin'), { recursive: true });
  symlinkSync('../lib/lezea-monitor/bin/lezea-monitor', join(tree, 'usr/bin/lezea-monitor'));
}

/** The official build, without the symbols that only a debugger reads. */
function copyNode(tree, machine) {
  const { path } = carriedNode(machine);
  const target = join(tree, PROGRAM, 'node/bin/node');
  mkdirSync(dirname(target), { recursive: true });
  run(tool(machine, 'strip'), ['--strip-unneeded', '-o', target, join(path, 'bin/node')]);
  cpSync(join(path, 'LICENSE'), join(tree, PROGRAM, 'node/LICENSE'));
}

/**
 * Where Debian's own python3 finds it, without pip's list of files: it is dpkg that removes them. The wheel is for
 * virtual environments, which do not look there.
 */
function copyClient(tree, wheel) {
  cpSync(wheel, join(tree, PROGRAM, 'python', basename(wheel)));
  const target = join(tree, 'usr/lib/python3/dist-packages');
  cpSync(join(dirname(wheel), 'unpacked'), target, { recursive: true });
  const facts = readdirSync(target).find((name) => name.endsWith('.dist-info'));
  rmSync(join(target, facts, 'RECORD'));
  put(target, join(facts, 'INSTALLER'), 'debian\n');
}

function copyService(tree) {
  const source = join(root, 'systemd');
  const copies = {
    'lezea-monitor.service': 'usr/lib/systemd/system/lezea-monitor.service',
    'lezea-monitor.sysusers': 'usr/lib/sysusers.d/lezea-monitor.conf',
    'lezea-monitor.tmpfiles': 'usr/lib/tmpfiles.d/lezea-monitor.conf',
    'drop-ins': `${DOCS}/examples`,
  };
  for (const [from, to] of Object.entries(copies))
    cpSync(join(source, from), join(tree, to), { recursive: true });
}

/** What is made from the program itself. */
async function writeDerived(tree, program) {
  const commands = await commandTree(program);
  const { CONFIG_SECTIONS: sections } = await import(join(program, 'dist/config/keys.js'));
  const date = new Date(Number(epoch()) * 1000).toISOString().slice(0, 10);
  const pages = manPages({ tree: commands, sections, version: manifest.version, date });
  for (const [name, page] of Object.entries(pages))
    put(tree, `usr/share/man/man${name.at(-1)}/${name}.gz`, gzipSync(page, { level: 9 }));
  put(tree, 'usr/share/bash-completion/completions/lezea-monitor', bashCompletion(commands));
  put(tree, 'usr/share/zsh/vendor-completions/_lezea-monitor', zshCompletion(commands));
  put(tree, 'etc/lezea-monitor/config.yaml', configFile(sections));
}

function writeDocs(tree, program, machine) {
  cpSync(join(program, 'docs'), join(tree, DOCS), { recursive: true });
  cpSync(join(program, 'README.md'), join(tree, DOCS, 'README.md'));
  put(tree, `${DOCS}/copyright`, copyrightText(join(tree, PROGRAM), machine));
  put(tree, `${DOCS}/changelog.gz`, gzipSync(readFileSync(join(program, 'CHANGELOG.md')), { level: 9 }));
  put(tree, `${DOCS}/changelog.Debian.gz`, gzipSync(changelogText(REVISION), { level: 9 }));
  cpSync(
    join(root, 'packaging/debian/lintian-overrides'),
    join(tree, 'usr/share/lintian/overrides/lezea-monitor'),
  );
}

/** dpkg has no say in them: the builder's umask must not matter, and what is loaded or interpreted is not executed. */
function setModes(tree) {
  run('chmod', ['-R', 'u=rwX,go=rX', tree]);
  run('find', [join(tree, PROGRAM), '-type', 'f', '-exec', 'chmod', '0644', '{}', '+']);
  for (const name of EXECUTED) chmodSync(join(tree, PROGRAM, name), 0o755);
}

function writeControl(tree, machine) {
  const files = filesOf(tree);
  const bytes = files.reduce((sum, path) => sum + statSync(join(tree, path)).size, 0);
  const values = {
    VERSION: REVISION,
    ARCHITECTURE: machine.debian,
    GLIBC: NEWEST.GLIBC,
    INSTALLED_SIZE: Math.ceil(bytes / 1024),
  };
  const source = join(root, 'packaging/debian');
  const control = readFileSync(join(source, 'control'), 'utf8');
  put(
    tree,
    'DEBIAN/control',
    control.replaceAll(/@(\w+)@/g, (_, name) => String(values[name])),
  );
  put(tree, 'DEBIAN/conffiles', '/etc/lezea-monitor/config.yaml\n');
  const sum = (path) =>
    createHash('md5')
      .update(readFileSync(join(tree, path)))
      .digest('hex');
  const sums = files.filter((path) => !path.startsWith('etc/')).map((path) => `${sum(path)}  ${path}\n`);
  put(tree, 'DEBIAN/md5sums', sums.join(''));
  for (const name of ['postinst', 'prerm', 'postrm'])
    put(tree, `DEBIAN/${name}`, readFileSync(join(source, name)), 0o755);
}

/** Plain files, sorted. */
function filesOf(tree) {
  return readdirSync(tree, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(tree.length + 1))
    .sort();
}
