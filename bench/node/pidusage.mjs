// PID…: CPU microseconds a process that pidusage takes for one look at all of them, its helpers' included.
import pidusage from 'pidusage';
import { timed } from './processes.mjs';

process.stdout.write(JSON.stringify([await timed((pids) => pidusage(pids))]));
