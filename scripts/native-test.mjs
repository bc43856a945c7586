// Compiles the N-API-free native code and its tests with the system's compiler and runs them.
//   node scripts/native-test.mjs [--asan | --tsan] [--only base,procfs,…] [--test-files a_test.cc,…] [FILTER…]
// Objects are kept under build/native-test*/ and rebuilt when a source, a header or a flag changes.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const coreFolders = ['base', 'procfs', 'netlink', 'node', 'scope', 'attribution', 'sampler'];
const parallelCompiles = 2;
const commonFlags = [
  '-std=c++17',
  '-O1',
  '-g',
  '-fno-omit-frame-pointer',
  '-Wall',
  '-Wextra',
  '-Werror',
  '-pthread',
];
const includeFlags = ['native', 'native/test'].map((folder) => `-I${join(root, folder)}`);
const sanitizers = {
  plain: [],
  asan: ['-fsanitize=address,undefined', '-fno-sanitize-recover=all', '-D_GLIBCXX_ASSERTIONS'],
  tsan: ['-fsanitize=thread'],
};

function fail(message) {
  console.error(`native-test: ${message}`);
  process.exit(1);
}

function readOptions() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      asan: { type: 'boolean', default: false },
      tsan: { type: 'boolean', default: false },
      only: { type: 'string' },
      'test-files': { type: 'string' },
    },
  });
  if (values.asan && values.tsan) fail('--asan and --tsan exclude each other');
  const folders = values.only ? values.only.split(',') : coreFolders;
  for (const folder of folders) {
    if (!coreFolders.includes(folder)) fail(`--only ${folder}: expected some of ${coreFolders.join(',')}`);
  }
  const kind = values.asan ? 'asan' : values.tsan ? 'tsan' : 'plain';
  return {
    kind,
    folders,
    whole: !values.only,
    testFiles: values['test-files']?.split(','),
    filter: positionals,
  };
}

function sourcesIn(folder) {
  const path = join(root, 'native', folder);
  if (!existsSync(path)) return [];
  return readdirSync(path)
    .filter((name) => name.endsWith('.cc'))
    .sort()
    .map((name) => join(path, name));
}

// With --only, the tests that are named after one of the folders (procfs_test.cc, procfs_files_test.cc).
function testSources(options) {
  return sourcesIn('test').filter((path) => {
    const name = basename(path);
    if (!name.endsWith('_test.cc')) return true;
    if (options.testFiles) return options.testFiles.includes(name);
    return options.whole || options.folders.some((folder) => name.startsWith(`${folder}_`));
  });
}

// The object's own dependency file (-MMD) names every header it was made from.
function isFresh(object) {
  const dependencyFile = object.replace(/\.o$/, '.d');
  if (!existsSync(object) || !existsSync(dependencyFile)) return false;
  const made = statSync(object).mtimeMs;
  const [, list = ''] = readFileSync(dependencyFile, 'utf8').split(/:\s/, 2);
  return list
    .split(/[\s\\]+/)
    .filter(Boolean)
    .every((path) => existsSync(path) && statSync(path).mtimeMs <= made);
}

function run(command, args) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: 'inherit' });
    child.on('error', (error) => fail(`${command}: ${error.message}`));
    child.on('exit', (code, signal) => resolve(signal ? 1 : code));
  });
}

async function compileAll(compiler, flags, sources, folder) {
  const objects = sources.map((path) =>
    join(folder, `${relative(join(root, 'native'), path).replaceAll('/', '__')}.o`),
  );
  const waiting = sources.map((path, i) => [path, objects[i]]).filter(([, object]) => !isFresh(object));
  let failed = 0;
  const worker = async () => {
    for (let job = waiting.shift(); job; job = waiting.shift()) {
      const [path, object] = job;
      if ((await run(compiler, [...flags, '-MMD', '-c', path, '-o', object])) !== 0) failed++;
    }
  };
  const compiled = waiting.length;
  await Promise.all(Array.from({ length: parallelCompiles }, worker));
  if (failed > 0) fail(`${failed} of ${compiled} files do not compile`);
  return { objects, compiled };
}

const options = readOptions();
const compiler = process.env.CXX ?? 'g++';
if (spawnSync(compiler, ['--version']).error) fail(`no C++ compiler: ${compiler} (apt-get install g++)`);
const flags = [...commonFlags, ...includeFlags, ...sanitizers[options.kind]];
const flagKey = createHash('sha256')
  .update([compiler, ...flags].join('\0'))
  .digest('hex')
  .slice(0, 12);
const suffix = options.kind === 'plain' ? '' : `-${options.kind}`;
const folder = join(root, 'build', `native-test${suffix}`, flagKey);
mkdirSync(folder, { recursive: true });

const sources = [...options.folders.flatMap(sourcesIn), ...testSources(options)];
const { objects, compiled } = await compileAll(compiler, flags, sources, folder);
const program = join(folder, options.whole ? 'native-tests' : `native-tests-${options.folders.join('-')}`);
const linked = await run(compiler, [...flags, ...objects, '-o', program]);
if (linked !== 0) fail('the tests do not link');
console.log(`native-test: ${compiled} of ${sources.length} files compiled (${options.kind})`);
// Fixtures are found relative to the root, wherever this was started.
process.env.LEZEA_SOURCE_ROOT = root;
process.exit(await run(program, options.filter));
