// CPU time of looking at the processes named on the command line; what the helpers used that were started for it
// counts as well (resource usage of ended children).
import { readFileSync } from 'node:fs';

/** Clock ticks are 10 ms: looks are summed up until this much was used, or so many were taken. */
const LEAST_SECONDS = 0.3;
const MOST_LOOKS = 2000;

/** utime + stime + cutime + cstime, in seconds. */
function cpuSeconds() {
  const fields = readFileSync('/proc/self/stat', 'utf8').split(') ')[1].split(' ');
  return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) / 100;
}

/** Microseconds a process and look. */
export async function timed(look) {
  const pids = process.argv.slice(2).map(Number);
  await look(pids);
  const begun = cpuSeconds();
  let looks = 0;
  for (; looks < MOST_LOOKS && cpuSeconds() - begun < LEAST_SECONDS; looks++) await look(pids);
  return ((cpuSeconds() - begun) / looks / pids.length) * 1e6;
}
