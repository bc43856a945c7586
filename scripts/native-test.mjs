// Compiles the N-API-free native code and its tests with the system's compiler and runs them.
//   node scripts/native-test.mjs [--asan | --tsan] [--only base,procfs,…] [--test-files a_test.cc,…] [--build] [FILTER…]
// Objects are kept under build/native-test*/ and rebuilt when a source, a header or a flag changes; --build runs nothing.
import { spawnSync } from 'node:child_process';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import {
  buildFolder,
  buildNvmlDouble,
  commonFlags,
  compileAll,
  coreFolders,
  fail,
  root,
  run,
  sourcesIn,
} from './native-build.mjs';

const sanitizers = {
  plain: [],
  asan: ['-fsanitize=address,undefined', '-fno-sanitize-recover=all', '-D_GLIBCXX_ASSERTIONS'],
  tsan: ['-fsanitize=thread'],
};

function readOptions() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      asan: { type: 'boolean', default: false },
      tsan: { type: 'boolean', default: false },
      build: { type: 'boolean', default: false },
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
    build: values.build,
    whole: !values.only,
    testFiles: values['test-files']?.split(','),
    filter: positionals,
  };
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

const options = readOptions();
const compiler = process.env.CXX ?? 'g++';
if (spawnSync(compiler, ['--version']).error) fail(`no C++ compiler: ${compiler} (apt-get install g++)`);
// Of debug information, the line numbers are what reports need; all of it takes half as long again.
const flags = [...commonFlags, '-g1', ...sanitizers[options.kind]];
const suffix = options.kind === 'plain' ? '' : `-${options.kind}`;
const folder = buildFolder(`native-test${suffix}`, compiler, flags);

const sources = [...options.folders.flatMap(sourcesIn), ...testSources(options)];
const { objects, compiled } = await compileAll(compiler, flags, sources, folder);
const program = join(folder, options.whole ? 'native-tests' : `native-tests-${options.folders.join('-')}`);
const linked = await run(compiler, [...flags, ...objects, '-o', program]);
if (linked !== 0) fail('the tests do not link');
const nvmlDouble = options.folders.includes('nvml') ? await buildNvmlDouble(compiler, flags) : '';
console.log(`native-test: ${compiled} of ${sources.length} files compiled (${options.kind})`);
if (options.build) process.exit(0);
// Fixtures are found relative to the root, wherever this was started.
process.env.LEZEA_SOURCE_ROOT = root;
process.env.LEZEA_NVML_DOUBLE = nvmlDouble;
process.exit(await run(program, options.filter));
