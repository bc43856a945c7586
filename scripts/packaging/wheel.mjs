// The Python client's wheel, with its accelerator: one file for every CPython from 3.9 on, and for glibc from NEWEST
// on. Needs a Python with its headers (python3-dev) and venv; setuptools comes from PyPI in the version below.
import { cpSync, existsSync, mkdirSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { checkLibraries, NEWEST } from './binaries.mjs';
import { machineOf, tool } from './machines.mjs';
import { epoch, parts, root, run } from './tools.mjs';

const SETUPTOOLS = '80.9.0';
const HAS_HEADERS =
  'import os, sysconfig; print(os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))';

function python() {
  const hasHeaders = (program) => {
    try {
      return run(program, ['-c', HAS_HEADERS], { stdio: ['ignore', 'pipe', 'ignore'] }).trim() === 'True';
    } catch {
      return false; // not there: the next one
    }
  };
  const found = [process.env.PYTHON, '/usr/bin/python3', 'python3'].find(
    (program) => program && hasHeaders(program),
  );
  if (!found) throw new Error('no Python.h (Debian, Ubuntu: apt-get install python3-dev python3-venv)');
  return found;
}

function builder() {
  const environment = join(parts, 'venv');
  const inside = join(environment, 'bin', 'python');
  if (!existsSync(join(environment, `setuptools-${SETUPTOOLS}`))) {
    run(python(), ['-m', 'venv', '--clear', environment]);
    const install = ['-m', 'pip', 'install', '-q', '--disable-pip-version-check'];
    run(inside, [...install, `setuptools==${SETUPTOOLS}`]);
    mkdirSync(join(environment, `setuptools-${SETUPTOOLS}`)); // whole
  }
  return inside;
}

/**
 * For another machine its compiler, with this one's pyconfig.h where Debian's Python.h looks for the other's: what the
 * stable ABI has of it, the sizes of C's types, is the same for both.
 */
function compilers(machine, folder) {
  if (!machine.isForeign) return {};
  symlinkSync(`/usr/include/${machineOf().gnu}`, join(folder, machine.gnu));
  const compiler = `${tool(machine, 'gcc')} -I${folder}`;
  return { CC: compiler, LDSHARED: `${compiler} -shared` };
}

/** Builds it in a folder of `parts`; the path of the file. */
export function buildWheel(machine) {
  const folder = join(parts, `wheel-${machine.python}`);
  rmSync(folder, { recursive: true, force: true });
  // A copy, so that nothing is left in the clone; with no .so that happens to lie there.
  cpSync(join(root, 'python'), join(folder, 'python'), {
    recursive: true,
    filter: (path) => !/(\.so|__pycache__|\.egg-info|\/tests)$/.test(path),
  });
  const layout = join('native', 'scope', 'ring_layout.h');
  cpSync(join(root, layout), join(folder, layout));
  const platform = `manylinux_${NEWEST.GLIBC.replace('.', '_')}_${machine.python}`;
  run(builder(), ['setup.py', '-q', 'bdist_wheel', '--plat-name', platform, '--dist-dir', folder], {
    cwd: join(folder, 'python'),
    env: {
      ...process.env,
      ...compilers(machine, folder),
      SOURCE_DATE_EPOCH: epoch(),
      LDFLAGS: '-s',
      PYTHONWARNINGS: 'ignore',
    },
  });
  const name = readdirSync(folder).find((file) => file.endsWith('.whl'));
  const wheel = join(folder, name);
  run(python(), ['-m', 'zipfile', '-e', wheel, join(folder, 'unpacked')]);
  checkLibraries(join(folder, 'unpacked', 'lezea_monitor', '_accel.abi3.so'), machine);
  return wheel;
}
