// Whether a node has what a run needs. Pure: what is needed and what there is come in, what is wrong goes out.

import { compareVersions } from './versions.js';

const GB = 1e9;
const NO_DRIVER = 'not known, no driver lists them';

/** What is asked for; absent: nothing. */
export interface Requirements {
  minGpus?: number;
  minGpuMemoryGb?: number;
  minFreeGpuMemoryGb?: number;
  minCudaVersion?: string;
  minDriverVersion?: string;
  minDiskFreeGb?: number;
  packages?: readonly PackageRequirement[];
}

export interface PackageRequirement {
  name: string;
  /** Oldest version that will do. */
  least?: string;
}

/** One GPU that the process would see. Unknown is absent. */
export interface GpuFact {
  uuid?: string;
  model?: string;
  memory_total_bytes?: number;
  memory_free_bytes?: number;
}

/** What there is. Unknown is absent. */
export interface Facts {
  gpus?: GpuFact[];
  driver_version?: string;
  cuda_version?: string;
  disk_free_bytes?: number;
  /** The Python that was asked, and the installed versions of what is required; null: not installed. */
  python?: { executable: string; version: string };
  packages?: Record<string, string | null>;
}

/** As the trackers' own `validate_environment` answers. */
export interface Verdict {
  is_valid: boolean;
  errors: string[];
  warnings: string[];
  facts: Facts;
}

/** `problems`: what could not be found out, and why. */
export function checkNode(needs: Requirements, facts: Facts, problems: readonly string[] = []): Verdict {
  const errors = [
    ...gpuErrors(needs, facts),
    ...versionErrors('CUDA', facts.cuda_version, needs.minCudaVersion),
    ...versionErrors('GPU driver', facts.driver_version, needs.minDriverVersion),
    ...diskErrors(needs, facts),
    ...(needs.packages ?? []).flatMap((wanted) => packageErrors(wanted, facts)),
  ];
  return { is_valid: errors.length === 0, errors, warnings: [...problems], facts };
}

function gpuErrors(needs: Requirements, { gpus }: Facts): string[] {
  const { minGpus, minGpuMemoryGb, minFreeGpuMemoryGb } = needs;
  const errors: string[] = [];
  if (minGpus !== undefined && (gpus?.length ?? 0) < minGpus)
    errors.push(`GPUs: ${gpus ? gpus.length : NO_DRIVER}, expected at least ${minGpus}`);
  const memory = [
    ['memory', minGpuMemoryGb, 'memory_total_bytes'],
    ['free memory', minFreeGpuMemoryGb, 'memory_free_bytes'],
  ] as const;
  for (const [what, least, key] of memory) {
    if (least === undefined) continue;
    if (!gpus?.length)
      errors.push(`GPU ${what}: ${gpus ? 'no GPU' : NO_DRIVER}, expected at least ${least} GB`);
    for (const [index, gpu] of (gpus ?? []).entries()) {
      const bytes = gpu[key];
      const name = `GPU ${index}${gpu.model === undefined ? '' : ` (${gpu.model})`}, ${what}`;
      if (bytes === undefined) errors.push(`${name}: not known, expected at least ${least} GB`);
      else if (bytes < least * GB) errors.push(`${name}: ${gb(bytes)} GB, expected at least ${least} GB`);
    }
  }
  return errors;
}

function versionErrors(what: string, has: string | undefined, least: string | undefined): string[] {
  if (least === undefined) return [];
  if (has === undefined) return [`${what} version: not known, expected at least ${least}`];
  return compareVersions(has, least) < 0 ? [`${what} version: ${has}, expected at least ${least}`] : [];
}

function diskErrors({ minDiskFreeGb: least }: Requirements, { disk_free_bytes: free }: Facts): string[] {
  if (least === undefined) return [];
  if (free === undefined) return [`free disk space: not known, expected at least ${least} GB`];
  return free < least * GB ? [`free disk space: ${gb(free)} GB, expected at least ${least} GB`] : [];
}

function packageErrors({ name, least }: PackageRequirement, { packages }: Facts): string[] {
  const has = packages?.[name];
  const wanted = least === undefined ? name : `${name} ${least} or later`;
  if (has === undefined) return [`Python package ${name}: not known, expected ${wanted}`];
  if (has === null) return [`Python package ${name}: not installed, expected ${wanted}`];
  if (least === undefined || compareVersions(has, least) >= 0) return [];
  return [`Python package ${name}: ${has}, expected ${wanted}`];
}

function gb(bytes: number): string {
  return (bytes / GB).toFixed(1);
}
