// The program as packages have it, one tree: dist/, bin/, docs/, production node_modules, the binaries. TypeScript is
// compiled anew, so that nothing stale of dist/ gets in.
import { chmodSync, cpSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildBinaries } from './binaries.mjs';
import { copyModules, productionDependencies } from './modules.mjs';
import { officialNodes } from './nodes.mjs';
import { manifest, parts, root, run } from './tools.mjs';

/** Makes it in a folder of `parts`, which it returns. */
export async function makeProgram(machine) {
  const folder = join(parts, `program-${machine.folder}`);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const binaries = buildBinaries(join(folder, 'prebuilt', machine.folder), machine);
  run(process.execPath, [
    join(root, 'node_modules', 'typescript', 'bin', 'tsc'),
    '-p',
    'tsconfig.json',
    '--outDir',
    join(folder, 'dist'),
  ]);
  for (const name of ['bin', 'docs', 'CHANGELOG.md', 'README.md', 'LICENSE'])
    cpSync(join(root, name), join(folder, name), { recursive: true });
  for (const name of ['lezea-monitor', 'lezea-monitor.js']) chmodSync(join(folder, 'bin', name), 0o755);
  copyModules(folder);
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(packedManifest(machine), null, 2)}\n`);
  await binaries;
  return folder;
}

/** Without scripts: there is nothing to build. npm refuses the package on other machines. */
function packedManifest({ node }) {
  const { name, version, description, license, type, bin, exports } = manifest;
  return {
    ...{ name, version, description, license, type, bin, exports },
    ...{ os: ['linux'], cpu: [node], libc: ['glibc'] },
    engines: { node: engines() },
    dependencies: productionDependencies(),
    bundleDependencies: true,
  };
}

/** The major versions that SQLite was built for; README.md has why 24 ends before 24.19. */
function engines() {
  const least = { 20: '20.19.0', 22: '22.0.0', 24: '24.0.0 <24.19.0' };
  return officialNodes()
    .map(({ major }) => (major === '24' ? `>=${least[major]}` : `^${least[major]}`))
    .join(' || ');
}
