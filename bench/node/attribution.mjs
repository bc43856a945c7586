// The agent's books without a machine under them: the real attribution, ledger and SQLite database, fed by a sampler
// that says whatever the benchmark wants. Emits nothing; the caller owns the folder.
import { pino } from 'pino';
import { Attribution } from '../../dist/attribution/attribution.js';
import { FRAME_WORDS } from '../../dist/native/frame.js';
import { openDatabase } from '../../dist/state/database.js';
import { SqlitePersistence } from '../../dist/state/sqlite-persistence.js';

/** Every column known, and the memory of now. */
const KNOWN = (1n << 63n) | ((1n << 19n) - 1n);
const SCOPES_A_CALL = 200;

class ScriptedSampler {
  #frame = new BigUint64Array(0);
  #runs = [];
  #ticks = 0n;

  /** `slots` change at every pull, and the run's totals are their sum. */
  say(run, slots) {
    this.#frame = new BigUint64Array(slots.length * FRAME_WORDS);
    slots.forEach((slot, i) => {
      this.#frame[i * FRAME_WORDS] = BigInt(slot);
      this.#frame[i * FRAME_WORDS + 1] = KNOWN;
    });
    this.#runs = [run];
  }

  /** CPU that pulls took, ms: not the agent's. */
  cpuMs = 0;

  async pull() {
    const begun = cpuMs();
    const snapshot = this.#snapshot();
    this.cpuMs += cpuMs() - begun;
    return snapshot;
  }

  #snapshot() {
    this.#ticks += 1n;
    for (let at = 0; at < this.#frame.length; at += FRAME_WORDS) {
      for (let word = 2; word < FRAME_WORDS - 1; word++) this.#frame[at + word] += 1_234_567n;
    }
    const row = new BigUint64Array(FRAME_WORDS);
    row[1] = KNOWN;
    for (let word = 2; word < FRAME_WORDS - 1; word++) row[word] = this.#ticks * 1_000_000_007n;
    const zeros = { lostRecords: 0n, lostExitEvents: 0n, forgedRecords: 0n, cutStamps: 0n };
    return {
      late: false,
      tMonoNs: this.#ticks * 1_000_000_000n,
      tWallMs: Number(this.#ticks) * 1000,
      slots: this.#frame.slice(),
      runs: this.#runs.map((run) => ({
        run,
        row,
        state: Buffer.alloc(64),
        residualColumns: 0,
        liveProcesses: 1,
        observedNs: this.#ticks,
        elapsedNs: this.#ticks,
        lostEvents: 0n,
        estimatedColumns: 0,
        apportionedColumns: 0,
        cgroup: null,
      })),
      processes: [],
      exited: [],
      acceptedRings: 0,
      refusedRings: 0,
      ...zeros,
      self: {
        cpuNs: 0n,
        rssBytes: 0,
        ticks: this.#ticks,
        overruns: 0n,
        intervalMs: 100,
        tickDurationNs: new BigUint64Array(11),
        tickDurationSumNs: 0n,
      },
    };
  }

  sources() {
    return [];
  }
  nodeFigures() {
    return [];
  }
}
for (const name of [
  ...['start', 'stop', 'openRun', 'defineSlot', 'mapScope', 'bind', 'enter', 'closeSession'],
  ...['endPart', 'closeRun', 'restoreSlot', 'restoreRun', 'restoreProcess'],
]) {
  ScriptedSampler.prototype[name] = () => undefined;
}

/** A run with this many live scopes, all of which change with every sample. */
export async function runWithScopes(folder, scopes) {
  const sampler = new ScriptedSampler();
  const db = openDatabase(folder, pino({ level: 'silent' }), Date.now());
  const persistence = new SqlitePersistence(db);
  const attribution = new Attribution({
    sampler,
    persistence,
    log: pino({ level: 'silent' }),
    bootId: 'boot',
    nowMs: () => Date.now(),
    monotonicNs: () => process.hrtime.bigint(),
    isAlive: () => true,
    checkpointIntervalMs: 3_600_000,
    keepEndedMs: () => 300_000,
    unboundTimeoutMs: () => 3_600_000,
    writeFiles: async () => undefined,
    prepareDelivery: async () => undefined,
    isFull: () => false,
  });
  const caller = {
    process: { pid: 1, startTicks: 1n },
    owner: { uid: 0, pidNamespace: 1n },
    privileged: false,
  };
  const { run } = attribution.commands.start(caller, { runId: 'bench' });
  const session = await attribution.commands.openSession(caller, {
    runId: 'bench',
    process: caller.process,
    ancestors: [],
    devices: [],
    clockOffsetNs: 0n,
  });
  for (let first = 1; first <= scopes; first += SCOPES_A_CALL) {
    const count = Math.min(SCOPES_A_CALL, scopes - first + 1);
    attribution.commands.defineScopes(
      session,
      Array.from({ length: count }, (_, i) => ({
        id: first + i,
        parent: 0,
        level: 'layer',
        name: `fc${first + i}`,
      })),
    );
  }
  sampler.say(run.handle, [run.unattributedSlot, ...[...run.scopes()].map((scope) => scope.slot)]);
  await attribution.checkpoint.request();
  return { attribution, sampler, run, close: () => persistence.close() };
}

/** CPU time of this process, all threads, ms: on a busy machine wall time is mostly others'. */
export function cpuMs() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** CPU milliseconds of `work`. */
export async function timed(work) {
  const begun = cpuMs();
  await work();
  return cpuMs() - begun;
}
