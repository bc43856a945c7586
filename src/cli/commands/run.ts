// `run CMD…`: any command as a run. Its standard input, output, terminal and exit status are untouched, whatever the agent
// does; what this program itself says goes to standard error, before the command begins and after it has ended.

import { appendFile, realpath, stat } from 'node:fs/promises';
import { isRunId, levelFault, nameFault, parsePath } from '../../attribution/names.js';
import type { Columns } from '../../attribution/totals.js';
import { ranksOf } from '../../client/ranks.js';
import { trackerOf } from '../../client/tracker.js';
import { LezeaError, messageOf } from '../../errors.js';
import type { SummaryDocument } from '../../files/summary-document.js';
import { commandFault, type Ending, type HeldChild, spawnHeld } from '../held-child.js';
import { type Io, usageError } from '../io.js';
import { type GivenLimits, type LimitOptions, limitsOf } from '../limit-options.js';
import { MeasuredRun, type RunEnd } from '../measured-run.js';
import { type Forwarding, forwardSignals, ignoreAgain, ignoredAtStart } from '../signals.js';
import { formatTotals } from '../tree.js';

export interface RunOptions extends LimitOptions {
  runId?: string;
  experiment?: string;
  name?: string;
  scope?: string;
  tag?: string[];
  summary?: string;
  metrics?: string;
  hardwareUsage?: string;
  format: 'json' | 'yaml';
  createMlflowRun?: boolean;
  quiet?: boolean;
  socket?: string;
}

export async function runCommand(command: readonly string[], options: RunOptions, io: Io): Promise<number> {
  const ignored = ignoredAtStart(process.env);
  ignoreAgain(ignored);
  const tags = checkOptions(options);
  const limits = limitsOf(options);
  const [file = ''] = command;
  const fault = commandFault(file, process.env);
  if (fault) {
    io.err(`lezea-monitor: ${file}: ${fault.why}: expected a command\n`);
    return fault.status;
  }
  const run = await startRun(options, { tags, ...(limits && { limits }) }, io);
  const startedAt = process.hrtime.bigint();
  const env = run
    ? { ...process.env, LEZEA_RUN_ID: run.runId, LEZEA_MONITOR_SOCKET: run.socket }
    : process.env;
  const child = await spawnHeld(command, env, ignored);
  const signals = forwardSignals(child.kill, ignored);
  await bind(run, child, options, io);
  child.release();
  const ending = await child.ended;
  const seconds = Number(process.hrtime.bigint() - startedAt) / 1e9;
  signals.stop();
  // The agent reads what the command used last, and only then may the kernel forget it.
  if (run) await finish(run, { end: outcomeOf(ending, signals), seconds }, options, io);
  child.reap();
  return ending.status;
}

/** The tags; throws on what no agent would take. */
function checkOptions(options: RunOptions): Record<string, string> {
  const { runId, name, scope } = options;
  if (runId !== undefined && !isRunId(runId)) {
    throw usageError(`--run-id ${runId}: expected [A-Za-z0-9][A-Za-z0-9._-]{0,63}`);
  }
  const badName = name === undefined ? undefined : nameFault(name);
  if (badName) throw usageError(`--name ${name}: ${badName}: expected a printable name of at most 128 bytes`);
  const steps = scope === undefined ? [] : parsePath(scope);
  if (!steps) throw usageError(`--scope ${scope}: expected LEVEL:NAME, or several joined with /`);
  for (const step of steps) {
    const bad = levelFault(step.level) ?? nameFault(step.name);
    if (bad) throw usageError(`--scope ${scope}: ${bad}: expected LEVEL:NAME, or several joined with /`);
  }
  if (options.createMlflowRun && !process.env.MLFLOW_TRACKING_URI) {
    throw usageError('--create-mlflow-run: no MLFLOW_TRACKING_URI: expected the address of an MLflow server');
  }
  return Object.fromEntries((options.tag ?? []).map(splitTag));
}

function splitTag(text: string): [string, string] {
  const at = text.indexOf('=');
  if (at < 1) throw usageError(`--tag ${text}: expected KEY=VALUE`);
  return [text.slice(0, at), text.slice(at + 1)];
}

