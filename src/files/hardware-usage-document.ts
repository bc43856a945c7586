// What a run used of its node, hardware_usage.json, in the shape that Pixelis's hardware monitor returns: means and greatest
// values in per cent of the whole node, of this run alone. Owns its schema, from which docs/schemas/hardware-usage.json is
// made. A pure function of the run's summary.

import { z } from 'zod';
import type { SummaryDocument } from './summary-document.js';

const share = z.number().nonnegative();
const usage = (what: string) =>
  z
    .object({
      mean_percent: share.describe('Over the time from the first to the last sample.'),
      max_percent: share.optional().describe('The greatest; absent where the run was too short for one.'),
      samples: z
        .number()
        .int()
        .nonnegative()
        .describe('Windows of a second or little more that were compared.'),
    })
    .optional()
    .describe(what);

export const hardwareUsageDocument = z
  .object({
    cpu: usage('CPU time of the run, per cent of all CPUs of the node.'),
    memory: usage('Memory of the run, per cent of the node’s; its greatest value is of one sample.'),
    gpu: usage('Utilisation of the GPUs by the run, per cent of the time for which it held them; estimated.'),
  })
  .meta({
    title: 'Hardware usage of a run',
    description:
      'As Pixelis’s HardwareMonitor returns it, but of the run and not of whatever else the node did. What is not known has no ' +
      'key.',
  });

/** JSON Schema, draft 2020-12. */
export function hardwareUsageSchema(): string {
  const schema = { $id: 'lezea.hardware_usage/v1', ...z.toJSONSchema(hardwareUsageDocument) };
  return `${JSON.stringify(schema, null, 2)}\n`;
}

/** Undefined where nothing of it is known. */
export function hardwareUsageText(
  summary: Pick<SummaryDocument, 'run' | 'node' | 'totals'>,
): string | undefined {
  const { elapsed_seconds: seconds, cpu_windows: windows } = summary.run;
  if (seconds === undefined) return undefined;
  const { cpus, memory_bytes: memoryBytes } = summary.node;
  const value = (column: keyof SummaryDocument['totals']) => summary.totals[column]?.value;
  const samples = windows?.count ?? 0;
  const held = value('gpu_allocated_seconds') ?? 0;
  const active = value('gpu_active_seconds');
  // It may have worked before any list had it.
  const worked = active === undefined ? undefined : Math.min(active, held);
  const document = {
    ...used(
      'cpu',
      percent(value('cpu_seconds'), seconds * cpus),
      percent(windows?.busiest_cpus, cpus),
      samples,
    ),
    ...used(
      'memory',
      percent(value('memory_byte_seconds'), seconds * memoryBytes),
      percent(value('memory_peak_bytes'), memoryBytes),
      samples,
    ),
    ...used('gpu', percent(worked, held), undefined, samples),
  };
  return Object.keys(document).length === 0 ? undefined : `${JSON.stringify(document, null, 2)}\n`;
}

function used(name: string, mean: number | undefined, max: number | undefined, samples: number): object {
  if (mean === undefined) return {};
  return { [name]: { mean_percent: mean, ...(max !== undefined && { max_percent: max }), samples } };
}

function percent(part: number | undefined, whole: number): number | undefined {
  return part === undefined || whole === 0 ? undefined : (100 * part) / whole;
}
