// PID…: CPU microseconds a process that systeminformation takes for one look at all processes, its helpers' included.
import { readdirSync } from 'node:fs';
import si from 'systeminformation';
import { timed } from './processes.mjs';

/** Its answers are remembered for half a second. */
const FRESH_MS = 510;

const every = readdirSync('/proc').filter((name) => /^\d+$/.test(name)).length;
const perNamed = await timed(async () => {
  await new Promise((resolve) => setTimeout(resolve, FRESH_MS));
  await si.processes();
});
process.stdout.write(JSON.stringify([(perNamed * (process.argv.length - 2)) / every]));
