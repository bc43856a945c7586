// A process that uses as much CPU as it is told, and says how much that was.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';

const PROGRAM = `
  process.on('message', (ms) => {
    const begun = process.cpuUsage();
    let used = 0;
    while (used < ms) {
      const { user, system } = process.cpuUsage(begun);
      used = (user + system) / 1000;
    }
    process.send(used / 1000);
  });
  process.send('ready');
`;

export interface Burner {
  child: ChildProcess;
  /** Uses so many milliseconds of CPU; how many seconds it really was. */
  burn(ms: number): Promise<number>;
}

export async function startBurner(): Promise<Burner> {
  const child = spawn(process.execPath, ['-e', PROGRAM], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  await once(child, 'message');
  const burn = async (ms: number) => {
    child.send(ms);
    const [used] = await once(child, 'message');
    return used as number;
  };
  return { child, burn };
}
