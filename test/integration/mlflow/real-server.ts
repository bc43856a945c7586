// A real `mlflow server` on loopback with SQLite and its artifact proxy, in a temporary folder: started, waited for, asked
// about what it holds, stopped with everything it started. Found in a virtual environment outside the repository.

import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import Database from 'better-sqlite3';
import { temporaryFolder } from '../../unit/support/bench.js';

export interface Installed {
  mlflow: string | undefined;
  /** Why the tests are skipped; empty when they are not. */
  missing: string;
}

/** Major version 3 (newest) or 2 (2.12): LEZEA_MLFLOW_3 and LEZEA_MLFLOW_2 name virtual environments. */
export function installedMlflow(major: 2 | 3): Installed {
  const variable = `LEZEA_MLFLOW_${major}`;
  const mlflow = join(process.env[variable] ?? '', 'bin/mlflow');
  if (process.env[variable] && existsSync(mlflow)) return { mlflow, missing: '' };
  return { mlflow: undefined, missing: ` (skipped: no MLflow ${major} in ${variable})` };
}

export interface RealServerOptions {
  /** With this administrator; others may only read. */
  admin?: { username: string; password: string };
  staticPrefix?: string;
}

/** Its job runners are seven more processes, of no use here: together they start for longer than the server. */
const QUIET = {
  MLFLOW_DISABLE_TELEMETRY: 'true',
  DO_NOT_TRACK: 'true',
  MLFLOW_SERVER_ENABLE_JOB_EXECUTION: 'false',
};
/** How often readiness is looked at, milliseconds. */
const POLL_MS = 200;
const READY_MS = 90_000;
/** Milliseconds for one of the test's own questions. */
const ASK_MS = 60_000;

export class RealServer {
  readonly address: string;
  readonly #process: ChildProcess;
  readonly #folder: ReturnType<typeof temporaryFolder>;
  readonly #o: RealServerOptions;

  private constructor(port: number, started: Omit<Started, 'port'>, options: RealServerOptions) {
    this.#o = options;
    this.#process = started.process;
    this.#folder = started.folder;
    this.address = `http://127.0.0.1:${port}${options.staticPrefix ?? ''}`;
  }

  static async start(mlflow: string, options: RealServerOptions = {}): Promise<RealServer> {
    const { port, ...started } = await launch(mlflow, options);
    const server = new RealServer(port, started, options);
    try {
      await server.#ready();
    } catch (error) {
      await server.stop();
      throw error;
    }
    return server;
  }

  async stop(): Promise<void> {
    const { pid, exitCode, signalCode } = this.#process;
    if (pid !== undefined && exitCode === null && signalCode === null) {
      const ended = new Promise((resolve) => this.#process.once('exit', resolve));
      process.kill(-pid, 'SIGKILL');
      await ended;
    }
    this.#folder.remove();
  }

  /** Its own word on what it answered; throws on a refusal. */
  async call<T>(method: 'GET' | 'POST', path: string, body?: object): Promise<T> {
    const { admin } = this.#o;
    const basic = admin && Buffer.from(`${admin.username}:${admin.password}`).toString('base64');
    const response = await fetch(`${this.address}/api/2.0/${path}`, {
      method,
      signal: AbortSignal.timeout(ASK_MS),
      headers: { 'content-type': 'application/json', ...(basic && { authorization: `Basic ${basic}` }) },
      ...(body && { body: JSON.stringify(body) }),
    });
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    return (await response.json()) as T;
  }

  /** The bytes at a path of a run's artifacts; undefined where there are none. */
  artifact(runId: string, path: string): Buffer | undefined {
    const file = join(this.#folder.path, 'artifacts/0', runId, 'artifacts', path);
    return existsSync(file) ? readFileSync(file) : undefined;
  }

  /** Every row of a run's metrics, as the database has them. */
  metricRows(runId: string): { key: string; value: number; timestamp: number; step: number }[] {
    const database = new Database(join(this.#folder.path, 'mlflow.db'), { readonly: true });
    try {
      const query = 'SELECT key, value, timestamp, step FROM metrics WHERE run_uuid = ? ORDER BY key, step';
      return database.prepare(query).all(runId) as ReturnType<RealServer['metricRows']>;
    } finally {
      database.close();
    }
  }

  /** CPU that it and its workers have used, seconds. */
  cpuSeconds(): number {
    let ticks = 0;
    for (const name of readdirSync('/proc')) {
      const stat = /^\d+$/.test(name) && statOf(name);
      if (!stat) continue;
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      if (Number(fields[2]) === this.#process.pid) ticks += Number(fields[11]) + Number(fields[12]);
    }
    return ticks / TICKS_PER_SECOND;
  }

  async #ready(): Promise<void> {
    const until = Date.now() + READY_MS;
    // MLflow 2 has its own health check outside the prefix.
    const places = [`${this.address}/health`, `${new URL(this.address).origin}/health`];
    while (Date.now() < until && this.#process.exitCode === null) {
      for (const place of places) {
        const answer = await fetch(place, { signal: AbortSignal.timeout(2000) }).catch(() => undefined);
        if (answer?.ok) return;
      }
      await wait(POLL_MS);
    }
    throw new Error(
      `mlflow is not ready: ${readFileSync(join(this.#folder.path, 'log'), 'utf8').slice(-2000)}`,
    );
  }
}

const TICKS_PER_SECOND = 100;

/** Undefined where the process has gone. */
function statOf(pid: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return undefined;
  }
}

interface Started {
  port: number;
  process: ChildProcess;
  folder: ReturnType<typeof temporaryFolder>;
}

async function launch(mlflow: string, options: RealServerOptions): Promise<Started> {
  const folder = temporaryFolder();
  const port = await freePort();
  const args = [
    'server',
    '--host',
    '127.0.0.1',
    '--port',
    String(port),
    '--workers',
    '1',
    '--serve-artifacts',
  ];
  args.push('--backend-store-uri', 'sqlite:///mlflow.db', '--artifacts-destination', './artifacts');
  if (options.staticPrefix) args.push('--static-prefix', options.staticPrefix);
  if (options.admin) args.push('--app-name', 'basic-auth');
  const env = { ...process.env, ...QUIET, ...authEnvironment(folder.path, options) };
  // In a process group of its own: it starts workers, which end with it.
  const command = ['-c', 'exec "$0" "$@" > log 2>&1', mlflow, ...args];
  const started = spawn('sh', command, { cwd: folder.path, env, stdio: 'ignore', detached: true });
  return { port, folder, process: started };
}

function authEnvironment(folder: string, { admin }: RealServerOptions): Record<string, string> {
  if (!admin) return {};
  const file = join(folder, 'auth.ini');
  const lines = ['[mlflow]', 'default_permission = READ', 'database_uri = sqlite:///auth.db'];
  lines.push(`admin_username = ${admin.username}`, `admin_password = ${admin.password}`);
  lines.push('authorization_function = mlflow.server.auth:authenticate_request_basic_auth');
  writeFileSync(file, `${lines.join('\n')}\n`);
  return { MLFLOW_AUTH_CONFIG_PATH: file, MLFLOW_FLASK_SERVER_SECRET_KEY: 'of a test' };
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as { port: number };
  await new Promise((done) => server.close(done));
  return port;
}
