// The configuration: every key with its type, default, unit and meaning. docs/configuration.md, the environment
// names, `--set` and the error messages are all derived from this one schema. Reads nothing, owns nothing.

import { z } from 'zod';
import { COLUMN_LIST } from '../native/frame.js';

/** What a key says about itself, beside its zod type. */
export interface KeyMeta {
  /** One or two sentences for the reference. */
  description: string;
  /** Completes "expected …" in an error. */
  expects: string;
  /** Unit of a number; absent where there is none. */
  unit?: string;
  /** How the default is chosen, where it is not one constant. */
  defaultNote?: string;
  /** Whether SIGHUP applies a new value; otherwise it waits for a restart. */
  live: boolean;
}

/** What can be a family: every column, and the memory of now, which is none. */
const METRIC_NAMES = [...COLUMN_LIST.map((column) => column.name), 'memory_bytes'] as const;
const DEFAULT_METRICS = [
  ...COLUMN_LIST.filter((column) => column.defaultMetric).map((column) => column.name),
  'memory_peak_bytes' as const,
  'memory_bytes' as const,
];

/** Environment variables of LeZeA's cost model, by key of section `cost`; their prices are in EUR. */
export const RATE_VARIABLES = {
  gpu_per_hour: 'GPU_RATE_EUR_PER_HOUR',
  cpu_per_core_hour: 'CPU_RATE_EUR_PER_CORE_HOUR',
  ram_per_gb_hour: 'RAM_RATE_EUR_PER_GB_HOUR',
  io_per_gb: 'IO_RATE_EUR_PER_GB',
  egress_per_gb: 'EGRESS_RATE_EUR_PER_GB',
  storage_per_gb_month: 'STORAGE_RATE_EUR_PER_GB_MONTH',
  gpu_memory_per_gb_hour: 'GPU_MEM_RATE_EUR_PER_GB_HOUR',
} as const;

function key<T extends z.ZodType>(type: T, fallback: z.output<T>, meta: KeyMeta) {
  return type.default(fallback as never).meta({ ...meta });
}

function wholeNumber(range: { min: number; max: number; fallback: number }, meta: Omit<KeyMeta, 'expects'>) {
  const expects = `a whole number from ${range.min} to ${range.max}`;
  return key(z.int().min(range.min).max(range.max), range.fallback, { ...meta, expects });
}

function flag(fallback: boolean, meta: Omit<KeyMeta, 'expects'>) {
  return key(z.boolean(), fallback, { ...meta, expects: 'true or false' });
}

/** `missing`: which keys the others ask for. */
function section<T extends z.ZodRawShape>(
  description: string,
  shape: T,
  missing?: (values: z.output<z.ZodObject<T>>) => string[],
) {
  return z
    .strictObject(shape)
    .superRefine((values, { addIssue }) => {
      for (const name of missing?.(values) ?? []) addIssue({ code: 'custom', path: [name] });
    })
    .prefault({} as never)
    .meta({ description });
}

function source(description: string) {
  return section(description, {
    enabled: flag(true, { description: 'Whether this source is tried at all.', live: false }),
  });
}

/** `HOST:PORT`, with an IPv6 host in brackets. */
export const LISTEN_PATTERN = /^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):(\d{1,5})$/;

const absolutePath = z
  .string()
  .regex(/^\/[^\0]*$/)
  .nullable();
const hostName = z
  .string()
  .regex(/^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$/)
  .transform((name) => name.toLowerCase());
const listenAddress = z
  .string()
  .regex(LISTEN_PATTERN)
  .refine((text) => Number(LISTEN_PATTERN.exec(text)?.[2]) <= 65535);

const agent = section('The agent itself.', {
  mode: key(z.enum(['auto', 'user', 'system']), 'auto', {
    description:
      'Whose agent this is. `user`: one account, no privileges. `system`: the whole machine, names of other users ' +
      'protected. `auto`: `system` for root and for the systemd unit (RUNTIME_DIRECTORY is /run/lezea-monitor), else `user`.',
    expects: 'auto, user or system',
    live: false,
  }),
});

