// The agent's own families, lezea_agent_*: what it costs, what it lost, what it refused, how its sources do.
// Reads an AgentState at each scrape; emits const families.

import type { SinkFigures } from '../delivery/outbox.js';
import type { NvmlCall, Snapshot, SourceStatus } from '../native/addon.js';
import type { FamilyHeader } from './encoder.js';
import type { ConstFamily, Figure } from './registry.js';

/** What the agent knows about itself. A figure that is not known is undefined and has no series. */
export interface AgentState {
  version: string;
  mode: 'user' | 'system';
  /** Wall clock, milliseconds since 1970. */
  startedAtMs: number;
  /** The newest sample; absent before the first. */
  snapshot: Omit<Snapshot, 'slots' | 'runs' | 'processes' | 'exited'> | undefined;
  /** Upper bounds of the tick histogram, ns, without the infinite one. */
  tickBucketsNs: readonly bigint[];
  /** As configured: milliseconds from sample to sample, and the share of one core that may be used; 0: whatever it takes. */
  sampling: { intervalMs: number; cpuBudgetRatio: number };
  sources: readonly SourceStatus[];
  /** What NVML's calls took; whether one does not return, undefined without NVML. */
  nvml: { calls: readonly NvmlCall[]; stuck: boolean | undefined };
  runsLive: number;
  sessions: number;
  connections: number;
  /** Connections whose peer the kernel could not name. */
  unidentified: number;
  /** Requests handled, and those answered with an error, by its word. */
  requests: { handled: number; errors: ReadonlyMap<string, number> };
  /** What was refused, lost or let go, and how often somebody had to wait, by the name of the limit. */
  refusals: ReadonlyMap<string, number>;
  waits: ReadonlyMap<string, number>;
  /** Checkpoints at which a run's columns did not add up, and totals that a sample would have made smaller. */
  conservationViolations: number;
  decreasedTotals: number;
  checkpoints: { commits: number; failures: number; totalMs: number };
  /** Ended processes whose own line was lost because the database could not be written. */
  droppedExits: number;
  /** Live figures of running runs that were never sent. */
  droppedRollups: number;
  /** Limits that came to 80 % and to 100 %. */
  limitsTold: { warned: number; exceeded: number };
  /** Notifications that slow subscribers lost. */
  droppedNotifications: number;
  /** What waits to be delivered, by place. */
  sinks: readonly SinkFigures[];
  /** Series of runs and scopes in use, and those folded into `(other)`. */
  series: { used: number; dropped: number };
}

interface SelfFamily extends FamilyHeader {
  figures(state: AgentState): Figure[] | number | bigint | undefined;
}

const SOURCE_STATES = ['ok', 'fallback', 'unavailable', 'disabled'] as const;

function nvmlCalls(name: string, help: string, figure: (call: NvmlCall) => number): SelfFamily {
  return {
    name: `lezea_agent_nvml_${name}`,
    type: 'counter',
    labels: ['call'],
    help: `${help}, by function.`,
    figures: ({ nvml }) => nvml.calls.map((call) => ({ labels: { call: call.symbol }, value: figure(call) })),
  };
}

