// Facts about this machine and its accounts that documents name. Reads os figures, the boot id and /etc/passwd.

import { readFileSync } from 'node:fs';
import { arch, cpus, hostname, release, totalmem } from 'node:os';
import type { SummaryNode } from './summary-document.js';

/** What a document says of the node; read once, when the agent starts. */
export function nodeFacts(bootId: string): SummaryNode {
  return {
    name: hostname(),
    boot_id: bootId,
    architecture: arch(),
    kernel: release(),
    cpus: cpus().length,
    memory_bytes: totalmem(),
  };
}

/** Account name of a user id by /etc/passwd, or the id itself for accounts that are kept elsewhere (LDAP). */
export function userName(uid: number, passwd = '/etc/passwd'): string {
  let text: string;
  try {
    text = readFileSync(passwd, 'utf8');
  } catch (error) {
    // A machine without the file (a minimal container) has ids only.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return String(uid);
    throw error;
  }
  for (const line of text.split('\n')) {
    // lezea-monitor:x:990:990:lezea-monitor:/var/lib/lezea-monitor:/usr/sbin/nologin
    const [name, , id] = line.split(':');
    if (name && id === String(uid)) return name;
  }
  return String(uid);
}
