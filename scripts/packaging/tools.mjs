// What the parts of packaging share: where things are, running a program, what time it is for reproducible packages.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
/** Finished packages; what they are made of is in `parts` below it. */
export const packages = join(root, 'build', 'packages');
export const parts = join(packages, 'parts');
export const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

/** Its standard output; what it says to standard error is passed on. Throws where it fails. */
export function run(program, args, options = {}) {
  const done = spawnSync(program, args, {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 26,
    stdio: ['ignore', 'pipe', 'inherit'],
    ...options,
  });
  if (done.error) throw done.error;
  if (done.status === 0) return done.stdout;
  throw new Error(
    `${program} ${args.join(' ')}: ${done.signal ?? `exit status ${done.status}`}\n${done.stdout ?? ''}`,
  );
}

/** Seconds since 1970 that packages say they were made at: SOURCE_DATE_EPOCH, else the last commit. */
export function epoch() {
  return process.env.SOURCE_DATE_EPOCH ?? run('git', ['log', '-1', '--format=%ct']).trim();
}

/** Runs a packaging script's main function; what goes wrong is one line. */
export async function main(work) {
  try {
    await work();
  } catch (error) {
    console.error(`packages: ${error.message}`);
    process.exit(1);
  }
}
