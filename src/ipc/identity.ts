// Who a client is and which process it speaks of. Reads the kernel's word for the peer, /proc for descent, threads and
// PID namespaces; what a client says of itself is only ever checked against that.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Caller, Owner } from '../attribution/model.js';
import { sameOwner } from '../attribution/owners.js';
import { LezeaError } from '../errors.js';
import type { Addon, PeerCredentials, ProcessId, ProcessIdentity } from '../native/addon.js';

export type ProcessReader = Pick<Addon, 'processIdentity' | 'monotonicNs'>;

/** Further than any sane tree; ends a walk in a loop that pid reuse could make. */
const MAX_ANCESTORS = 64;
/** How far a client's clock may be off, beyond its time namespace. */
const MAX_CLOCK_ERROR_NS = 1_000_000_000n;

export interface CallerRules {
  /** The agent's own PID namespace (inode). */
  pidNamespace: bigint;
  /** User ids that see all, beside root. */
  operators: readonly number[];
}

/** The caller by what the kernel says of the peer. */
export function callerOf(peer: PeerCredentials, rules: CallerRules): Caller {
  const known = peer.uid === 0 || rules.operators.includes(peer.uid);
  return {
    process: { pid: peer.pid, startTicks: peer.startTicks },
    owner: { uid: peer.uid, pidNamespace: peer.pidNamespace },
    // A namespace that cannot be read is not taken for ours: a container's root stays an ordinary owner.
    privileged: known && peer.pidNamespace !== 0n && peer.pidNamespace === rules.pidNamespace,
  };
}

export interface Target {
  identity: ProcessIdentity;
  /** Its parent, grandparent, …; at most MAX_ANCESTORS. */
  ancestors: ProcessId[];
}

export class Identities {
  readonly #reader: ProcessReader;
  readonly #procRoot: string;

  constructor(reader: ProcessReader, procRoot: string) {
    this.#reader = reader;
    this.#procRoot = procRoot;
  }

  /** The calling process itself; it must still be the one that opened the connection. */
  self(caller: Caller): Target {
    const identity = this.#reader.processIdentity(caller.process.pid);
    if (!identity || identity.process.startTicks !== caller.process.startTicks) {
      throw new LezeaError('not_authorized', 'the process that opened this connection has ended');
    }
    return { identity, ancestors: this.#ancestors(identity) };
  }

  /**
   * A living descendant of the caller with the same owner, or one that `bound` says belongs to the caller's run: its
   * ancestors may have ended.
   */
  descendant(caller: Caller, pid: number, bound: (process: ProcessId) => boolean): Target {
    if (this.#depth(caller.process.pid) > 1) {
      throw new LezeaError('unsupported', 'a process in a PID namespace of its own binds itself only');
    }
    const identity = this.#reader.processIdentity(pid);
    if (!identity) throw new LezeaError('not_authorized', `process ${pid} is not there`);
    const ancestors = this.#ancestors(identity);
    const owner: Owner = { uid: identity.uid, pidNamespace: identity.pidNamespace };
    const descends = ancestors.some((ancestor) => sameProcess(ancestor, caller.process));
    if (!sameOwner(owner, caller.owner) || !(descends || bound(identity.process))) {
      throw new LezeaError(
        'not_authorized',
        `process ${pid} is not a descendant of the caller with the same owner`,
      );
    }
    // Between the readings the pid may have been given to another process.
    const again = this.#reader.processIdentity(pid);
    if (!again || !sameProcess(again.process, identity.process)) {
      throw new LezeaError('not_authorized', `process ${pid} has ended`);
    }
    return { identity, ancestors };
  }

  /** Whether this pid, as the client writes it, is the client. */
  isSelf(caller: Caller, pid: number): boolean {
    return pid === this.#ownNumber(`${caller.process.pid}/status`);
  }

  /** The thread of a process in the agent's PID namespace, by its number as the client sees it. */
  thread(pid: number, clientTid: number): number {
    if (this.#depth(pid) <= 1) {
      if (this.#numbers(`${pid}/task/${clientTid}/status`).length > 0) return clientTid;
    } else {
      for (const tid of this.#threads(pid)) {
        if (this.#ownNumber(`${pid}/task/${tid}/status`) === clientTid) return Number(tid);
      }
    }
    throw new LezeaError('invalid_params', `process ${pid} has no thread ${clientTid}`);
  }

  /** Refuses a client whose clock is not ours. `at`: CLOCK_MONOTONIC when its message was read. */
  checkClock(tNs: number, identity: ProcessIdentity, at: bigint): void {
    const error = BigInt(tNs) - (at + identity.clockOffsetNs);
    if (error <= MAX_CLOCK_ERROR_NS && error >= -MAX_CLOCK_ERROR_NS) return;
    throw new LezeaError(
      'clock_mismatch',
      `t_ns is ${Number(error) / 1e9} s off this node's CLOCK_MONOTONIC; expected at most 1 s`,
    );
  }

  #ancestors(identity: ProcessIdentity): ProcessId[] {
    const ancestors: ProcessId[] = [];
    let pid = identity.ppid;
    while (pid > 0 && ancestors.length < MAX_ANCESTORS) {
      const parent = this.#reader.processIdentity(pid);
      if (!parent) break;
      ancestors.push(parent.process);
      pid = parent.ppid;
    }
    return ancestors;
  }

  #threads(pid: number): string[] {
    try {
      return readdirSync(join(this.#procRoot, String(pid), 'task'));
    } catch (error) {
      return absent(error, []);
    }
  }

  #depth(pid: number): number {
    return this.#numbers(`${pid}/status`).length;
  }

  #ownNumber(statusFile: string): number | undefined {
    return this.#numbers(statusFile).at(-1);
  }

  /** A task's number in every PID namespace from ours inwards, e.g. `NSpid:	4242	7`; none when it is gone. */
  #numbers(statusFile: string): number[] {
    let status: string;
    try {
      status = readFileSync(join(this.#procRoot, statusFile), 'utf8');
    } catch (error) {
      return absent(error, []);
    }
    const line = /^NSpid:\s*(.*)$/m.exec(status)?.[1];
    return line ? line.trim().split(/\s+/).map(Number) : [];
  }
}

/** A process or thread that went away while it was read is nothing; another error is. */
function absent<T>(error: unknown, nothing: T): T {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT' || code === 'ESRCH') return nothing;
  throw error;
}

function sameProcess(a: ProcessId, b: ProcessId): boolean {
  return a.pid === b.pid && a.startTicks === b.startTicks;
}