const FAMILIES: readonly SelfFamily[] = [
  {
    name: 'lezea_agent_build_info',
    type: 'info',
    labels: ['version', 'mode', 'node_version', 'arch'],
    help: 'Which program this is; the value is 1.',
    figures: ({ version, mode }) => [
      { labels: { version, mode, node_version: process.version, arch: process.arch }, value: 1 },
    ],
  },
  {
    name: 'lezea_agent_start_time_seconds',
    type: 'gauge',
    help: 'Start of the agent, seconds since 1970.',
    figures: (state) => state.startedAtMs / 1000,
  },
  {
    name: 'lezea_agent_cpu_seconds_total',
    type: 'counter',
    help: 'CPU time of the agent itself, all threads.',
    figures: ({ snapshot }) => (snapshot === undefined ? undefined : Number(snapshot.self.cpuNs) / 1e9),
  },
  {
    name: 'lezea_agent_resident_memory_bytes',
    type: 'gauge',
    help: 'Resident memory of the agent.',
    figures: ({ snapshot }) => snapshot?.self.rssBytes,
  },
  {
    name: 'lezea_agent_ticks_total',
    type: 'counter',
    help: 'Samples of the process tier taken.',
    figures: ({ snapshot }) => snapshot?.self.ticks,
  },
  {
    name: 'lezea_agent_tick_overruns_total',
    type: 'counter',
    help: 'Ticks that were missed because the one before took too long.',
    figures: ({ snapshot }) => snapshot?.self.overruns,
  },
  {
    name: 'lezea_agent_sampling_interval_seconds',
    type: 'gauge',
    help: 'Time from one sample of the process tier to the next; longer than configured while the agent is above its CPU budget.',
    figures: ({ snapshot }) => (snapshot === undefined ? undefined : snapshot.self.intervalMs / 1000),
  },
  {
    name: 'lezea_agent_configured_interval_seconds',
    type: 'gauge',
    help: 'Time from one sample of the process tier to the next as configured (sampling.interval_ms).',
    figures: ({ sampling }) => sampling.intervalMs / 1000,
  },
  {
    name: 'lezea_agent_cpu_budget_ratio',
    type: 'gauge',
    help: 'CPU that the agent may use, as a share of one core (sampling.cpu_budget_percent); absent where it has no budget.',
    figures: ({ sampling }) => (sampling.cpuBudgetRatio > 0 ? sampling.cpuBudgetRatio : undefined),
  },
  {
    name: 'lezea_agent_tick_duration_seconds',
    type: 'histogram',
    labels: ['le'],
    help: 'Time one sample of the process tier took.',
    figures: tickHistogram,
  },
  {
    name: 'lezea_agent_lost_records_total',
    type: 'counter',
    help: 'Scope announcements that were overwritten in their ring before they were read.',
    figures: ({ snapshot }) => snapshot?.lostRecords,
  },
  {
    name: 'lezea_agent_lost_exit_events_total',
    type: 'counter',
    help: 'Exit and fork events that the kernel dropped for want of room.',
    figures: ({ snapshot }) => snapshot?.lostExitEvents,
  },
  {
    name: 'lezea_agent_forged_records_total',
    type: 'counter',
    help: 'Ring records that were dropped because they could not be true.',
    figures: ({ snapshot }) => snapshot?.forgedRecords,
  },
  {
    name: 'lezea_agent_undefined_records_total',
    type: 'counter',
    help: 'Ring records whose scope was not defined in time; they count as unattributed.',
    figures: ({ snapshot }) => snapshot?.undefinedRecords,
  },
  {
    name: 'lezea_agent_cut_stamps_total',
    type: 'counter',
    help: 'CPU stamps that said more than the kernel allows and were cut.',
    figures: ({ snapshot }) => snapshot?.cutStamps,
  },
  {
    name: 'lezea_agent_rings_accepted_total',
    type: 'counter',
    help: 'Scope rings accepted.',
    figures: ({ snapshot }) => snapshot?.acceptedRings,
  },
  {
    name: 'lezea_agent_rings_refused_total',
    type: 'counter',
    help: 'Scope rings refused.',
    figures: ({ snapshot }) => snapshot?.refusedRings,
  },
  {
    name: 'lezea_agent_runs_live',
    type: 'gauge',
    help: 'Runs that have not ended.',
    figures: (state) => state.runsLive,
  },
  {
    name: 'lezea_agent_sessions',
    type: 'gauge',
    help: 'Open sessions.',
    figures: (state) => state.sessions,
  },
  {
    name: 'lezea_agent_connections',
    type: 'gauge',
    help: 'Open connections to the agent socket.',
    figures: (state) => state.connections,
  },
  {
    name: 'lezea_agent_refusals_total',
    type: 'counter',
    labels: ['limit'],
    help: 'What was refused, lost or let go because a limit of the socket was reached, by limit.',
    figures: ({ refusals }) => [...refusals].map(([limit, value]) => ({ labels: { limit }, value })),
  },
  {
    name: 'lezea_agent_waits_total',
    type: 'counter',
    labels: ['limit'],
    help: 'Times a connection was not read for a while because a limit of the socket was reached, by limit.',
    figures: ({ waits }) => [...waits].map(([limit, value]) => ({ labels: { limit }, value })),
  },
  {
    name: 'lezea_agent_requests_total',
    type: 'counter',
    help: 'Requests and notifications of clients.',
    figures: ({ requests }) => requests.handled,
  },
  {
    name: 'lezea_agent_request_errors_total',
    type: 'counter',
    labels: ['code'],
    help: 'Requests that were answered with an error, or would have been, by its word.',
    figures: ({ requests }) => [...requests.errors].map(([code, value]) => ({ labels: { code }, value })),
  },
  {
    name: 'lezea_agent_unidentified_connections_total',
    type: 'counter',
    help: 'Connections closed at once because the kernel could not say whose they are.',
    figures: (state) => state.unidentified,
  },
  {
    name: 'lezea_agent_dropped_notifications_total',
    type: 'counter',
    help: 'Notifications that slow subscribers lost.',
    figures: (state) => state.droppedNotifications,
  },
  {
    name: 'lezea_agent_source_success',
    type: 'gauge',
    labels: ['source'],
    help: 'Whether a data source works; 0 also where a fallback stands in. Disabled ones are left out.',
    figures: (state) =>
      state.sources
        .filter((source) => source.state !== 'disabled')
        .map(({ name, state: now }) => ({ labels: { source: name }, value: now === 'ok' ? 1 : 0 })),
  },
  {
    name: 'lezea_agent_source_state',
    type: 'gauge',
    labels: ['source', 'state'],
    help: 'State of a data source: 1 for the one it is in.',
    figures: (state) =>
      state.sources.flatMap(({ name, state: now }) =>
        SOURCE_STATES.map((each) => ({ labels: { source: name, state: each }, value: each === now ? 1 : 0 })),
      ),
  },
  {
    name: 'lezea_agent_nvml_stuck',
    type: 'gauge',
    help: 'Whether a call of NVML does not return: 1 while it does not. Absent without NVML.',
    figures: ({ nvml }) => (nvml.stuck === undefined ? undefined : Number(nvml.stuck)),
  },
  nvmlCalls('calls_total', 'Calls of NVML', ({ count }) => count),
  nvmlCalls('call_failures_total', 'Calls of NVML that were refused or failed', ({ failures }) => failures),
  nvmlCalls('late_calls_total', 'Calls of NVML that took longer than their deadline', ({ late }) => late),
  nvmlCalls('call_seconds_total', 'Time that calls of NVML took', ({ totalNs }) => totalNs / 1e9),
  {
    name: 'lezea_agent_conservation_violations_total',
    type: 'counter',
    help: 'Times the scopes of a run did not add up to its total at a checkpoint; anything but 0 is a defect.',
    figures: (state) => state.conservationViolations,
  },
  {
    name: 'lezea_agent_decreased_totals_total',
    type: 'counter',
    help: 'Times a sample said less than was already published, which was kept; anything but 0 is a defect.',
    figures: (state) => state.decreasedTotals,
  },
  {
    name: 'lezea_agent_checkpoints_total',
    type: 'counter',
    help: 'Checkpoints committed.',
    figures: (state) => state.checkpoints.commits,
  },
  {
    name: 'lezea_agent_checkpoint_failures_total',
    type: 'counter',
    help: 'Checkpoints that could not be committed; what they held goes with the next.',
    figures: (state) => state.checkpoints.failures,
  },
  {
    name: 'lezea_agent_checkpoint_seconds_total',
    type: 'counter',
    help: 'Time spent committing checkpoints.',
    figures: (state) => state.checkpoints.totalMs / 1000,
  },
  {
    name: 'lezea_agent_dropped_exits_total',
    type: 'counter',
    help: 'Ended processes whose own line was lost while the database could not be written; totals are not affected.',
    figures: (state) => state.droppedExits,
  },
  {
    name: 'lezea_agent_limit_events_total',
    type: 'counter',
    labels: ['event'],
    help: 'Limits of runs that came to 80 % (`limit_warning`) and to 100 % (`limit_exceeded`), one for each run that was told.',
    figures: ({ limitsTold: { warned, exceeded } }) => [
      { labels: { event: 'limit_warning' }, value: warned },
      { labels: { event: 'limit_exceeded' }, value: exceeded },
    ],
  },
  {
    name: 'lezea_agent_outbox_rollups_dropped_total',
    type: 'counter',
    help:
      'Live figures of running runs (tracker.rollups) that were never sent: more waited than are kept, or their place ' +
      'refused them for good. Totals are not affected.',
    figures: (state) => state.droppedRollups,
  },
  {
    name: 'lezea_agent_series',
    type: 'gauge',
    help: 'Series of runs and scopes in use, of metrics.max_series.',
    figures: (state) => state.series.used,
  },
  {
    name: 'lezea_agent_series_dropped_total',
    type: 'counter',
    help: 'Series of runs and scopes that were folded into (other) for want of room.',
    figures: (state) => state.series.dropped,
  },
];

/** The families, each asking for the state when it is collected. */
export function selfFamilies(state: () => AgentState): ConstFamily[] {
  return FAMILIES.map(({ figures, ...header }) => ({
    ...header,
    collect: () => {
      const now = figures(state());
      if (now === undefined) return [];
      return Array.isArray(now) ? now : [{ value: Number(now) }];
    },
  }));
}

function tickHistogram({ snapshot, tickBucketsNs }: AgentState): Figure[] | undefined {
  if (snapshot === undefined) return undefined;
  const { tickDurationNs: counts, tickDurationSumNs } = snapshot.self;
  const figures: Figure[] = tickBucketsNs.map((bound, i) => ({
    suffix: '_bucket',
    labels: { le: String(Number(bound) / 1e9) },
    value: Number(counts[i] ?? 0n),
  }));
  const all = Number(counts[tickBucketsNs.length] ?? 0n);
  figures.push({ suffix: '_bucket', labels: { le: '+Inf' }, value: all });
  figures.push({ suffix: '_sum', value: Number(tickDurationSumNs) / 1e9 });
  figures.push({ suffix: '_count', value: all });
  return figures;
}
