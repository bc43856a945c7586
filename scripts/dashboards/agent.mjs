// The agents themselves: what they cost, what they lost, what they refused, how their sources and places do.

import { dashboard, panel, variable, words } from './grafana.mjs';

const AGENT = 'instance=~"$instance"';
const rate = (family) => `rate(${family}{${AGENT}}[$__rate_interval])`;
const quantile = (of, family) =>
  `histogram_quantile(${of}, sum by (instance, le) (rate(${family}_bucket{${AGENT}}[$__rate_interval])))`;
const perSecond = (families) => families.map(([family, what]) => [rate(family), `{{instance}} ${what}`]);

const cost = [
  panel('CPU of the agent', {
    unit: 'percentunit',
    description: 'Share of one core that the agent uses, all threads, and its budget.',
    queries: [
      [rate('lezea_agent_cpu_seconds_total'), '{{instance}}'],
      [`max(lezea_agent_cpu_budget_ratio{${AGENT}})`, 'budget'],
    ],
  }),
  panel('Resident memory', {
    unit: 'bytes',
    description: 'Resident memory of the agent.',
    queries: [[`lezea_agent_resident_memory_bytes{${AGENT}}`, '{{instance}}']],
  }),
  panel('Version', {
    type: 'table',
    unit: 'none',
    description: 'Which program each agent is.',
    queries: [[`lezea_agent_build_info{${AGENT}}`, '{{version}} {{mode}}']],
  }),
  panel('Time of a sample', {
    unit: 's',
    description: 'Median and 99th percentile of the time that one sample of the process tier takes.',
    queries: [
      [quantile(0.5, 'lezea_agent_tick_duration_seconds'), '{{instance}} p50'],
      [quantile(0.99, 'lezea_agent_tick_duration_seconds'), '{{instance}} p99'],
    ],
  }),
  panel('Time between samples', {
    unit: 's',
    description: 'As it is and as configured: it is longer while the agent is above its CPU budget.',
    queries: [
      [`lezea_agent_sampling_interval_seconds{${AGENT}}`, '{{instance}}'],
      [`lezea_agent_configured_interval_seconds{${AGENT}}`, '{{instance}} configured'],
    ],
  }),
  panel('Samples', {
    unit: 'cps',
    description: 'Samples taken, and those that were missed. None are taken while no run has a process.',
    queries: perSecond([
      ['lezea_agent_ticks_total', 'taken'],
      ['lezea_agent_tick_overruns_total', 'missed'],
    ]),
  }),
];

const numbers = [
  panel('Defects', {
    type: 'stat',
    width: 6,
    unit: 'none',
    description:
      'Sums that did not hold and totals that would have decreased, since the agents began. Anything but 0 is a defect.',
    queries: [
      [`sum(lezea_agent_conservation_violations_total{${AGENT}})`, 'sums'],
      [`sum(lezea_agent_decreased_totals_total{${AGENT}})`, 'decreases'],
    ],
  }),
  panel('Sources', {
    type: 'table',
    unit: 'none',
    width: 18,
    mappings: words('no', 'works'),
    description:
      'Which data sources work; where one does not, a fallback stands in or its columns are absent.',
    queries: [[`lezea_agent_source_success{${AGENT}}`, '{{source}}']],
  }),
  panel('Lost', {
    unit: 'cps',
    description:
      'Exit and fork events that the kernel dropped, records that were overwritten before they were read, lines of ended processes.',
    queries: perSecond([
      ['lezea_agent_lost_exit_events_total', 'events'],
      ['lezea_agent_lost_records_total', 'records'],
      ['lezea_agent_dropped_exits_total', 'lines'],
    ]),
  }),
  panel('Doubtful records', {
    unit: 'cps',
    description:
      'Ring records that could not be true, whose scope was not defined in time, or whose CPU stamp was cut.',
    queries: perSecond([
      ['lezea_agent_forged_records_total', 'forged'],
      ['lezea_agent_undefined_records_total', 'undefined'],
      ['lezea_agent_cut_stamps_total', 'cut'],
    ]),
  }),
  panel('Series', {
    unit: 'none',
    description: 'Series of runs and scopes in use, and those folded into (other) for want of room.',
    queries: [
      [`lezea_agent_series{${AGENT}}`, '{{instance}} in use'],
      [`lezea_agent_series_dropped_total{${AGENT}}`, '{{instance}} folded'],
    ],
  }),
];

