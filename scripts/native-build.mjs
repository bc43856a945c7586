// What the builds of the N-API-free native code share: where its sources are, which objects are stale, how they are
// compiled. Used by native-test.mjs and fuzz.mjs; binding.gyp lists the same folders for the addon.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, statSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
export const coreFolders = [
  'base',
  'procfs',
  'netlink',
  'node',
  'scope',
  'attribution',
  'sampler',
  'nvml',
  'service',
];
export const commonFlags = [
  '-std=c++17',
  '-O1',
  '-fno-omit-frame-pointer',
  '-Wall',
  '-Wextra',
  '-Werror',
  '-pthread',
  ...['native', 'native/test'].map((folder) => `-I${join(root, folder)}`),
];
const parallelCompiles = 2;

export function fail(message) {
  console.error(`native: ${message}`);
  process.exit(1);
}

/** The .cc files of a folder under native/. */
export function sourcesIn(folder) {
  const path = join(root, 'native', folder);
  if (!existsSync(path)) return [];
  return readdirSync(path)
    .filter((name) => name.endsWith('.cc'))
    .sort()
    .map((name) => join(path, name));
}

/** build/NAME/KEY, made; the key changes with the compiler and its flags, whose objects it keeps apart. */
export function buildFolder(name, compiler, flags) {
  const key = createHash('sha256')
    .update([compiler, ...flags].join('\0'))
    .digest('hex')
    .slice(0, 12);
  const folder = join(root, 'build', name, key);
  mkdirSync(folder, { recursive: true });
  return folder;
}

// The object's own dependency file (-MMD) names every header it was made from.
const dependenciesOf = (object) => object.replace(/\.o$/, '.d');

function isFresh(object) {
  const dependencyFile = dependenciesOf(object);
  if (!existsSync(object) || !existsSync(dependencyFile)) return false;
  const made = statSync(object).mtimeMs;
  const [, list = ''] = readFileSync(dependencyFile, 'utf8').split(/:\s/, 2);
  return list
    .split(/[\s\\]+/)
    .filter(Boolean)
    .every((path) => existsSync(path) && statSync(path).mtimeMs <= made);
}

/** Runs a program to its end; its exit status, 1 for a signal. */
export function run(command, args, options = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: 'inherit', ...options });
    child.on('error', (error) => fail(`${command}: ${error.message}`));
    child.on('exit', (code, signal) => resolve(signal ? 1 : code));
  });
}

// What runs once is sooner done unoptimised: a sanitizer's test files compile in half the time.
function optimisation(path) {
  return path.startsWith(join(root, 'native/test')) ? ['-O0'] : [];
}

/** Compiles what is stale into `folder`; the objects of all sources, and how many were compiled. */
export async function compileAll(compiler, flags, sources, folder) {
  const objects = sources.map((path) =>
    join(folder, `${relative(join(root, 'native'), path).replaceAll('/', '__')}.o`),
  );
  const waiting = sources.map((path, i) => [path, objects[i]]).filter(([, object]) => !isFresh(object));
  let failed = 0;
  const worker = async () => {
    for (let job = waiting.shift(); job; job = waiting.shift()) {
      const [path, object] = job;
      // Another build of the same may be under way: nobody finds a half of it.
      const made = object.replace(/\.o$/, `.${process.pid}.o`);
      const words = [...flags, ...optimisation(path), '-MMD', '-MT', object, '-c', path, '-o', made];
      if ((await run(compiler, words)) !== 0) {
        failed++;
        continue;
      }
      renameSync(dependenciesOf(made), dependenciesOf(object));
      renameSync(made, object);
    }
  };
  const compiled = waiting.length;
  await Promise.all(Array.from({ length: parallelCompiles }, worker));
  if (failed > 0) fail(`${failed} of ${compiled} files do not compile`);
  return { objects, compiled };
}

/**
 * Builds the NVML double, one libnvidia-ml.so.1 for each set of symbols in native/nvml_double/variants; the folder that
 * holds them. Compiled with the sanitizers of what loads it, so that they see into it.
 */
export async function buildNvmlDouble(compiler, flags) {
  const shared = [...flags, '-fPIC', '-fvisibility=hidden', '-fno-gnu-unique'];
  const folder = buildFolder('nvml-double', compiler, shared);
  const { objects } = await compileAll(compiler, shared, sourcesIn('nvml_double'), folder);
  const variants = join(root, 'native/nvml_double/variants');
  for (const map of readdirSync(variants)) {
    const place = join(folder, map.replace(/\.map$/, ''));
    mkdirSync(place, { recursive: true });
    // Never unloaded: its machine is one for all who load it, and threads may be in it when the process ends.
    const link = [
      '-shared',
      '-Wl,-z,nodelete',
      `-Wl,--version-script=${join(variants, map)}`,
      '-Wl,-soname,libnvidia-ml.so.1',
    ];
    const library = join(place, 'libnvidia-ml.so.1');
    const made = `${library}.${process.pid}`;
    if ((await run(compiler, [...shared, ...link, ...objects, '-o', made])) !== 0)
      fail(`the NVML double ${map} does not link`);
    // Whoever loads or copies the one before has a whole one.
    renameSync(made, library);
  }
  return folder;
}
