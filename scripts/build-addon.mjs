// Builds build/Release/lezea_monitor.node with node-gyp. Runs as npm's install script and by hand.
// Nothing is downloaded where the running Node has its headers beside it (include/node), as every
// official build has. Incremental: what has not changed is not compiled again.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const addon = join(root, 'build', 'Release', 'lezea_monitor.node');

function fail(message) {
  console.error(`build-addon: ${message}`);
  process.exit(1);
}

function findOnPath(program) {
  return (process.env.PATH ?? '')
    .split(delimiter)
    .map((folder) => join(folder, program))
    .find((path) => existsSync(path));
}

function checkTools() {
  if (process.platform !== 'linux') fail(`platform ${process.platform}: only Linux is supported`);
  const tools = [
    ['make', process.env.MAKE ?? 'make'],
    ['g++', process.env.CXX ?? 'g++'],
    ['python3', process.env.PYTHON ?? process.env.npm_config_python ?? 'python3'],
  ];
  for (const [name, program] of tools) {
    if (!program.includes('/') && !findOnPath(program.split(' ')[0])) {
      fail(
        `${program} not found: building needs ${name} (Debian, Ubuntu: apt-get install build-essential python3)`,
      );
    }
  }
}

// The pinned one of a clone; the one npm names to its scripts; the one bundled with npm.
function findNodeGyp() {
  const candidates = [];
  try {
    const manifest = createRequire(import.meta.url).resolve('node-gyp/package.json');
    candidates.push(join(dirname(manifest), 'bin', 'node-gyp.js'));
  } catch (error) {
    // Only a clone has it: it is a development dependency.
    if (error.code !== 'MODULE_NOT_FOUND') throw error;
  }
  if (process.env.npm_config_node_gyp) candidates.push(process.env.npm_config_node_gyp);
  const bundled = join('node_modules', 'node-gyp', 'bin', 'node-gyp.js');
  candidates.push(join(dirname(dirname(process.execPath)), 'lib', 'node_modules', 'npm', bundled));
  const npm = findOnPath('npm');
  if (npm) candidates.push(join(dirname(dirname(realpathSync(npm))), bundled));
  return candidates.find((path) => existsSync(path)) ?? fail('node-gyp not found: run through npm (npm ci)');
}

// The headers must be of the very version that runs; others would have to be downloaded.
function headerFolder() {
  const folder = dirname(dirname(realpathSync(process.execPath)));
  const header = join(folder, 'include', 'node', 'node_version.h');
  if (!existsSync(header)) return undefined;
  const text = readFileSync(header, 'utf8');
  const part = (name) => text.match(new RegExp(`#define NODE_${name}_VERSION (\\d+)`))?.[1];
  const version = `v${part('MAJOR')}.${part('MINOR')}.${part('PATCH')}`;
  return version === process.version ? folder : undefined;
}

function checkSources() {
  const folder = join(root, 'native', 'addon');
  const found = existsSync(folder) && readdirSync(folder).some((name) => name.endsWith('.cc'));
  if (!found) fail(`no sources in ${folder}: the package is incomplete`);
}

checkTools();
checkSources();
const nodeGyp = findNodeGyp();
const headers = headerFolder();
if (!headers) console.error('build-addon: no headers beside this Node; node-gyp will download them');
const args = [
  nodeGyp,
  'configure',
  'build',
  '--release',
  `--jobs=${process.env.JOBS ?? Math.min(availableParallelism(), 4)}`,
];
if (headers) args.push(`--nodedir=${headers}`);
const result = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' });
if (result.error) fail(`${nodeGyp}: ${result.error.message}`);
if (result.status !== 0)
  fail(`node-gyp ended with ${result.signal ?? `status ${result.status}`}; its output is above`);
if (!existsSync(addon)) fail(`node-gyp succeeded but ${addon} is not there`);
