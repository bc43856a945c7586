// Makes the packages, in build/packages/: `npm`, a tarball that installs without a compiler and without the network;
// `wheel`, the Python client; `deb`. All of them without arguments; for this machine, or another with `--arch arm64`.
// Needs a clone in which `npm ci` has run, with the compiler.
import { copyFileSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { makeDeb } from './packaging/deb.mjs';
import { checkCompiler, machineOf } from './packaging/machines.mjs';
import { makeProgram } from './packaging/program.mjs';
import { epoch, main, manifest, packages, run } from './packaging/tools.mjs';
import { buildWheel } from './packaging/wheel.mjs';

const KINDS = ['npm', 'wheel', 'deb'];

function packNpm(program, wheel, { folder }) {
  const python = join(program, 'python');
  mkdirSync(python);
  copyFileSync(wheel, join(python, basename(wheel)));
  run('npm', ['pack', '--silent', '--pack-destination', packages], { cwd: program });
  rmSync(python, { recursive: true });
  const tarball = join(packages, `${manifest.name}-${manifest.version}-${folder}.tgz`);
  renameSync(join(packages, `${manifest.name}-${manifest.version}.tgz`), tarball);
  return tarball;
}

function packWheel(wheel) {
  const target = join(packages, basename(wheel));
  copyFileSync(wheel, target);
  return target;
}

await main(async () => {
  const { positionals: kinds, values } = parseArgs({
    allowPositionals: true,
    options: { arch: { type: 'string' } },
  });
  const unknown = kinds.find((kind) => !KINDS.includes(kind));
  if (unknown) throw new Error(`${unknown}: expected ${KINDS.join(', ')}`);
  const machine = machineOf(values.arch);
  checkCompiler(machine);
  const wanted = (kind) => kinds.length === 0 || kinds.includes(kind);
  mkdirSync(packages, { recursive: true });
  process.env.SOURCE_DATE_EPOCH = epoch();
  const wheel = buildWheel(machine);
  const program = wanted('npm') || wanted('deb') ? await makeProgram(machine) : undefined;
  if (wanted('wheel')) console.log(packWheel(wheel));
  if (wanted('npm')) console.log(packNpm(program, wheel, machine));
  if (wanted('deb')) console.log(await makeDeb(program, wheel, machine));
});
