// `preflight`: whether this node has what a run needs. Looks by itself, with the rights of whoever asks: the run will have the
// same.

import {
  checkNode,
  type PackageRequirement,
  type Requirements,
  type Verdict,
} from '../../preflight/check.js';
import { gatherFacts } from '../../preflight/facts.js';
import { isVersion } from '../../preflight/versions.js';
import { printable } from '../format.js';
import { askGpus } from '../gpus.js';
import { EXIT, type Io, usageError } from '../io.js';

export interface PreflightOptions {
  json?: boolean;
  minGpus?: string;
  minGpuMemoryGb?: string;
  minFreeGpuMemoryGb?: string;
  minCudaVersion?: string;
  minDriverVersion?: string;
  minDiskFreeGb?: string;
  requirePythonPackage?: string[];
  python: string;
}

const PACKAGE = /^([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?:>=(\S+))?$/;

export async function preflightCommand(options: PreflightOptions, io: Io): Promise<number> {
  const needs = requirementsOf(options);
  const { python } = options;
  if (!python.startsWith('/')) throw usageError(`--python ${python}: expected an absolute path`);
  const packages = needs.packages ?? [];
  const { facts, problems } = await gatherFacts({
    ...{ folder: process.cwd(), python, packages },
    gpus: gpusNeeded(needs),
    askGpus,
    visible: process.env.CUDA_VISIBLE_DEVICES,
  });
  const verdict = checkNode(needs, facts, problems);
  io.out(options.json ? `${JSON.stringify(verdict, null, 2)}\n` : formatVerdict(verdict));
  return verdict.is_valid ? EXIT.ok : EXIT.notFine;
}

function gpusNeeded(needs: Requirements): 'nothing' | 'names' | 'memory' {
  const any = (...names: (keyof Requirements)[]) => names.some((name) => needs[name] !== undefined);
  if (any('minGpuMemoryGb', 'minFreeGpuMemoryGb', 'minCudaVersion')) return 'memory';
  return any('minGpus', 'minDriverVersion') ? 'names' : 'nothing';
}

function requirementsOf(options: PreflightOptions): Requirements {
  const needs: Requirements = {
    ...number('minGpus', '--min-gpus', options.minGpus, true),
    ...number('minGpuMemoryGb', '--min-gpu-memory-gb', options.minGpuMemoryGb),
    ...number('minFreeGpuMemoryGb', '--min-free-gpu-memory-gb', options.minFreeGpuMemoryGb),
    ...number('minDiskFreeGb', '--min-disk-free-gb', options.minDiskFreeGb),
    ...version('minCudaVersion', '--min-cuda-version', options.minCudaVersion),
    ...version('minDriverVersion', '--min-driver-version', options.minDriverVersion),
    ...(options.requirePythonPackage && { packages: options.requirePythonPackage.map(packageOf) }),
  };
  if (Object.keys(needs).length === 0) throw usageError('expected something to check: see --help');
  return needs;
}

function number<K extends keyof Requirements>(
  key: K,
  option: string,
  text: string | undefined,
  whole = false,
) {
  if (text === undefined) return {};
  if (!(whole ? /^\d{1,9}$/ : /^\d{1,9}(\.\d+)?$/).test(text))
    throw usageError(`${option} ${text}: expected a ${whole ? 'whole ' : ''}number that is not negative`);
  return { [key]: Number(text) };
}

function version<K extends keyof Requirements>(key: K, option: string, text: string | undefined) {
  if (text === undefined) return {};
  if (!isVersion(text)) throw usageError(`${option} ${text}: expected a version such as 12.1`);
  return { [key]: text };
}

function packageOf(text: string): PackageRequirement {
  const [, name, least] = PACKAGE.exec(text) ?? [];
  if (name === undefined || (least !== undefined && !isVersion(least)))
    throw usageError(`--require-python-package ${text}: expected NAME or NAME>=VERSION`);
  return { name, ...(least !== undefined && { least }) };
}

function formatVerdict({ is_valid, errors, warnings }: Verdict): string {
  const lines = [
    ...errors.map((error) => `not fine: ${error}`),
    ...warnings.map((warning) => `warning: ${warning}`),
    is_valid ? 'fine' : 'not fine',
  ];
  return lines.map((line) => `${printable(line)}\n`).join('');
}
