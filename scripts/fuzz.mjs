// Feeds the native parsers of foreign bytes with libFuzzer, under the address and undefined-behaviour sanitizers.
//   node scripts/fuzz.mjs [TARGET…] [--seconds N] [--list] [--build]
// One target a file native/fuzz/TARGET_fuzz.cc, its seeds in native/fuzz/corpus/TARGET/. N seconds (30 by default) are
// shared by the targets chosen, of which all run; what they find on the way is kept in build/fuzz/corpus/ for the next
// time, and an input that fails in build/fuzz/failed/. --build makes what they share, and no more. Needs clang with
// libFuzzer (Debian: clang-19 libclang-rt-19-dev).
import { spawnSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import {
  buildFolder,
  commonFlags,
  compileAll,
  coreFolders,
  fail,
  root,
  run,
  sourcesIn,
} from './native-build.mjs';

const compilers = [
  'clang++',
  'clang++-19',
  'clang++-18',
  'clang++-17',
  'clang++-16',
  'clang++-15',
  'clang++-14',
];
const sanitizers = ['-fsanitize=address,undefined', '-fno-sanitize-recover=all', '-D_GLIBCXX_ASSERTIONS'];
const longestInputBytes = 8192;
const slowestInputSeconds = 10;

function readOptions() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      seconds: { type: 'string', default: '30' },
      list: { type: 'boolean', default: false },
      build: { type: 'boolean', default: false },
    },
  });
  const seconds = Number(values.seconds);
  if (!(seconds > 0)) fail(`--seconds ${values.seconds}: expected a positive number`);
  return { seconds, list: values.list, build: values.build, chosen: positionals };
}

function findCompiler() {
  const candidates = process.env.CXX ? [process.env.CXX] : compilers;
  const probe = ['-fsanitize=fuzzer,address', '-x', 'c++', '-', '-o', '/dev/null'];
  const input = 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }';
  const found = candidates.find((compiler) => spawnSync(compiler, probe, { input }).status === 0);
  if (!found)
    fail(
      `no clang with libFuzzer among ${candidates.join(', ')} (apt-get install clang-19 libclang-rt-19-dev)`,
    );
  return found;
}

const targetOf = (path) => basename(path).replace(/_fuzz\.cc$/, '');

const options = readOptions();
const every = sourcesIn('fuzz').filter((path) => path.endsWith('_fuzz.cc'));
if (options.list) {
  console.log(every.map(targetOf).join('\n'));
  process.exit(0);
}
for (const name of options.chosen) {
  if (!every.map(targetOf).includes(name))
    fail(`no target ${name}: expected some of ${every.map(targetOf).join(', ')}`);
}
const targets = every.filter(
  (path) => options.chosen.length === 0 || options.chosen.includes(targetOf(path)),
);

// The core is compiled once for all targets; only what runs the inputs is linked into each.
const compiler = findCompiler();
// clang warns of what GCC's own headers use inside std::stable_sort.
const warnings = '-Wno-deprecated-declarations';
const flags = [...commonFlags, warnings, '-gline-tables-only', '-fsanitize=fuzzer-no-link', ...sanitizers];
const folder = buildFolder('fuzz', compiler, flags);
const world = join(root, 'native/test/fake_world.cc'); // the machine that an engine is run on
const core = await compileAll(compiler, flags, [...coreFolders.flatMap(sourcesIn), world], folder);
const mains = await compileAll(compiler, flags, targets, folder);
const archive = join(folder, 'core.a');
rmSync(archive, { force: true });
if ((await run('ar', ['rcs', archive, ...core.objects])) !== 0) fail('the core cannot be archived');
console.log(`fuzz: ${core.compiled + mains.compiled} files compiled (${compiler})`);

// What libFuzzer's log says at its end: executions, and what of the code and its edges the inputs reach.
function summary(log) {
  const executions = /number_of_executed_units: (\d+)/.exec(log)?.[1];
  const reached = [...log.matchAll(/cov: (\d+) ft: (\d+) corp: (\d+)/g)].at(-1);
  if (!executions || !reached) return 'no figures';
  return `${executions} executions, ${reached[1]} edges, ${reached[2]} features, ${reached[3]} inputs kept`;
}

function fuzz(name, program, seconds) {
  const [grown, failures] = ['corpus', 'failed'].map((kind) => join(root, 'build/fuzz', kind, name));
  for (const path of [grown, failures]) mkdirSync(path, { recursive: true });
  const log = join(root, 'build/fuzz', `${name}.log`);
  const output = openSync(log, 'w');
  const { status } = spawnSync(
    program,
    [
      grown,
      join(root, 'native/fuzz/corpus', name),
      `-max_total_time=${seconds}`,
      `-max_len=${longestInputBytes}`,
      `-timeout=${slowestInputSeconds}`,
      `-artifact_prefix=${failures}/`,
      '-print_final_stats=1',
      '-print_funcs=0',
    ],
    { stdio: ['ignore', output, output] },
  );
  closeSync(output);
  const told = readFileSync(log, 'utf8');
  if (status !== 0) console.log(told);
  console.log(`  ${status === 0 ? 'ok' : 'FAILED'} ${name}: ${summary(told)}`);
  return status === 0;
}

if (options.build) process.exit(0);
const secondsEach = Math.max(1, Math.floor(options.seconds / targets.length));
let failed = 0;
for (const [i, path] of targets.entries()) {
  const program = join(folder, targetOf(path));
  const link = [...flags, '-fsanitize=fuzzer', mains.objects[i], archive, '-o', program];
  if ((await run(compiler, link)) !== 0) fail(`${targetOf(path)} does not link`);
  if (!fuzz(targetOf(path), program, secondsEach)) failed++;
}
process.exit(failed > 0 ? 1 : 0);
