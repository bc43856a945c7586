// What a service manager would see of an agent: its messages, by a real socket; and its threads, by /proc. Owns the
// helpers that it starts, until stop().

import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const here = import.meta.dirname;

/** Lines that a helper prints, one at a time; undefined at its end. */
function linesOf(child: ChildProcess): () => Promise<string | undefined> {
  if (!child.stdout) throw new Error('a helper without standard output');
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return () => lines.next().then(({ value, done }) => (done ? undefined : value));
}

export class NotifySocket {
  readonly child: ChildProcess;
  readonly #next: () => Promise<string | undefined>;

  private constructor(address: string) {
    this.child = spawn('python3', [join(here, 'notify_socket.py'), address], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.#next = linesOf(this.child);
  }

  static async at(address: string): Promise<NotifySocket> {
    const end = new NotifySocket(address);
    await end.message();
    return end;
  }

  /** The next message: who sent it, and its lines by name. */
  async message(): Promise<{ pid: number; fields: Record<string, string> }> {
    const line = await this.#next();
    if (line === undefined) throw new Error('the socket closed');
    const { pid, text } = JSON.parse(line) as { pid: number; text: string };
    const fields = Object.fromEntries(text.split('\n').map((field) => field.split(/=(.*)/s).slice(0, 2)));
    return { pid, fields };
  }

  /** The next one that has such a line; what comes before it is passed over. */
  async withField(name: string): Promise<Record<string, string>> {
    for (;;) {
      const { fields } = await this.message();
      if (fields[name] !== undefined) return fields;
    }
  }

  stop(): void {
    this.child.kill('SIGKILL');
  }
}

export interface ThreadStatus {
  tid: number;
  name: string;
  /** Of /proc/PID/task/TID/status, e.g. `CapEff`. */
  field(name: string): string | undefined;
}

export function threadsOf(pid: number): ThreadStatus[] {
  return readdirSync(`/proc/${pid}/task`).map((tid) => {
    const text = readFileSync(`/proc/${pid}/task/${tid}/status`, 'utf8');
    const field = (name: string) => new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(text)?.[1];
    return { tid: Number(tid), name: field('Name') ?? '', field };
  });
}

/** Stops that thread until released; or says why this machine does not let anybody. */
export async function holdThread(tid: number): Promise<{ release(): void } | { refused: string }> {
  const child = spawn('python3', [join(here, 'hold_thread.py'), String(tid)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const said = (await linesOf(child)()) ?? 'nothing';
  return said === 'held' ? { release: () => child.kill('SIGKILL') } : { refused: said };
}
