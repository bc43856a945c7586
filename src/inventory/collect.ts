// Puts the environment document of this node together. What is compared and fingerprinted comes from the kernel's files alone,
// so that it is the same every time; systeminformation describes it in words. Reads; owns nothing.

import { setImmediate as nextTurn } from 'node:timers/promises';
import { messageOf } from '../errors.js';
import {
  type Described,
  ENVIRONMENT_SCHEMA,
  type Environment,
  type Hardware,
  type Software,
} from './document.js';
import { Files } from './files.js';
import { fingerprintOf } from './fingerprint.js';
import { diskBytes, diskNames, known, meminfo, readHardware } from './hardware.js';
import { readSoftware, readVolatile } from './software.js';
import { askSysteminformation } from './systeminformation.js';

export interface CollectOptions {
  /** Of this program. */
  version: string;
  /** Wall clock, milliseconds since 1970. */
  nowMs: number;
  /** @default the machine's own */
  files?: Files;
  /** Who describes the node in words; null: the kernel's files alone. @default systeminformation in its child */
  ask?: (() => Promise<Described>) | null;
  /** What is said of GPUs. @default nothing */
  askGpus?: () => Promise<Described['gpus']>;
}

export async function collectEnvironment(options: CollectOptions): Promise<Environment> {
  const { version, nowMs, files = new Files(), ask = askSysteminformation, askGpus } = options;
  const problems: string[] = [];
  // Each takes milliseconds: the agent does other things in between.
  const hardware = readHardware(files);
  await nextTurn();
  const software = readSoftware(files);
  await nextTurn();
  const changing = readVolatile(files);
  const [told, gpus] = await Promise.all([
    ask?.().catch((error: unknown) => {
      problems.push(`systeminformation: ${messageOf(error)}; described by the kernel's files instead`);
      return undefined;
    }),
    askGpus?.().catch((error: unknown) => {
      problems.push(`GPUs: ${messageOf(error)}`);
      return undefined;
    }),
  ]);
  const described = { ...(told ?? describe(files, hardware, software)), ...known('gpus', gpus) };
  return {
    schema: ENVIRONMENT_SCHEMA,
    captured_at: new Date(nowMs).toISOString(),
    captured_by: { lezea_monitor: version, node_js: process.version },
    hardware,
    software,
    volatile: changing,
    described,
    problems,
    fingerprint: { stable: fingerprintOf({ hardware, software }), volatile: fingerprintOf(changing) },
  };
}

function describe(files: Files, { cpu, board }: Hardware, { os }: Software): Described {
  const system = [board.system_vendor, board.system_product].filter((part) => part !== undefined);
  return {
    source: 'files',
    cpu: {
      ...known('name', cpu.model),
      ...known('sockets', cpu.sockets),
      ...known('cores', cpu.cores),
      ...known('threads', cpu.threads),
    },
    ...known('memory_bytes', meminfo(files.text('proc/meminfo'), 'MemTotal')),
    ...known('os', os.name),
    ...known('system', system.length > 0 ? system.join(' ') : undefined),
    disks: diskNames(files).map((name) => ({
      name,
      ...known('model', files.text(`sys/block/${name}/device/model`)),
      ...known('size_bytes', diskBytes(files, name)),
    })),
  };
}
