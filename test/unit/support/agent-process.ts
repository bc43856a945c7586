// The agent as a process of its own, as a user starts it, and what its log says. Owns the child until stop().

import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export const BIN = join(import.meta.dirname, '../../../bin/lezea-monitor.js');

export interface LogLine {
  level: string;
  msg: string;
  [key: string]: unknown;
}

/** Says, at SIGUSR2, how long the event loop was ever kept from its timers since it was asked last, ms; then begins anew. */
const PROBE = (file: string) => `
  import { monitorEventLoopDelay } from 'node:perf_hooks';
  import { renameSync, writeFileSync } from 'node:fs';
  const delay = monitorEventLoopDelay({ resolution: 2 });
  delay.enable();
  process.on('SIGUSR2', () => {
    writeFileSync(${JSON.stringify(`${file}.new`)}, String(delay.max / 1e6));
    renameSync(${JSON.stringify(`${file}.new`)}, ${JSON.stringify(file)});
    delay.reset();
  });
`;

export interface AgentOptions {
  /** Further arguments. */
  args?: string[];
  mode?: 'user' | 'system';
  /** Beside PATH and HOME. */
  env?: Record<string, string>;
  /** Measure the event loop. It costs wakes, so not by default. */
  probe?: boolean;
  /** A command that runs the agent in the place of itself, with what it needs before the agent's own words. */
  through?: readonly string[];
  /** Another Node.js and copy of the program. */
  tree?: { node: string; program: string };
}

const OWN_TREE = { node: process.execPath, program: BIN };

export class AgentProcess {
  readonly lines: LogLine[] = [];
  readonly child: ChildProcess;
  readonly exit: Promise<{ code: number | null; signal: string | null }>;
  readonly socket: string;
  readonly #probeFile: string;
  #partial = '';
  #wake: () => void = () => undefined;

  constructor(
    folder: string,
    { args = [], mode = 'user', env = {}, probe = false, through = [], tree = OWN_TREE }: AgentOptions = {},
  ) {
    this.socket = join(folder, 's', 'agent.sock');
    this.#probeFile = join(folder, 'delay');
    const state = ['--state-dir', join(folder, 'state'), '--set', `agent.mode=${mode}`];
    const fixed = ['--listen', '127.0.0.1:0', '--socket', this.socket, ...state];
    const url = `data:text/javascript,${encodeURIComponent(PROBE(this.#probeFile))}`;
    const node = probe ? ['--import', url] : [];
    const [command, ...words] = [...through, tree.node, ...node, tree.program, 'agent', ...fixed, ...args];
    this.child = spawn(command as string, words, {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { PATH: process.env.PATH, HOME: folder, ...env },
    });
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => this.#read(text));
    this.exit = new Promise((resolve) => {
      this.child.on('close', (code, signal) => {
        resolve({ code, signal });
        this.#wake();
      });
    });
  }

  get pid(): number {
    return this.child.pid as number;
  }

  async said(match: (line: LogLine) => boolean): Promise<LogLine> {
    for (;;) {
      const found = this.lines.find(match);
      if (found) return found;
      if (this.child.exitCode !== null || this.child.signalCode !== null)
        throw new Error(`the agent ended: ${JSON.stringify(this.lines)}`);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  ready(): Promise<LogLine> {
    return this.said((line) => line.msg === 'ready');
  }

  /** Resident memory, and its peak since forgetPeak(), MiB. */
  memory(): { now: number; peak: number } {
    const status = readFileSync(`/proc/${this.pid}/status`, 'utf8');
    const mib = (name: string) => Number(new RegExp(`^${name}:\\s*(\\d+) kB`, 'm').exec(status)?.[1]) / 1024;
    return { now: mib('VmRSS'), peak: mib('VmHWM') };
  }

  forgetPeak(): void {
    writeFileSync(`/proc/${this.pid}/clear_refs`, '5');
  }

  /** The longest time since the last question that the event loop was kept from its timers, ms. */
  async loopDelay(): Promise<number> {
    rmSync(this.#probeFile, { force: true });
    this.child.kill('SIGUSR2');
    for (;;) {
      try {
        return Number(readFileSync(this.#probeFile, 'utf8'));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    }
  }

  #read(text: string): void {
    const parts = (this.#partial + text).split('\n');
    this.#partial = parts.pop() ?? '';
    for (const part of parts) this.lines.push(asLog(part));
    this.#wake();
  }
}

function asLog(text: string): LogLine {
  return text.startsWith('{') ? JSON.parse(text) : { level: 'plain', msg: text };
}
