// docs/metrics.md, made from the families so that it can never say something else. Pure.

import { COLUMN_LIST } from '../native/frame.js';
import type { FamilyHeader } from './encoder.js';
import { shownColumns } from './figures.js';
import { GPU_BOOK_FAMILIES } from './gpu-books.js';
import { GPU_FAMILIES } from './gpus.js';
import { LEZEA_FAMILIES } from './lezea-compat.js';
import { LIMIT_FAMILIES } from './limits.js';
import { SCRAPE_SECONDS } from './metrics.js';
import { NODE_GROUPS, NODE_PREFIX } from './node.js';
import { outboxFamilies } from './outbox.js';
import { runFamilies } from './runs.js';
import { scopeFamilies } from './scopes.js';
import { selfFamilies } from './self.js';

/** The whole document, Markdown. `counted`: families that other parts count, such as the HTTP server. */
export function describeMetrics(counted: readonly FamilyHeader[]): string {
  const shown = shownColumns([...COLUMN_LIST.map((column) => column.name), 'memory_bytes']);
  const scopes = scopeFamilies(shown, true);
  const node = NODE_GROUPS.map(({ shownAs, ...group }) => ({ ...group, name: NODE_PREFIX + shownAs }));
  const scrape: FamilyHeader = { ...SCRAPE_SECONDS, type: 'histogram' };
  const agent = [...selfFamilies(neverAsked), ...outboxFamilies(neverAsked), scrape, ...counted];
  return `${[
    INTRODUCTION,
    '## Scopes',
    SCOPES,
    table(scopes),
    '## Runs',
    RUNS,
    table([...runFamilies(shown), ...LIMIT_FAMILIES]),
    '## Node',
    NODE,
    table(node),
    '## GPUs',
    GPUS,
    table([...GPU_FAMILIES, ...GPU_BOOK_FAMILIES]),
    '## LeZeA’s names',
    LEZEA,
    table(LEZEA_FAMILIES),
    '## Agent',
    table(agent),
  ].join('\n\n')}\n`;
}

function neverAsked(): never {
  throw new Error('the reference has no figures');
}

const INTRODUCTION = `# Metrics

Generated from \`src/metrics\` by \`npm run docs\`; do not edit.

\`GET /metrics\` answers in the Prometheus text format 0.0.4, or in OpenMetrics 1.0 where \`Accept\` asks for it, compressed
where \`Accept-Encoding\` takes gzip. Names are those of the text format. Counters never go back while the run's series
last, also over a restart of the agent. What is not known has no series; nothing is ever NaN.`;

const SCOPES = `Labels: \`run\`, \`level\` and \`scope\` (the path). \`scope="unattributed"\` is what the run spent while no scope was
active; the sum of a self family over all scopes of a run is the run's total, exactly. Inclusive families
(\`metrics.inclusive\`) must not be summed. \`metrics.columns\` chooses the columns; the default is CPU, storage bytes,
memory, energy and GPUs. The families of GPUs (\`lezea_scope_gpu_…\`) have the label \`gpu\` too, the UUID, one series for each that the
scope used; \`gpu="(other)"\` is what found no room. With \`metrics.created\`, counters of runs and scopes have \`_created\` series in OpenMetrics.

Series are capped (\`metrics.max_series\`). Past the cap further scopes are summed into \`scope="(other)"\` and further runs
into \`run="(other)"\`; what was shown stays, what was summed does not come out again. Of two owners' runs of one id the
later one's label ends in \`~\` and its user id. In system mode names are keyed hashes unless
\`http.web_config_file\` says who may ask, or \`http.expose_run_names\`.`;

const RUNS = `Label: \`run\`. An ended run stays for \`metrics.linger_seconds\`. Counters are over all attempts of a run.
Limits (docs/limits.md) have \`scope\`, \`level\` or \`experiment\` where they are of one; past the cap further ones are not shown.`;

const LEZEA = `With \`metrics.lezea_compat\`: what LeZeA’s alert rules and dashboards read of the node. Three of its families of GPUs are
ours ([above](#gpus): \`lezea_gpu_memory_used_bytes\`, \`lezea_gpu_memory_total_bytes\`, \`lezea_gpu_temperature_celsius\`): those of ours that are
gauges have its labels \`gpu_id\` (the UUID) and \`gpu_name\` then. File systems are those on disks of the machine, not the network’s, FUSE’s or virtual ones.`;

const NODE = `What the machine does as a whole, named as Prometheus's node_exporter names it after the prefix.`;

const GPUS = `What the GPUs of the node do as a whole, as NVML says it (\`gpu.nvml\`): read once a second on a thread of its own; nothing is shown while a
call of the driver does not return. Where there is no NVML it is \`nvidia-smi\` that is asked (\`gpu.nvidia_smi\`), while \`/metrics\` is read, at most once a
minute: an answer of more than three minutes ago is none, so scrape more often than that.

A reading is seven calls of NVML a GPU, and three lists of processes every five seconds; what is not supported is asked once. From Hopper on two more
calls sample the hardware’s own counters (GPM) and compare them with the sample before: those ratios are means since that, and absent for the first
second. MIG instances have their memory, and with GPM the ratios, their \`lezea_gpu_utilization_ratio\` among them; those that share their GPU instance
with another compute instance have no ratios, since its counters are of both. A GPU that is cut into instances has no ratios of its own.`;

function table(families: readonly FamilyHeader[]): string {
  const rows = families.map(({ name, type, labels, help }) => {
    const names = (labels ?? []).map((label) => `\`${label}\``).join(', ');
    return `| \`${name}\` | ${type} | ${names} | ${help.replaceAll('|', '\\|')} |`;
  });
  return ['| family | type | labels | meaning |', '|---|---|---|---|', ...rows].join('\n');
}
