// Makes and closes the addon's sampler many times in this process and asserts that nothing stays behind: descriptors
// and threads are as before, and memory does not grow with the cycles. Then lets environments end, the main one and a
// worker's, while a sampler runs and a pull waits.
//   node --expose-gc scripts/leaks.mjs [CYCLES]
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';

const { Sampler } = createRequire(import.meta.url)('../build/Release/lezea_monitor.node');
const here = fileURLToPath(import.meta.url);
const windows = 8;
const mostGrowthBytes = 8 * 2 ** 20;

// Each of the sources is probed by children of its own; a cycle in so many has them all.
const everySource = 20;
const disabledSources = ['taskstats', 'cn_proc', 'cgroup', 'smaps', 'pidfd_info'];

function makeSampler(folder, disabled = disabledSources) {
  const sampler = new Sampler({
    procRoot: '/proc',
    sysRoot: '/sys',
    intervalMs: 10,
    cpuBudgetPpm: 0,
    nodeIntervalMs: 10,
    ringSocket: join(folder, 'ring.sock'),
    ringSocketMode: 0o600,
    restartWaitMs: 1000,
    pullTimeoutMs: 5000,
    disabledSources: disabled,
  });
  sampler.openRun(1, 10);
  sampler.defineSlot(11, 1, 0);
  return sampler;
}

async function cycle(folder, number) {
  const sampler = makeSampler(folder, number % everySource === 0 ? [] : disabledSources);
  sampler.start();
  if (number % 2 === 0) await sampler.pull(true);
  if (number % 3 === 0) sampler.closeRun(1);
  await sampler.stop();
}

/** What was closed by the garbage collector is closed some turns of the event loop later. */
async function settle() {
  for (let turn = 0; turn < 3; turn++) {
    globalThis.gc();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

const descriptors = () => readdirSync('/proc/self/fd').length;
const threads = () => readdirSync('/proc/self/task').length;
const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

async function checkCycles(folder, cycles) {
  for (let i = 0; i < everySource; i++) await cycle(folder, i);
  await settle();
  const before = { descriptors: descriptors(), threads: threads() };
  const resident = Array.from({ length: windows }, () => []);
  for (let i = 0; i < cycles; i++) {
    await cycle(folder, i);
    if (i % 10 === 9) await settle();
    resident[Math.floor((i * windows) / cycles)].push(process.memoryUsage.rss());
  }
  await settle();
  const after = { descriptors: descriptors(), threads: threads() };
  const [early, late] = [median(resident[windows / 2]), median(resident[windows - 1])];
  console.log(
    `  ${cycles} cycles: ${after.descriptors} descriptors, ${after.threads} threads, ` +
      `resident ${early >> 10} KiB in the middle, ${late >> 10} KiB at the end`,
  );
  assert.deepEqual(after, before);
  assert.ok(late < early + mostGrowthBytes, 'memory grows with the cycles');
}

/** Leaves a running sampler and a waiting pull to the environment's end. */
function abandon(folder) {
  const sampler = makeSampler(folder);
  sampler.start();
  sampler.pull(false).catch(() => undefined);
  return sampler;
}

function checkExit(folder) {
  for (const how of ['exit', 'return']) {
    const child = spawnSync(process.execPath, [here, `--abandon=${how}`, folder], { encoding: 'utf8' });
    assert.deepEqual([child.status, child.signal, child.stderr], [0, null, ''], `the end by ${how}`);
  }
}

async function checkWorkers(folder) {
  const before = threads();
  for (let i = 0; i < 10; i++) {
    const worker = new Worker(here, { workerData: { abandon: folder } });
    await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
    await worker.terminate();
  }
  await settle();
  assert.equal(threads(), before, 'threads of samplers whose worker has ended');
}

async function main() {
  const folder = mkdtempSync(join(tmpdir(), 'lezea-leaks-'));
  try {
    const checks = {
      'a sampler made and closed leaves nothing behind': () =>
        checkCycles(folder, Number(process.argv[2] ?? 1000)),
      'the program ends with a sampler running': () => checkExit(folder),
      'a worker ends with a sampler running': () => checkWorkers(folder),
    };
    for (const [name, check] of Object.entries(checks)) {
      await check();
      console.log(`  ok ${name}`);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}

if (!isMainThread) {
  abandon(workerData.abandon);
  parentPort.postMessage('runs');
  setInterval(() => undefined, 1000);
} else if (process.argv[2]?.startsWith('--abandon=')) {
  abandon(process.argv[3]);
  if (process.argv[2].endsWith('exit')) process.exit(0);
} else {
  await main();
}