const socket = section('The Unix socket that clients speak to; the ring socket lies beside it.', {
  path: key(absolutePath, null, {
    description: 'Path of the agent socket.',
    expects: 'an absolute path',
    defaultNote:
      'system mode: `/run/lezea-monitor/agent.sock`; user mode: `$XDG_RUNTIME_DIR/lezea-monitor/agent.sock`, ' +
      'else `lezea-monitor-UID/agent.sock` in the folder for temporary files',
    live: false,
  }),
});

const http = section('The HTTP server: /metrics, health and the read-only JSON API.', {
  enabled: flag(true, { description: 'Whether the agent listens for HTTP at all.', live: false }),
  listen: key(listenAddress, '127.0.0.1:10470', {
    description: 'Address to listen on; port 0 takes a free one. IPv6 hosts go in brackets.',
    expects: 'HOST:PORT with a port from 0 to 65535',
    live: false,
  }),
  allowed_hosts: key(z.array(hostName).max(64), [], {
    description:
      'Host names, beside `localhost` and IP addresses, under which the server may be asked for; ' +
      'anything else in a Host or Origin header is refused (DNS rebinding).',
    expects: 'a list of host names without port',
    live: true,
  }),
  expose_run_names: flag(false, {
    description:
      'In system mode, show the names of runs, scopes and experiments over TCP to whoever asks; otherwise, unless ' +
      '`http.web_config_file` says who may ask, they become a keyed hash and /api/v1/runs answers 403. User mode always ' +
      'shows them.',
    live: false,
  }),
  web_config_file: key(absolutePath, null, {
    description:
      'TLS, users and client certificates of the HTTP server: a web configuration file as Prometheus exporters have it ' +
      '(docs/http.md). Certificates, users and limits in it are read again when it changes.',
    expects: 'an absolute path',
    live: false,
  }),
});

const state = section('What survives a restart.', {
  dir: key(absolutePath, null, {
    description: 'Folder of the database and of the documents of runs.',
    expects: 'an absolute path',
    defaultNote:
      'system mode: `/var/lib/lezea-monitor`; user mode: `$XDG_STATE_HOME/lezea-monitor`, else `~/.local/state/lezea-monitor`',
    live: false,
  }),
  retention_days: wholeNumber(
    { min: 1, max: 36_500, fallback: 90 },
    {
      description:
        'How long the figures and documents of ended runs are kept. What is not delivered is kept for ever.',
      unit: 'days',
      live: true,
    },
  ),
  max_bytes: wholeNumber(
    { min: 1_000_000, max: 1_000_000_000_000_000, fallback: 5_000_000_000 },
    {
      description:
        'Most that is kept of ended runs, in equal shares of the users that have some. Past its share a user loses its ' +
        'oldest runs, but nothing that is not delivered; where that alone is more, its new runs are refused.',
      unit: 'bytes',
      live: true,
    },
  ),
});

const sampling = section('How often and from where the kernel is read.', {
  interval_ms: wholeNumber(
    { min: 10, max: 60_000, fallback: 100 },
    {
      description: 'Period of the process tier: every process of a run is read once.',
      unit: 'milliseconds',
      live: false,
    },
  ),
  cpu_budget_percent: key(z.number().min(0).max(100), 0.5, {
    description:
      'CPU that the agent may use, as a share of one core. Above it processes are sampled less often, down to once a ' +
      'second (`lezea_agent_sampling_interval_seconds`); 0 never does that, nor does an agent without process events, which ' +
      'finds children by scanning.',
    expects: 'a number from 0 to 100',
    unit: 'percent',
    live: false,
  }),
  node_interval_ms: wholeNumber(
    { min: 100, max: 600_000, fallback: 1000 },
    { description: 'Period of the node figures (`lezea_node_*`).', unit: 'milliseconds', live: false },
  ),
  sources: section(
    'Data sources. Each is probed at start; one that is missing is replaced by its fallback.',
    {
      taskstats: source(
        'taskstats: exit records and exact figures of short-lived processes (CAP_NET_ADMIN).',
      ),
      cn_proc: source(
        'Process connector: fork, exec and exit events; without it the process table is scanned.',
      ),
      cgroup: source('cgroup v2 files of a cgroup that holds a run alone.'),
      smaps: source('smaps_rollup: proportional memory; without it resident memory is counted.'),
      pidfd_info: source('pidfd information: how a process ended.'),
      rapl: source('RAPL counters (powercap): energy of the CPU; without them it is not known.'),
    },
  ),
});

