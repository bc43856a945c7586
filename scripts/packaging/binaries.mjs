// The binaries that packages carry, so that installing needs no compiler and no download: our addon as
// build-addon.mjs made it, and better-sqlite3's binding for every major version of Node.js, of the sources and the
// SQLite in node_modules. They use the machine's C and C++ libraries, which Node.js itself needs, in no version newer
// than NEWEST: what Debian 12 would link in statically instead needs glibc 2.36 (arc4random).
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { buildForeign } from './cross.mjs';
import { tool } from './machines.mjs';
import { officialNodes } from './nodes.mjs';
import { parts, root, run } from './tools.mjs';

/** What Debian 12's compiler makes of it. Ubuntu 22.04 has glibc 2.35, Debian 12 2.36; both have this libstdc++. */
export const NEWEST = { GLIBC: '2.34', GLIBCXX: '3.4.30' };

const LINK = ['-shared', '-pthread', '-s', '-Wl,-z,relro,-z,now', '-Wl,-Bsymbolic', '-Wl,--exclude-libs,ALL'];
const BETTER_SQLITE = join(root, 'node_modules', 'better-sqlite3');

/** Writes them into the folder. Throws where one would need a newer C library. */
export async function buildBinaries(folder, machine) {
  mkdirSync(folder, { recursive: true });
  const nodes = officialNodes();
  const { addon, sqlite } = machine.isForeign ? buildForeign(machine) : builtHere();
  run(tool(machine, 'strip'), ['--strip-unneeded', '-o', join(folder, 'lezea_monitor.node'), addon]);
  await Promise.all(nodes.map((node) => buildSqlite(node, sqlite, folder, machine)));
  for (const name of readdirSync(folder)) checkLibraries(join(folder, name), machine);
}

function builtHere() {
  const addon = join(root, 'build', 'Release', 'lezea_monitor.node');
  if (!existsSync(addon)) throw new Error('no addon: run `npm run build:native` first');
  const sqlite = join(BETTER_SQLITE, 'build', 'Release', 'sqlite3.a');
  if (!existsSync(sqlite)) {
    throw new Error(`no ${sqlite}: run \`npm rebuild better-sqlite3 --build-from-source\` first`);
  }
  return { addon, sqlite };
}

async function buildSqlite({ major, path }, sqlite, folder, machine) {
  const here = process.env.CXX?.trim() || 'g++';
  const compiler = machine.isForeign ? [tool(machine, 'g++')] : here.split(/\s+/);
  // Both commands as its binding.gyp has them.
  const args = ['-std=c++20', '-O3', '-fPIC', '-pthread', '-fno-rtti', '-fno-exceptions', '-DNDEBUG'];
  args.push('-DNODE_GYP_MODULE_NAME=better_sqlite3', '-DBUILDING_NODE_EXTENSION');
  args.push(`-I${join(path, 'include', 'node')}`, `-I${join(BETTER_SQLITE, 'deps', 'sqlite3')}`);
  const object = join(parts, `better_sqlite3-node${major}-${machine.node}.o`);
  await compile(compiler, [...args, '-c', join(BETTER_SQLITE, 'src', 'better_sqlite3.cpp')], object);
  await compile(compiler, [...LINK, object, sqlite], join(folder, `better_sqlite3-node${major}.node`));
}

/** Several at a time; what the compiler says is passed on. */
function compile(compiler, args, target) {
  return new Promise((resolve, reject) => {
    const child = spawn(compiler[0], [...compiler.slice(1), ...args, '-o', target], { stdio: 'inherit' });
    child.on('error', reject);
    child.on('close', (status) => (status === 0 ? resolve() : reject(new Error(`no ${target}: see above`))));
  });
}

/** Throws where a binary needs a library newer than NEWEST. */
export function checkLibraries(path, machine) {
  const symbols = run(tool(machine, 'objdump'), ['-T', path]);
  const needed = [];
  for (const [library, most] of Object.entries(NEWEST)) {
    const versions = [...symbols.matchAll(new RegExp(`\\b${library}_([\\d.]+)`, 'g'))].map(
      (match) => match[1],
    );
    const newest = versions.sort(compareVersions).at(-1);
    if (newest !== undefined && compareVersions(newest, most) > 0) {
      throw new Error(`${path} needs ${library} ${newest}: expected ${most} at most; build on Debian 12`);
    }
    if (newest !== undefined) needed.push(`${library} ${newest}`);
  }
  if (needed.length === 0) throw new Error(`${path} names no version of a library`);
  console.log(`${path.slice(root.length + 1)}: ${needed.join(', ')}`);
}

/** Below 0: the first is older. */
export function compareVersions(one, other) {
  return one.localeCompare(other, 'en', { numeric: true });
}
