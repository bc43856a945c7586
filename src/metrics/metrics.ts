// The exposition: everything /metrics says, put together in one valid document. Owns the registry of the agent's own
// counters and the table of run and scope series.

import type { RunStore } from '../attribution/model.js';
import type { Config } from '../config/schema.js';
import type { GpuReport } from '../gpu/device.js';
import type { GpuBooks, NodeFigure } from '../native/addon.js';
import { type ExpositionFormat, ExpositionWriter } from './encoder.js';
import { type Shown, shownColumns } from './figures.js';
import { gpuBookFamilies } from './gpu-books.js';
import { gpuFamilies } from './gpus.js';
import { LezeaCompat } from './lezea-compat.js';
import { SERIES_PER_LIMIT, writeLimitFamilies } from './limits.js';
import { hashedNames, loadNameKey, PLAIN_NAMES } from './names.js';
import { nodeFamilies } from './node.js';
import { otherRunsFile } from './other-runs.js';
import { outboxFamilies } from './outbox.js';
import { AgentRegistry, type Histogram, writeFamily } from './registry.js';
import { seriesPerRun, writeRunFamilies } from './runs.js';
import { seriesPerGpu, seriesPerScope, writeScopeFamilies } from './scopes.js';
import { type AgentState, selfFamilies } from './self.js';
import { SeriesTable } from './series.js';

export interface MetricsDeps {
  /** The configuration in force; read anew where a key is applied without a restart. */
  config: () => Config;
  store: RunStore;
  /** Whether runs, scopes and experiments are shown under their names, else under a keyed hash. */
  showNames: boolean;
  /** The agent about itself; the figures of the series are filled in here. */
  state: () => Omit<AgentState, 'series'>;
  nodeFigures: () => readonly NodeFigure[];
  /** Undefined: nobody says anything of GPUs. */
  gpus: () => GpuReport | undefined;
  /** What became of what they spent; empty without any. */
  gpuBooks: () => readonly GpuBooks[];
  /** Wall clock, milliseconds since 1970. */
  now: () => number;
}

export const SCRAPE_SECONDS = {
  name: 'lezea_agent_scrape_seconds',
  help: 'Time the event loop was held to render the series of runs, scopes and node.',
  labels: [],
  buckets: [0.001, 0.003, 0.01, 0.03, 0.1, 0.3],
};

export class Metrics {
  /** For what other parts count themselves. */
  readonly registry = new AgentRegistry();
  readonly #deps: MetricsDeps;
  readonly #shown: readonly Shown[];
  readonly #options: { inclusive: boolean; created: boolean };
  readonly #table: SeriesTable;
  readonly #renderSeconds: Histogram;
  /** Null: not wanted. */
  readonly #lezea: LezeaCompat | null;
  #lastSize = 0;
  /** What the agent said of itself in this scrape: one answer serves all families. */
  #asked: AgentState | null = null;

  constructor(deps: MetricsDeps) {
    this.#deps = deps;
    const { metrics } = deps.config();
    this.#shown = shownColumns(metrics.columns);
    this.#lezea = metrics.lezea_compat ? new LezeaCompat() : null;
    this.#options = { inclusive: metrics.inclusive, created: metrics.created };
    this.#table = new SeriesTable(
      deps.store,
      this.#seriesOptions(),
      deps.now,
      otherRunsFile(deps.config().state.dir),
    );
    this.registry.add(selfFamilies(() => this.#state()));
    this.registry.add(outboxFamilies(() => this.#state().sinks));
    this.#renderSeconds = this.registry.histogram(SCRAPE_SECONDS);
  }

  /** The whole exposition of now. */
  async render(format: ExpositionFormat): Promise<Buffer> {
    const writer = new ExpositionWriter(format, this.#lastSize + 4096);
    const begun = performance.now();
    this.#table.sync();
    writeRunFamilies(writer, this.#table, this.#options);
    writeLimitFamilies(writer, this.#table);
    writeScopeFamilies(writer, this.#table, this.#options);
    for (const { header, figures } of nodeFamilies(this.#deps.nodeFigures()))
      writeFamily(writer, header, figures);
    const gpus = this.#deps.gpus();
    for (const { header, figures } of gpus ? gpuFamilies(gpus, this.#lezea !== null) : [])
      writeFamily(writer, header, figures);
    for (const { header, figures } of gpuBookFamilies(this.#deps.gpuBooks()))
      writeFamily(writer, header, figures);
    this.#renderSeconds.observe((performance.now() - begun) / 1000);
    this.#asked = null;
    if (this.#lezea) {
      const told = { node: this.#deps.nodeFigures(), sinks: this.#state().sinks, gpus: gpus?.devices ?? [] };
      for (const { header, figures } of await this.#lezea.families(told))
        writeFamily(writer, header, figures);
    }
    await this.registry.write(writer);
    const exposition = writer.finish();
    this.#lastSize = exposition.length;
    return exposition;
  }

  #state(): AgentState {
    this.#asked ??= { ...this.#deps.state(), series: this.#table.counts };
    return this.#asked;
  }

  #seriesOptions() {
    const { metrics, state } = this.#deps.config();
    return {
      shown: this.#shown,
      inclusive: metrics.inclusive,
      seriesPerScope: seriesPerScope(this.#shown, this.#options),
      seriesPerGpu: seriesPerGpu(this.#shown, this.#options),
      seriesPerLimit: SERIES_PER_LIMIT,
      seriesPerRun: seriesPerRun(this.#shown, this.#options),
      maxSeries: metrics.max_series,
      lingerMs: () => this.#deps.config().metrics.linger_seconds * 1000,
      names: this.#deps.showNames ? PLAIN_NAMES : hashedNames(loadNameKey(state.dir)),
    };
  }
}