const checkpoint = section('Saving of the totals.', {
  interval_ms: wholeNumber(
    { min: 100, max: 60_000, fallback: 1000 },
    {
      description:
        'How often the totals and the kernel counters they correspond to are stored, in one transaction.',
      unit: 'milliseconds',
      live: false,
    },
  ),
});

const metrics = section('What /metrics shows of runs and scopes.', {
  columns: key(z.array(z.enum(METRIC_NAMES)).max(64), DEFAULT_METRICS, {
    description: 'Columns that become `lezea_scope_*` and `lezea_run_*` families.',
    expects: `a list of: ${METRIC_NAMES.join(', ')}`,
    live: false,
  }),
  inclusive: flag(false, {
    description: 'Add `lezea_scope_inclusive_*`: each scope with everything below it.',
    live: false,
  }),
  created: flag(false, {
    description: 'Add `_created` series (OpenMetrics only); doubles the number of counter series.',
    live: false,
  }),
  lezea_compat: flag(false, {
    description:
      'Add the families of the node that LeZeA’s alert rules read, by its names: `lezea_cpu_utilization_percent`, ' +
      '`lezea_memory_*`, `lezea_disk_*`, `lezea_network_*`, `lezea_service_up`.',
    live: false,
  }),
  linger_seconds: wholeNumber(
    { min: 0, max: 86_400, fallback: 300 },
    { description: 'How long the series of an ended run stay.', unit: 'seconds', live: true },
  ),
  max_series: wholeNumber(
    { min: 100, max: 1_000_000, fallback: 10_000 },
    {
      description:
        'Most series of runs and scopes. What is admitted stays until its run goes; further scopes are summed into ' +
        '`scope="(other)"`, further runs into `run="(other)"`.',
      unit: 'series',
      live: false,
    },
  ),
});

const runs = section('The life of runs.', {
  unbound_timeout_seconds: wholeNumber(
    { min: 1, max: 86_400, fallback: 300 },
    {
      description: 'How long a run may exist without any process before it is ended as LOST.',
      unit: 'seconds',
      live: true,
    },
  ),
});