/** The run, or undefined with one warning: the command runs anyway. */
async function startRun(
  options: RunOptions,
  checked: { tags: Record<string, string>; limits?: GivenLimits },
  io: Io,
): Promise<MeasuredRun | undefined> {
  const { runId = process.env.LEZEA_RUN_ID || undefined, experiment, name } = options;
  try {
    return await MeasuredRun.start(
      {
        ...(runId === undefined ? {} : { runId }),
        ...(experiment === undefined ? {} : { experiment }),
        ...(name === undefined ? {} : { name }),
        ...checked,
        ...trackerSettings(options),
        ranks: ranksOf(process.env, (text) => io.err(`lezea-monitor: ${text}\n`)),
      },
      options.socket,
    );
  } catch (error) {
    // A budget that is used up refuses the command only where that was asked for.
    if (!(error instanceof LezeaError) || error.code === 'over_budget') throw error;
    io.err(`lezea-monitor: the command runs unmeasured: ${messageOf(error)}\n`);
    return undefined;
  }
}

/** What the environment says of the tracker, and whether a run is to be made there. */
function trackerSettings({ createMlflowRun, experiment }: RunOptions): { tracker?: Record<string, string> } {
  const tracker = trackerOf(process.env);
  if (!createMlflowRun || !tracker) return tracker ? { tracker } : {};
  const made: Record<string, string> = { ...tracker, mlflow_create: 'true' };
  if (experiment !== undefined) made.mlflow_experiment = experiment;
  return { tracker: made };
}

async function bind(
  run: MeasuredRun | undefined,
  child: HeldChild,
  options: RunOptions,
  io: Io,
): Promise<void> {
  try {
    await run?.bind(child.pid, options.scope);
  } catch (error) {
    io.err(`lezea-monitor: the command runs unmeasured: ${messageOf(error)}\n`);
  }
}

function outcomeOf(ending: Ending, signals: Forwarding): RunEnd {
  const { status, signal } = ending;
  if (signal !== undefined) {
    const asked = signal === 'SIGINT' || signal === 'SIGTERM';
    return {
      status: asked ? 'INTERRUPTED' : 'KILLED',
      reason: `ended by signal ${status - 128} (${signal})`,
    };
  }
  if (status === 0) return { status: 'FINISHED' };
  return { status: signals.interrupted ? 'INTERRUPTED' : 'FAILED', reason: `exit code ${status}` };
}

async function finish(
  run: MeasuredRun,
  how: { end: RunEnd; seconds: number },
  options: RunOptions,
  io: Io,
): Promise<void> {
  try {
    const result = await run.end(how.end);
    if (!options.quiet) {
      const soFar = result.final ? '' : '; the run goes on';
      io.err(`\nlezea-monitor: run ${run.runId}: ${how.end.status}${soFar}\n`);
      io.err(formatTotals({ totals: asTotals(result.totals) }, how.seconds));
    }
    await writeDocuments(run, options);
  } catch (error) {
    // The command's own status is what counts; measuring it is not worth changing that.
    io.err(`lezea-monitor: after the command: ${messageOf(error)}\n`);
  } finally {
    run.close();
  }
}

function asTotals(columns: Columns): SummaryDocument['totals'] {
  const entries = Object.entries(columns).map(([name, value]) => [name, { value }]);
  return Object.fromEntries(entries) as SummaryDocument['totals'];
}

async function writeDocuments(run: MeasuredRun, options: RunOptions): Promise<void> {
  const { summary, metrics, hardwareUsage, format } = options;
  if ([summary, metrics, hardwareUsage].every((path) => path === undefined)) return;
  const json = (await run.summary()).toString();
  if (summary !== undefined) await writeSummary(summary, json, format);
  if (metrics !== undefined) {
    const { figuresOfSummary, metricsText } = await import('../../files/metrics-document.js');
    await writeDocument(metrics, [...metricsText(figuresOfSummary(JSON.parse(json)))].join(''));
  }
  if (hardwareUsage !== undefined) {
    const { hardwareUsageText } = await import('../../files/hardware-usage-document.js');
    await writeDocument(hardwareUsage, hardwareUsageText(JSON.parse(json)) ?? '{}\n');
  }
}

async function writeSummary(path: string, json: string, format: 'json' | 'yaml'): Promise<void> {
  if (format === 'json') return writeDocument(path, json);
  const { stringify } = await import('yaml');
  await writeDocument(path, stringify(JSON.parse(json)));
}

/** Replaces a file, the one that a link leads to; a device or a pipe (/dev/null, /dev/stdout) is written to, never replaced. */
async function writeDocument(path: string, text: string): Promise<void> {
  const found = await stat(path).catch(() => undefined);
  if (/^\/(dev|proc)\//.test(path) || (found && !found.isFile())) return appendFile(path, text);
  const { writeAtomically } = await import('../../files/atomic.js');
  await writeAtomically(found ? await realpath(path) : path, [text]);
}
