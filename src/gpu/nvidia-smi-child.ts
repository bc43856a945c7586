// The child that asks nvidia-smi, and prints what node-nvidia-smi makes of its answer as JSON. That package runs a bare name in a shell,
// takes any word on standard error for a failure and no more than 1 MiB for an answer; here it is given the program's path, no
// shell, and room. Runs in the fence of fenced-child.ts alone. Argument: the path of nvidia-smi.

import childProcess from 'node:child_process';
import { createRequire } from 'node:module';

type Answer = (error: unknown, data: Answered) => void;
interface Answered {
  nvidia_smi_log?: { gpu?: object | object[] };
}

const MOST_BYTES = 64 * 1024 * 1024;
/** Long lists that nobody reads here; names of processes are the users' own. */
const LEFT_OUT = new Set(['processes', 'accounted_processes', 'supported_clocks']);

const NO_GPU = '<nvidia_smi_log><attached_gpus>0</attached_gpus></nvidia_smi_log>';

const program = process.argv[2] ?? '';

function run(_command: string, done: (error: unknown, stdout: string, stderr: string) => void): void {
  childProcess.execFile(program, ['-q', '-x'], { maxBuffer: MOST_BYTES }, (error, stdout) => {
    // A status tells of a GPU that is not well, too. Where it fails it says why on standard output; no GPU is no failure.
    if (!error || stdout.startsWith('<?xml')) done(null, stdout, '');
    else if (stdout.startsWith('No devices were found')) done(null, NO_GPU, '');
    else done(`${stdout.trim().slice(0, 1000) || 'no answer'} (exit status ${error.code})`, '', '');
  });
}

Object.assign(childProcess, { exec: run });
const require = createRequire(import.meta.url);
const nvidiaSmi = require('node-nvidia-smi') as (done: Answer) => void;

nvidiaSmi((error, data) => {
  const answer = error ? { failed: String(error) } : { log: data?.nvidia_smi_log };
  process.stdout.write(JSON.stringify(answer, (key, value) => (LEFT_OUT.has(key) ? undefined : value)));
});