const httpUrl = z
  .string()
  .max(2048)
  .regex(/^https?:\/\/[^\s/?#@]+(\/[^\s?#]*)?$/)
  .refine((text) => URL.canParse(text));

const tracker = section('Delivery of the totals of ended runs to an MLflow server.', {
  mode: key(z.enum(['online', 'offline']), 'online', {
    description:
      '`offline`: nothing is sent and no connection is made; totals wait in the outbox, for `lezea-monitor outbox export`.',
    expects: 'online or offline',
    live: false,
  }),
  addresses: key(z.array(httpUrl).max(64), [], {
    description:
      'Addresses of MLflow servers that the agent may send to. In system mode it sends to no other: what a program asks ' +
      'to be sent elsewhere waits for the program itself to send it. In user mode every address is fine.',
    expects: 'a list of http:// or https:// addresses without user, password and query',
    live: true,
  }),
  username: key(z.string().max(256).nullable(), null, {
    description: 'User for basic authentication.',
    expects: 'a user name',
    defaultNote: '`MLFLOW_TRACKING_USERNAME` of the agent',
    live: false,
  }),
  password_file: key(absolutePath, null, {
    description: 'File with the password for basic authentication, read at the start.',
    expects: 'an absolute path',
    defaultNote: '`MLFLOW_TRACKING_PASSWORD` of the agent is the password',
    live: false,
  }),
  token_file: key(absolutePath, null, {
    description: 'File with a bearer token, read at the start; used where there is no user.',
    expects: 'an absolute path',
    defaultNote: '`MLFLOW_TRACKING_TOKEN` of the agent is the token',
    live: false,
  }),
  ca_file: key(absolutePath, null, {
    description:
      'Certificates of the authorities that may sign those of servers (PEM), in the place of the ones that Node.js knows.',
    expects: 'an absolute path',
    defaultNote: '`MLFLOW_TRACKING_SERVER_CERT_PATH` of the agent',
    live: false,
  }),
  insecure_tls: flag(false, {
    description: 'Do not check the certificates of servers.',
    live: false,
  }),
  timeout_seconds: wholeNumber(
    { min: 1, max: 600, fallback: 60 },
    { description: 'Longest time that one request may take.', unit: 'seconds', live: false },
  ),
  retry_first_ms: wholeNumber(
    { min: 10, max: 600_000, fallback: 1000 },
    {
      description: 'Wait after the first failure at a server; it doubles with every failure that follows.',
      unit: 'milliseconds',
      live: false,
    },
  ),
  retry_most_ms: wholeNumber(
    { min: 10, max: 86_400_000, fallback: 300_000 },
    {
      description:
        'Longest wait between two tries, whatever a server asks for. Where it does not let the agent in (401, 403), ' +
        'twice as long. Tries never end.',
      unit: 'milliseconds',
      live: false,
    },
  ),
  close_dead_runs: flag(true, {
    description:
      'Give an MLflow run that is still RUNNING its end where no process of the run is left: FINISHED, FAILED or KILLED.',
    live: false,
  }),
  rollups: section('What running runs have used so far, as `system/NODE/…` at their MLflow runs.', {
    enabled: flag(false, {
      description: 'Whether such figures are sent, where the agent may write to a run that the program has.',
      live: false,
    }),
    interval_seconds: wholeNumber(
      { min: 1, max: 86_400, fallback: 60 },
      { description: 'How often.', unit: 'seconds', live: false },
    ),
    keep: wholeNumber(
      { min: 1, max: 10_000, fallback: 60 },
      {
        description:
          'How many of one run may wait for a server that is down, 10000 of all runs together; the oldest are dropped ' +
          '(`lezea_agent_outbox_rollups_dropped_total`).',
        live: false,
      },
    ),
  }),
});

const webhook = section(
  'Delivery of the totals of every ended run to a web address, as signed JSON Lines (docs/delivery.md).',
  {
    enabled: flag(false, {
      description: 'Whether every run of the node goes there, whatever tracker it has.',
      live: false,
    }),
    url: key(httpUrl.nullable(), null, {
      description: 'Where to. It is shown to users and on /metrics: nothing in it is secret.',
      expects:
        'an http:// or https:// address without user, password and query; where webhook.enabled is true there is one',
      defaultNote: 'none',
      live: false,
    }),
    secret_file: key(absolutePath, null, {
      description:
        'File with the key that requests are signed with (HMAC-SHA256), read at the start: at least 24 bytes, or base64 of ' +
        'them after `whsec_`.',
      expects: 'an absolute path; where webhook.enabled is true there is one',
      defaultNote: 'none',
      live: false,
    }),
    ca_file: key(absolutePath, null, {
      description: 'Certificates, instead of those of Node.js, that the server may be signed by (PEM).',
      expects: 'an absolute path',
      defaultNote: 'none',
      live: false,
    }),
    timeout_seconds: wholeNumber(
      { min: 1, max: 600, fallback: 60 },
      {
        description:
          'Longest time that one request may take. Waits between tries are those of `tracker`, and so is `tracker.mode`.',
        unit: 'seconds',
        live: false,
      },
    ),
  },
  ({ enabled, url, secret_file }) => [
    ...(enabled && url === null ? ['url'] : []),
    ...(enabled && secret_file === null ? ['secret_file'] : []),
  ],
);

/** A price; the environment variable is LeZeA's. */
function rate(of: string, variable?: string) {
  return key(
    z
      .number()
      .min(0)
      .max(1_000_000)
      .refine((value) => Math.round(value * 1e9) / 1e9 === value)
      .nullable(),
    null,
    {
      description: `Price of ${of}.`,
      expects: 'a number from 0 to 1000000 with at most 9 decimals',
      defaultNote:
        variable === undefined ? 'none' : `\`${variable}\` of the agent, where the currency is EUR`,
      live: true,
    },
  );
}

const cost = section(
  'What things cost. Where anything that a run uses has a price, the run has a document of its cost ' +
    '(`business/cost_analysis_summary.json`, docs/schemas/cost.json), with the rates as they are when it ends. GB is 10⁹ bytes. ' +
    'What is not measured is named there as unpriced: network and storage in this version, GPUs and energy where nothing tells of them.',
  {
    currency: key(z.string().regex(/^[A-Z]{3}$/), 'EUR', {
      description: 'What the prices are in.',
      expects: 'three capital letters (ISO 4217)',
      live: true,
    }),
    gpu_per_hour: rate('an hour of a busy GPU', RATE_VARIABLES.gpu_per_hour),
    cpu_per_core_hour: rate('an hour of a busy core', RATE_VARIABLES.cpu_per_core_hour),
    ram_per_gb_hour: rate('a GB of memory for an hour', RATE_VARIABLES.ram_per_gb_hour),
    io_per_gb: rate('a GB read from or written to storage', RATE_VARIABLES.io_per_gb),
    egress_per_gb: rate('a GB sent', RATE_VARIABLES.egress_per_gb),
    storage_per_gb_month: rate('a GB kept for a month', RATE_VARIABLES.storage_per_gb_month),
    gpu_memory_per_gb_hour: rate('a GB of GPU memory for an hour', RATE_VARIABLES.gpu_memory_per_gb_hour),
    energy_per_kwh: rate('a kWh'),
    gpu_basis: key(z.enum(['active', 'allocated']), 'active', {
      description:
        'What of a GPU is paid for: time in which it worked for the run, or in which the run held it.',
      expects: 'active or allocated',
      live: true,
    }),
  },
);

const log = section('The log: one JSON object a line, on standard error.', {
  level: key(z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']), 'info', {
    description: 'Lowest level that is written.',
    expects: 'trace, debug, info, warn, error, fatal or silent',
    live: true,
  }),
});

const gpu = section('GPUs of this node.', {
  nvml: flag(true, {
    description: 'Read the GPUs by NVML, the library of the NVIDIA driver, on a thread of its own.',
    live: false,
  }),
  nvml_library: key(z.string().min(1).max(4096), 'libnvidia-ml.so.1', {
    description: 'Name or path of NVML.',
    expects: 'a name or a path',
    live: false,
  }),
  nvml_disabled_symbols: key(z.array(z.string().regex(/^nvml\w{1,80}$/)).max(64), [], {
    description: 'Functions of NVML that are not called, where one of them harms.',
    expects: 'a list of names such as nvmlDeviceGetProcessUtilization',
    live: false,
  }),
  nvidia_smi: flag(true, {
    description:
      'Where there is no NVML, ask `nvidia-smi` what the GPUs are and do, at most once a minute, while ' +
      '`/metrics`, `doctor`, `status` or `inventory` asks. `lezea_gpu_info` says `source="nvidia_smi"`. ' +
      'Where there is NVML, `doctor` alone asks it, to compare both.',
    live: false,
  }),
  nvidia_smi_path: key(absolutePath, null, {
    description: 'The `nvidia-smi` to ask.',
    expects: 'an absolute path',
    defaultNote: 'the first of /usr/sbin, /usr/bin, /sbin, /bin',
    live: false,
  }),
});

export const configSchema = z.strictObject({
  agent,
  socket,
  http,
  state,
  sampling,
  checkpoint,
  metrics,
  runs,
  tracker,
  webhook,
  gpu,
  cost,
  operators: key(z.array(z.int().min(0).max(4_294_967_294)).max(64), [], {
    description: "User ids that, like root, may see and end every owner's runs.",
    expects: 'a list of numeric user ids',
    live: true,
  }),
  log,
});

/** The schema's own output: paths may still be null and the mode `auto`. */
export type RawConfig = z.output<typeof configSchema>;

/** The configuration in force: the mode is decided and every path is known. */
export type Config = Omit<RawConfig, 'agent' | 'socket' | 'state'> & {
  agent: Omit<RawConfig['agent'], 'mode'> & { mode: 'user' | 'system' };
  socket: Omit<RawConfig['socket'], 'path'> & { path: string };
  state: Omit<RawConfig['state'], 'dir'> & { dir: string };
};
