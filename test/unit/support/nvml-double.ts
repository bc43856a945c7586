// The NVML double (native/nvml_double) for whole agents: built where it is not, its machine a scenario file.

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '../../..');

/** Path of the double of a driver: of today, or of another set of symbols (native/nvml_double/variants). Throws where it cannot be built. */
export function nvmlDouble(variant = 'current'): string {
  const built = spawnSync(process.execPath, [join(ROOT, 'scripts/nvml-double.mjs')], { encoding: 'utf8' });
  const folder = built.stdout.trimEnd().split('\n').at(-1);
  if (built.status !== 0 || !folder) throw new Error(`the NVML double was not built: ${built.stderr}`);
  return join(folder, variant, 'libnvidia-ml.so.1');
}
