// Another machine, as far as an agent can tell: a host name and a boot id of its own, in namespaces of its own.

import { spawnSync } from 'node:child_process';

const BOOT_ID = '/proc/sys/kernel/random/boot_id';
/** Its own words: host name, file of the boot id, and the command that is to run there. */
const ENTER = `hostname "$0" && mount --bind "$1" ${BOOT_ID} && shift && exec "$@"`;

/** What comes before a command that is to run there. `bootId`: a file. */
export function onMachine(name: string, bootId: string): string[] {
  return ['unshare', '--uts', '--mount', 'sh', '-c', ENTER, name, bootId];
}

/** Why there is no other machine here; empty where there is. */
export function noMachines(): string {
  const { status } = spawnSync('unshare', onMachine('other', BOOT_ID).slice(1).concat('true'));
  return status === 0 ? '' : ' (skipped: this machine lets nobody make namespaces)';
}
