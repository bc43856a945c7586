// What there is on this node of what a run may need. Reads the driver's files, asks for GPUs, the file system and a Python's packages.

import { statfs } from 'node:fs/promises';
import { messageOf } from '../errors.js';
import type { GpuReport } from '../gpu/device.js';
import { runFenced } from '../inventory/fenced-child.js';
import { Files } from '../inventory/files.js';
import { known, readGpus } from '../inventory/hardware.js';
import { nvidiaDriver } from '../inventory/software.js';
import type { Facts, GpuFact, PackageRequirement } from './check.js';
import { visibleGpus } from './visible.js';

const PYTHON_TIMEOUT_MS = 30_000;
const MOST_BYTES = 1_000_000;
/** Prints JSON: its version, and of each argument the installed version, or null. */
const ASK_PYTHON = `
import importlib.metadata as metadata, json, platform, sys
def version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
print(json.dumps({"version": platform.python_version(), "packages": {n: version(n) for n in sys.argv[1:]}}))
`;

export interface FactsOptions {
  /** Whose file system's free space counts. */
  folder: string;
  /** Absolute path of the Python that is asked for packages. */
  python: string;
  packages: readonly PackageRequirement[];
  /** What is needed of GPUs: nothing, which there are, or also their memory or CUDA version. nvidia-smi may take seconds. */
  gpus: 'nothing' | 'names' | 'memory';
  /** Who knows more of them than the driver's files. @default nobody */
  askGpus?: () => Promise<GpuReport | undefined>;
  /** @default the machine's own */
  files?: Files;
  /** CUDA_VISIBLE_DEVICES. @default all of them */
  visible?: string | undefined;
}

/** What is there, and what could not be found out. */
export async function gatherFacts(options: FactsOptions): Promise<{ facts: Facts; problems: string[] }> {
  const { folder, python, packages, files = new Files() } = options;
  const problems: string[] = [];
  const listed = readGpus(files);
  const { gpus: needed, askGpus } = options;
  const isAsked = needed === 'memory' || (needed === 'names' && !listed);
  const told = isAsked
    ? await askGpus?.().catch((error: unknown) => {
        problems.push(`GPUs: ${messageOf(error)}`);
        return undefined;
      })
    : undefined;
  const all = gpuFacts(listed, told);
  const facts: Facts = {
    ...known('gpus', all && visibleGpus(all, options.visible)),
    ...known('driver_version', nvidiaDriver(files) ?? told?.driverVersion),
    ...known('cuda_version', told?.cudaVersion),
  };
  try {
    const { bavail, bsize } = await statfs(folder);
    facts.disk_free_bytes = bavail * bsize;
  } catch (error) {
    problems.push(`free disk space: ${messageOf(error)}`);
  }
  if (packages.length > 0) {
    try {
      Object.assign(facts, await askPython(python, packages));
    } catch (error) {
      problems.push(`${python}: ${messageOf(error)}; expected a Python that runs`);
    }
  }
  return { facts, problems };
}

/** Those that the driver lists, else those that were told; undefined: nobody says anything. */
function gpuFacts(listed: ReturnType<typeof readGpus>, told: GpuReport | undefined): GpuFact[] | undefined {
  const said = new Map(told?.devices.map((device) => [device.uuid, device]));
  const all = listed ?? told?.devices;
  return all?.map(({ uuid, model }) => {
    const device = uuid === undefined ? undefined : said.get(uuid);
    return {
      ...known('uuid', uuid),
      ...known('model', model),
      ...known('memory_total_bytes', device?.memoryTotalBytes),
      ...known('memory_free_bytes', device?.memoryFreeBytes),
    };
  });
}

async function askPython(
  python: string,
  packages: readonly PackageRequirement[],
): Promise<Pick<Facts, 'python' | 'packages'>> {
  const names = packages.map(({ name }) => name);
  // Isolated: neither the folder that this was started in nor the environment may stand in for what is installed.
  const command: [string, ...string[]] = [python, '-I', '-c', ASK_PYTHON, ...names];
  const text = await runFenced(command, { timeoutMs: PYTHON_TIMEOUT_MS, mostBytes: MOST_BYTES });
  const said = JSON.parse(text) as { version: string; packages: Record<string, string | null> };
  return { python: { executable: python, version: said.version }, packages: said.packages };
}
