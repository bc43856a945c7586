// Which GPUs a program would see. Pure. The Python client has the same rules (node_facts.py).

import type { GpuFact } from './check.js';

/**
 * Those that CUDA_VISIBLE_DEVICES leaves: numbers in the bus's order, or beginnings of UUIDs. As CUDA reads it, nothing counts
 * after the first entry that is none. A MIG instance is a device that nothing else is known of.
 */
export function visibleGpus(gpus: readonly GpuFact[], said: string | undefined): GpuFact[] {
  if (said === undefined) return [...gpus];
  const left: GpuFact[] = [];
  for (const entry of said.split(',').map((part) => part.trim())) {
    if (entry.startsWith('MIG-')) {
      left.push({ uuid: entry });
      continue;
    }
    const named = /^\d+$/.test(entry)
      ? gpus.slice(Number(entry), Number(entry) + 1)
      : gpus.filter(({ uuid }) => entry !== '' && uuid?.startsWith(entry));
    const [gpu] = named;
    if (!gpu || named.length > 1) break;
    left.push(gpu);
  }
  return left;
}