const clients = [
  panel('Clients', {
    unit: 'none',
    description: 'Live runs, open sessions, open connections.',
    queries: [
      [`lezea_agent_runs_live{${AGENT}}`, '{{instance}} runs'],
      [`lezea_agent_sessions{${AGENT}}`, '{{instance}} sessions'],
      [`lezea_agent_connections{${AGENT}}`, '{{instance}} connections'],
    ],
  }),
  panel('Requests', {
    unit: 'reqps',
    description: 'Requests and notifications of clients, and those answered with an error, by its word.',
    queries: [
      [rate('lezea_agent_requests_total'), '{{instance}}'],
      [rate('lezea_agent_request_errors_total'), '{{instance}} {{code}}'],
    ],
  }),
  panel('Limits reached', {
    unit: 'cps',
    description:
      'What was refused, lost or let go, and how often somebody had to wait, by the limit of the socket.',
    queries: [
      [rate('lezea_agent_refusals_total'), '{{instance}} {{limit}}'],
      [rate('lezea_agent_waits_total'), '{{instance}} waits: {{limit}}'],
    ],
  }),
  panel('Rings', {
    unit: 'cps',
    description: 'Scope rings accepted and refused.',
    queries: perSecond([
      ['lezea_agent_rings_accepted_total', 'accepted'],
      ['lezea_agent_rings_refused_total', 'refused'],
    ]),
  }),
  panel('HTTP', {
    unit: 'reqps',
    description: 'Answers by status code, and refusals by reason.',
    queries: [
      [rate('lezea_agent_http_responses_total'), '{{instance}} {{code}}'],
      [rate('lezea_agent_http_refusals_total'), '{{instance}} {{reason}}'],
    ],
  }),
  panel('Time of a scrape', {
    unit: 's',
    description: '99th percentile of the time for which the event loop is held to render the series.',
    queries: [[quantile(0.99, 'lezea_agent_scrape_seconds'), '{{instance}}']],
  }),
];

const state = [
  panel('Checkpoints', {
    unit: 'cps',
    description: 'Checkpoints saved and failed. None are due while nothing changes.',
    queries: perSecond([
      ['lezea_agent_checkpoints_total', 'saved'],
      ['lezea_agent_checkpoint_failures_total', 'failed'],
    ]),
  }),
  panel('Time of a checkpoint', {
    unit: 's',
    description: 'Mean time that saving the totals takes.',
    queries: [
      [
        `${rate('lezea_agent_checkpoint_seconds_total')} / (${rate('lezea_agent_checkpoints_total')} > 0)`,
        '{{instance}}',
      ],
    ],
  }),
  panel('Limits of runs told', {
    unit: 'cps',
    description: 'Limits that came to 80 % and to 100 %.',
    queries: [[rate('lezea_agent_limit_events_total'), '{{instance}} {{event}}']],
  }),
  panel('Outbox', {
    unit: 'none',
    stacked: true,
    description: 'Undelivered items by place, and by whom they wait for.',
    queries: [[`lezea_agent_outbox_items{${AGENT}}`, '{{instance}} {{sink}} {{waits_for}}']],
  }),
  panel('Oldest delivery', {
    unit: 's',
    description: 'Age of the oldest delivery that is not done.',
    queries: [[`lezea_agent_outbox_oldest_age_seconds{${AGENT}}`, '{{instance}} {{sink}}']],
  }),
  panel('Places', {
    unit: 'none',
    description: 'Requests that failed one after the other; a place that does not let the agent in (1).',
    queries: [
      [`lezea_agent_sink_consecutive_failures{${AGENT}}`, '{{instance}} {{sink}} failures'],
      [`lezea_agent_sink_refused{${AGENT}}`, '{{instance}} {{sink}} refuses'],
    ],
  }),
];

const nvml = [
  panel('NVML', {
    type: 'stat',
    width: 4,
    unit: 'none',
    mappings: words('answers', 'stuck'),
    description: 'Whether a call of NVML does not return.',
    queries: [[`max(lezea_agent_nvml_stuck{${AGENT}})`, 'NVML']],
  }),
  panel('Calls of NVML', {
    unit: 'cps',
    width: 10,
    description: 'Calls a second, by function.',
    queries: [[`sum by (call) (${rate('lezea_agent_nvml_calls_total')})`, '{{call}}']],
  }),
  panel('Time of a call', {
    unit: 's',
    width: 10,
    description: 'Mean time that a call takes, by function.',
    queries: [
      [
        `sum by (call) (${rate('lezea_agent_nvml_call_seconds_total')}) / (sum by (call) (${rate('lezea_agent_nvml_calls_total')}) > 0)`,
        '{{call}}',
      ],
    ],
  }),
  panel('Failed and late calls', {
    unit: 'cps',
    width: 24,
    description: 'Calls that were refused or failed, and calls that took longer than their deadline.',
    queries: [
      [`sum by (call) (${rate('lezea_agent_nvml_call_failures_total')})`, '{{call}} failed'],
      [`sum by (call) (${rate('lezea_agent_nvml_late_calls_total')})`, '{{call}} late'],
    ],
  }),
];

export const agent = dashboard({
  uid: 'lezea-agent',
  title: 'lezea-monitor: agents',
  description: 'The agents themselves: what they cost, what they lost, how their sources and places do.',
  variables: [
    variable('instance', 'Node', 'label_values(lezea_agent_build_info, instance)', { several: true }),
  ],
  rows: {
    Cost: cost,
    'Whether the numbers are right': numbers,
    Clients: clients,
    'State and delivery': state,
    GPUs: nvml,
  },
});
