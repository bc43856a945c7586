// What the agent says of its node and of itself, the same over the socket and over HTTP. Pure.

import { hostname } from 'node:os';
import type { Result } from '../ipc/protocol.js';
import { figuresView } from '../ipc/views.js';
import type { NodeFigure, SourceStatus } from '../native/addon.js';
import { VERSION } from '../version.js';

export function nodeStatus(state: {
  mode: 'user' | 'system';
  uptimeSeconds: number;
  runsLive: number;
  figures: readonly NodeFigure[];
  sources: readonly SourceStatus[];
}): Result<'node.status'> {
  return {
    node: hostname(),
    mode: state.mode,
    version: VERSION,
    uptime_seconds: state.uptimeSeconds,
    runs_live: state.runsLive,
    figures: figuresView(state.figures),
    sources: [...state.sources],
  };
}

/** One line for the service manager: what the agent does, and which sources it goes without. */
export function serviceStatus(state: {
  runs: number;
  sessions: number;
  /** From tick to tick, milliseconds; undefined before the first. */
  intervalMs: number | undefined;
  sources: readonly SourceStatus[];
}): string {
  const { runs, sessions, intervalMs, sources } = state;
  const named = (wanted: SourceStatus['state'], title: string) => {
    const names = sources.filter((source) => source.state === wanted).map((source) => source.name);
    return names.length === 0 ? [] : [`${title}: ${names.join(', ')}`];
  };
  return [
    `${counted(runs, 'run')}, ${counted(sessions, 'session')}`,
    ...(intervalMs === undefined ? [] : [`a sample every ${Math.round(intervalMs)} ms`]),
    ...named('unavailable', 'missing'),
    ...named('fallback', 'by a fallback'),
  ].join('; ');
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`;
}

/** Without live runs samples are taken every ten checkpoint intervals, which stretch when the database is slow. */
const MAX_SAMPLE_AGE_MS = 60_000;

export interface HealthInput {
  /** Why the last checkpoint failed. */
  checkpointError: string | undefined;
  /** Age of the newest sample, milliseconds; absent before the first. */
  sampleAgeMs: number | undefined;
  /** Checkpoints at which the books did not balance. */
  violations: number;
  /** Absent: HTTP is switched off. */
  http: { listen: string; address: string | null } | undefined;
}

export function healthOf(input: HealthInput): Result<'agent.health'> {
  const { checkpointError, sampleAgeMs, violations, http } = input;
  const sampled = sampleAgeMs !== undefined && sampleAgeMs <= MAX_SAMPLE_AGE_MS;
  const age = sampleAgeMs === undefined ? 'no sample yet' : `newest sample ${Math.round(sampleAgeMs)} ms ago`;
  const checks = [
    { name: 'sampler', ok: sampled, detail: age },
    {
      name: 'checkpoint',
      ok: checkpointError === undefined,
      detail: checkpointError ?? 'figures are stored',
    },
    {
      name: 'conservation',
      ok: violations === 0,
      detail:
        violations === 0 ? 'every run adds up' : `${violations} checkpoints with runs that do not add up`,
    },
  ];
  if (http) {
    const detail = http.address === null ? `${http.listen} is taken; it is tried again` : http.address;
    checks.push({ name: 'http', ok: http.address !== null, detail });
  }
  return { status: checks.every((check) => check.ok) ? 'ok' : 'degraded', checks };
}
