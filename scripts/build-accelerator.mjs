// Builds python/lezea_monitor/_accel.abi3.so, the Python client's optional accelerator, with any Python's
// headers: it fits every CPython from 3.9 on. Runs as part of npm's install script and by hand. Without
// headers or compiler there is no accelerator, which is no error: the client does the same in Python.
import { spawnSync } from 'node:child_process';
import { existsSync, renameSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const source = join(root, 'python', 'lezea_monitor', '_accel.c');
const headers = [
  join(root, 'native', 'scope', 'ring_layout.h'),
  join(root, 'python', 'lezea_monitor', '_rseq.h'),
];
const target = join(root, 'python', 'lezea_monitor', '_accel.abi3.so');
const ASK = 'import sys, sysconfig; print(sys.version_info >= (3, 9) and sysconfig.get_path("include"))';

// A compiler that is there but fails is worth its output; none of this fails an installation.
function leaveOut(reason) {
  try {
    rmSync(target, { force: true }); // one of other sources would be worse than none
  } catch (error) {
    console.error(`build-accelerator: ${error.message}`);
  }
  console.error(`build-accelerator: ${reason}; the Python client goes without its accelerator`);
  process.exit(0);
}

function includeFolder() {
  for (const python of [process.env.PYTHON, 'python3', '/usr/bin/python3']) {
    if (!python) continue;
    const asked = spawnSync(python, ['-c', ASK], { encoding: 'utf8' });
    const folder = asked.status === 0 ? asked.stdout.trim() : '';
    if (existsSync(join(folder, 'Python.h'))) return folder;
  }
  return leaveOut('no Python.h (Debian, Ubuntu: apt-get install python3-dev)');
}

function isCurrent() {
  if (!existsSync(target)) return false;
  const built = statSync(target).mtimeMs;
  return [source, ...headers, fileURLToPath(import.meta.url)].every((path) => statSync(path).mtimeMs < built);
}

function build() {
  const temporary = `${target}.${process.pid}`; // a process that has the old one mapped keeps it
  const command = (process.env.CC?.trim() || 'cc').split(/\s+/);
  const args = ['-std=c11', '-O2', '-Wall', '-Wextra', '-fPIC', '-fno-plt', '-shared', '-fvisibility=hidden'];
  args.push('-DPy_LIMITED_API=0x03090000', `-I${includeFolder()}`, `-I${join(root, 'native')}`);
  args.push(source, '-ldl', '-o', temporary);
  const done = spawnSync(command[0], [...command.slice(1), ...args], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  if (done.error || done.status !== 0) {
    rmSync(temporary, { force: true });
    leaveOut(done.error ? `no C compiler (${command[0]})` : `${command[0]} failed`);
  }
  renameSync(temporary, target);
}

try {
  const missing = [source, ...headers].find((path) => !existsSync(path));
  if (missing) leaveOut(`no ${missing}`);
  if (!isCurrent()) build();
} catch (error) {
  leaveOut(error.message); // a folder that cannot be written, say
}
