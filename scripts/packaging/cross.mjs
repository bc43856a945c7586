// The addon and SQLite for a machine that is not this one, as node-gyp builds them here, but in copies of their sources
// and with the other machine's compiler.
import { cpSync, mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { tool } from './machines.mjs';
import { carriedNode } from './nodes.mjs';
import { parts, root, run } from './tools.mjs';

/** The paths of the addon and of SQLite's archive. */
export function buildForeign(machine) {
  const folder = join(parts, machine.folder);
  const addon = join(folder, 'addon');
  copy(join(root, 'native'), join(addon, 'native'));
  copy(join(root, 'binding.gyp'), join(addon, 'binding.gyp'));
  rmSync(join(addon, 'node_modules'), { force: true });
  symlinkSync(join(root, 'node_modules'), join(addon, 'node_modules'));
  const sqlite = join(folder, 'better-sqlite3');
  for (const part of ['binding.gyp', 'deps', 'src', 'package.json'])
    copy(join(root, 'node_modules', 'better-sqlite3', part), join(sqlite, part));
  build(addon, machine);
  build(sqlite, machine, ['sqlite3']);
  return {
    addon: join(addon, 'build', 'Release', 'lezea_monitor.node'),
    sqlite: join(sqlite, 'build', 'Release', 'sqlite3.a'),
  };
}

/** With its times, so that what is built of it already is known to be. */
function copy(source, target) {
  rmSync(target, { recursive: true, force: true });
  mkdirSync(dirname(target), { recursive: true });
  cpSync(source, target, { recursive: true, preserveTimestamps: true });
}

function build(folder, machine, targets = []) {
  const manifest = createRequire(import.meta.url).resolve('node-gyp/package.json');
  const { path } = carriedNode(machine);
  const compilers = { CC: tool(machine, 'gcc'), CXX: tool(machine, 'g++'), AR: tool(machine, 'ar') };
  const gyp = join(dirname(manifest), 'bin', 'node-gyp.js');
  const options = [
    '--release',
    `--arch=${machine.node}`,
    `--nodedir=${path}`,
    '--jobs=2',
    '--loglevel=error',
  ];
  run(process.execPath, [gyp, 'configure', 'build', ...targets, ...options], {
    cwd: folder,
    env: { ...process.env, ...compilers, LINK: compilers.CXX },
  });
}
