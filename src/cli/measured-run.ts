// The agent's half of `lezea-monitor run`: starts the run, binds the held command, and at the end gets totals and document.
// Owns the connection; an agent that goes away is looked for again in the background and never keeps the command waiting.

import { setTimeout as sleep } from 'node:timers/promises';
import type { Columns } from '../attribution/totals.js';
import { type AgentConnection, connectToAgent } from '../client/connection.js';
import type { Ranks } from '../client/ranks.js';
import { monotonicNs } from '../client/scope-tracker.js';
import { LezeaError } from '../errors.js';
import { SUMMARY_FILE } from '../files/run-files.js';
import { fetchFile } from './documents.js';
import type { GivenLimits } from './limit-options.js';

/** Longest wait for an agent that is coming back, once the command has ended; milliseconds. */
const COME_BACK_MS = 5000;
const RETRY_MS = 250;
/** The end of a run writes its files; big ones take a while. Milliseconds. */
const END_MS = 30_000;

export interface RunStart {
  runId?: string;
  experiment?: string;
  name?: string;
  tags: Record<string, string>;
  tracker?: Record<string, string>;
  limits?: GivenLimits;
  ranks: Ranks;
}

export interface RunEnd {
  status: 'FINISHED' | 'FAILED' | 'KILLED' | 'INTERRUPTED';
  reason?: string;
}

export interface RunResult {
  /** False: other parts of the run go on; the totals are those so far. */
  final: boolean;
  totals: Columns;
}

export class MeasuredRun {
  readonly runId: string;
  readonly socket: string;
  #connection: AgentConnection | undefined;
  #closed = false;

  private constructor(connection: AgentConnection, runId: string) {
    this.runId = runId;
    this.socket = connection.path;
    this.#adopt(connection);
  }

  /** Throws when there is no agent (`no_agent`) or it refuses the run. */
  static async start(request: RunStart, socket: string | undefined): Promise<MeasuredRun> {
    const connection = await connectToAgent({ ...(socket === undefined ? {} : { socket }), timeoutMs: 2000 });
    try {
      const { run_id } = await connection.request<{ run_id: string }>('run.start', {
        ...(request.runId === undefined ? {} : { run_id: request.runId }),
        ...(request.experiment === undefined ? {} : { experiment: request.experiment }),
        ...(request.name === undefined ? {} : { name: request.name }),
        ...(Object.keys(request.tags).length === 0 ? {} : { tags: request.tags }),
        ...(request.tracker === undefined ? {} : { tracker: request.tracker }),
        ...(request.limits === undefined ? {} : { limits: request.limits }),
        ...request.ranks,
      });
      return new MeasuredRun(connection, run_id);
    } catch (error) {
      connection.close();
      throw error;
    }
  }

  /** Binds a child of this process, before it does anything. */
  async bind(pid: number, scope: string | undefined): Promise<void> {
    await this.#request('session.open', {
      run_id: this.runId,
      pid,
      ...(scope === undefined ? {} : { birth_scope: scope }),
      t_ns: monotonicNs(),
    });
  }

  /** Ends the command's part; waits a little for an agent that is being restarted. */
  async end(how: RunEnd): Promise<RunResult> {
    const deadline = performance.now() + COME_BACK_MS;
    for (;;) {
      try {
        return await this.#request<RunResult>('run.end', { run_id: this.runId, ...how }, END_MS);
      } catch (error) {
        const gone = error instanceof LezeaError && (error.code === 'closed' || error.code === 'no_agent');
        if (!gone || performance.now() > deadline) throw error;
        await sleep(RETRY_MS);
        await this.#reconnect();
      }
    }
  }

  /** The run's summary document, as it was written. */
  async summary(): Promise<Buffer> {
    if (!this.#connection) throw new LezeaError('no_agent', 'the agent is gone');
    return fetchFile(this.#connection, this.runId, SUMMARY_FILE);
  }

  close(): void {
    this.#closed = true;
    this.#connection?.close();
  }

  #adopt(connection: AgentConnection): void {
    this.#connection = connection;
    connection.onClose = () => {
      this.#connection = undefined;
      if (!this.#closed) void this.#comeBack();
    };
  }

  /** While the command runs: so that the end finds a connection. What was bound stays bound; the agent remembers. */
  async #comeBack(): Promise<void> {
    for (let wait = RETRY_MS; !this.#closed && !this.#connection; wait = Math.min(2 * wait, COME_BACK_MS)) {
      await sleep(wait, undefined, { ref: false });
      await this.#reconnect();
    }
  }

  async #reconnect(): Promise<void> {
    if (this.#connection || this.#closed) return;
    try {
      const connection = await connectToAgent({ socket: this.socket, timeoutMs: 2000 });
      if (this.#connection || this.#closed) connection.close();
      else this.#adopt(connection);
    } catch (error) {
      // Not there yet; the caller's deadline decides when that is final.
      if (!(error instanceof LezeaError)) throw error;
    }
  }

  #request<T>(method: string, params: object, timeoutMs?: number): Promise<T> {
    if (!this.#connection) return Promise.reject(new LezeaError('no_agent', 'the agent is gone'));
    return this.#connection.request<T>(method, params, timeoutMs);
  }
}
