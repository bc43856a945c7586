// The machines that packages are made for: the one this runs on, with its own compiler; arm64 also from another, with
// Debian's cross compiler (g++-aarch64-linux-gnu).
import { spawnSync } from 'node:child_process';

/** `node`: process.arch; `debian`: dpkg's name; `python`: the wheel's; `gnu`: the compiler's. */
const MACHINES = [
  { node: 'x64', debian: 'amd64', python: 'x86_64', gnu: 'x86_64-linux-gnu' },
  { node: 'arm64', debian: 'arm64', python: 'aarch64', gnu: 'aarch64-linux-gnu' },
];

/** The machine of that name, with `folder`, what its binaries lie in, and whether it `isForeign` here. */
export function machineOf(name = process.arch) {
  const machine = MACHINES.find(({ node }) => node === name);
  if (!machine) {
    throw new Error(`--arch ${name}: expected ${MACHINES.map(({ node }) => node).join(' or ')}`);
  }
  return { ...machine, folder: `linux-${name}`, isForeign: name !== process.arch };
}

/** Throws where there is no compiler for it. */
export function checkCompiler(machine) {
  const compiler = tool(machine, 'g++');
  if (machine.isForeign && spawnSync(compiler, ['--version']).error) {
    throw new Error(
      `no ${compiler} (Debian, Ubuntu: apt-get install g++-${machine.gnu.replaceAll('_', '-')})`,
    );
  }
}

/** A program of binutils or the compiler, for that machine. */
export function tool({ gnu, isForeign }, name) {
  return isForeign ? `${gnu}-${name}` : name;
}
