// The child that asks systeminformation, and prints what it says as JSON. Only calls that neither list the machine's
// processes nor look at names that others chose; runs in the fence of fenced-child.ts alone.

import { cpu, diskLayout, mem, osInfo, system } from 'systeminformation';

const [cpuData, memory, os, machine, disks] = await Promise.all([
  cpu(),
  mem(),
  osInfo(),
  system(),
  diskLayout(),
]);
process.stdout.write(JSON.stringify({ cpu: cpuData, memory, os, system: machine, disks }));
