// What systeminformation says of this machine, for the environment document. Checks every field; owns nothing.

import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import type { Described } from './document.js';
import { runFenced } from './fenced-child.js';
import { known } from './hardware.js';

const SCRIPT = fileURLToPath(new URL('./systeminformation-child.js', import.meta.url));
const TIMEOUT_MS = 10_000;
const MOST_BYTES = 1_000_000;

const words = z.string().max(4096).catch('');
const amount = z.number().nonnegative().catch(0);
const said = z.object({
  cpu: z.object({
    manufacturer: words,
    brand: words,
    physicalCores: amount,
    processors: amount,
    cores: amount,
  }),
  memory: z.object({ total: amount }),
  os: z.object({ distro: words, release: words, codename: words }),
  system: z.object({ manufacturer: words, model: words }),
  disks: z
    .array(z.object({ device: words, name: words, size: amount }))
    .max(4096)
    .catch([]),
});

/** Throws where it does not answer, or not what was expected. */
export async function askSysteminformation(script = SCRIPT, timeoutMs = TIMEOUT_MS): Promise<Described> {
  return describedBy(
    JSON.parse(await runFenced([process.execPath, script], { timeoutMs, mostBytes: MOST_BYTES })),
  );
}

/** Empty words and noughts stand for what it does not know. */
export function describedBy(answer: unknown): Described {
  const { cpu, memory, os, system, disks } = said.parse(answer);
  return {
    source: 'systeminformation',
    cpu: {
      ...known('name', word(cpu.manufacturer, cpu.brand)),
      ...known('sockets', whole(cpu.processors)),
      ...known('cores', whole(cpu.physicalCores)),
      ...known('threads', whole(cpu.cores)),
    },
    ...known('memory_bytes', whole(memory.total)),
    ...known('os', word(os.distro, os.release, os.codename && `(${os.codename})`)),
    ...known('system', word(system.manufacturer, system.model)),
    disks: disks.map((disk) => ({
      name: disk.device.replace(/^\/dev\//, ''),
      ...known('model', word(disk.name)),
      ...known('size_bytes', whole(disk.size)),
    })),
  };
}

function word(...parts: readonly string[]): string | undefined {
  const text = parts.map((part) => part.trim()).filter((part) => part !== '' && part !== '-');
  return text.length === 0 ? undefined : text.join(' ');
}

function whole(value: number): number | undefined {
  return value > 0 ? Math.round(value) : undefined;
}
