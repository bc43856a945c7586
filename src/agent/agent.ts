// The agent put together: state, sampler, attribution, socket, HTTP, documents. Owns the order in which they start and
// stop; every part is handed what it needs, none finds another by itself.

import { mkdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Attribution } from '../attribution/attribution.js';
import type { Config } from '../config/schema.js';
import type { Deliveries } from '../delivery/deliveries.js';
import type { Rollups } from '../delivery/rollups.js';
import { LezeaError, messageOf } from '../errors.js';
import { writeAtomically } from '../files/atomic.js';
import { priceOf } from '../files/cost.js';
import { nodeFacts } from '../files/facts.js';
import { RunDocuments } from '../files/run-documents.js';
import { describeGpus } from '../gpu/describe.js';
import { Gpus } from '../gpu/gpus.js';
import { type HttpHandle, startHttp } from '../http/server.js';
import { isAuthenticated } from '../http/web-config.js';
import { WebConfigFile } from '../http/web-config-file.js';
import type { Environment } from '../inventory/document.js';
import { NodeInventory } from '../inventory/node-inventory.js';
import { createHandlers } from '../ipc/handlers.js';
import { Identities } from '../ipc/identity.js';
import { prepareFolder, removeStale, ringPath } from '../ipc/listen.js';
import { IpcServer } from '../ipc/server.js';
import type { Logger } from '../log.js';
import { Metrics } from '../metrics/metrics.js';
import type { Addon, Sampler, SourceStatus } from '../native/addon.js';
import { checkAddonLayout } from '../native/frame.js';
import { openDatabase } from '../state/database.js';
import { lockStateDir, type StateLock } from '../state/lock.js';
import { SqliteOutbox } from '../state/outbox.js';
import { Retention } from '../state/retention.js';
import { SqliteRollups } from '../state/rollups.js';
import { SqlitePersistence } from '../state/sqlite-persistence.js';
import { VERSION } from '../version.js';
import { makeDeliveries } from './delivery.js';
import type { KeptDescriptors } from './kept-descriptors.js';
import { makeRollups } from './rollups.js';
import { samplerOptions } from './sampler-options.js';
import type { Watched } from './service-manager.js';
import { healthOf, nodeStatus, serviceStatus } from './status.js';
import { Sweeper } from './sweeper.js';

export interface AgentDeps {
  addon: Addon;
  /** The configuration in force; read anew where a key may change while the agent runs. */
  config: () => Config;
  log: Logger;
  /** Wall clock, milliseconds since 1970. */
  now: () => number;
  /** Roots of the kernel's files; tests bring their own. @default /proc and /sys */
  roots?: { proc: string; sys: string };
  /** What a service manager passed and where it keeps more; without one absent. */
  kept?: KeptDescriptors | undefined;
}

export class Agent {
  readonly #deps: AgentDeps;
  readonly #stateDir: string;
  readonly #lock: StateLock;
  readonly #persistence: SqlitePersistence;
  readonly #sampler: Sampler;
  readonly #attribution: Attribution;
  readonly #documents: RunDocuments;
  readonly #deliveries: Deliveries;
  readonly #inventory: NodeInventory;
  readonly #gpus: Gpus;
  readonly #rollups: Rollups | undefined;
  readonly #retention: Retention;
  readonly #sweeper: Sweeper;
  readonly #ipc: IpcServer;
  readonly #web: WebConfigFile | undefined;
  /** Whether names are shown over TCP. */
  readonly #showNames: boolean;
  readonly #metrics: Metrics;
  readonly #startedAtMs: number;
  readonly #startedMonoNs: bigint;
  #http: HttpHandle | undefined;
  #ready = false;

  /** Starts an agent; throws LezeaError with the reason where it cannot. */
  static async start(deps: AgentDeps): Promise<Agent> {
    checkAddonLayout(deps.addon);
    const { socket, state, agent, http } = deps.config();
    const file = http.enabled ? http.web_config_file : null;
    const web = file === null ? undefined : new WebConfigFile(file, deps.log);
    mkdirSync(state.dir, { recursive: true, mode: 0o700 });
    const lock = lockStateDir(state.dir);
    try {
      // Whoever holds the socket must be known before anything of this agent listens or samples.
      prepareFolder(dirname(socket.path), agent.mode);
      await removeStale(socket.path);
      await removeStale(ringPath(socket.path));
      return await new Agent(deps, lock, web).#started();
    } catch (error) {
      lock.release();
      throw error;
    }
  }

  private constructor(deps: AgentDeps, lock: StateLock, web: WebConfigFile | undefined) {
    const config = deps.config();
    this.#deps = deps;
    this.#lock = lock;
    this.#web = web;
    this.#showNames =
      config.agent.mode === 'user' ||
      config.http.expose_run_names ||
      (web !== undefined && isAuthenticated(web.current));
    this.#stateDir = config.state.dir;
    this.#startedAtMs = deps.now();
    this.#startedMonoNs = deps.addon.monotonicNs();
    const db = openDatabase(config.state.dir, deps.log, deps.now());
    this.#persistence = new SqlitePersistence(db);
    this.#retention = new Retention({
      db,
      stateDir: config.state.dir,
      log: deps.log,
      nowMs: deps.now,
      days: () => deps.config().state.retention_days,
      maxBytes: () => deps.config().state.max_bytes,
    });
    const { log, now, config: current } = deps;
    this.#gpus = new Gpus({ addon: deps.addon, settings: config.gpu, nowMs: now });
    this.#sampler = new deps.addon.Sampler(
      samplerOptions(config, ringPath(config.socket.path), this.#gpus.poller, deps.roots, deps.kept),
    );
    this.#attribution = this.#makeAttribution();
    const bootId = deps.addon.bootId();
    this.#documents = new RunDocuments({
      stateDir: config.state.dir,
      store: this.#attribution.store,
      node: nodeFacts(bootId),
      version: VERSION,
      overheadCpuSeconds: () => {
        const ns = this.#attribution.checkpoint.lastSnapshot?.self.cpuNs;
        return ns === undefined ? undefined : Number(ns) / 1e9;
      },
      environment: () => this.#environment(),
      prices: () => deps.config().cost,
    });
    this.#inventory = new NodeInventory(VERSION, now, () => describeGpus(this.#gpus));
    const outbox = new SqliteOutbox(db);
    const { store } = this.#attribution;
    const parts = { config: current, outbox, store, documents: this.#documents, log, now, env: process.env };
    this.#deliveries = makeDeliveries(parts);
    this.#rollups = makeRollups({
      ...parts,
      rows: new SqliteRollups(db),
      sampledAt: () => this.#attribution.checkpoint.lastSnapshot,
    });
    this.#sweeper = new Sweeper(() => this.#sweep(), log);
    this.#ipc = this.#makeIpc(config, bootId);
    this.#metrics = new Metrics({
      config: deps.config,
      store: this.#attribution.store,
      showNames: this.#showNames,
      state: () => this.#state(),
      nodeFigures: () => this.#sampler.nodeFigures(),
      gpus: () => this.#gpus.report,
      gpuBooks: () => this.#attribution.checkpoint.lastSnapshot?.gpus ?? [],
      now: deps.now,
    });
  }

  /** Where the socket is and, once it listens, HTTP. */
  get addresses(): { socket: string; http: string | null } {
    return { socket: this.#deps.config().socket.path, http: this.#http?.address ?? null };
  }

  /** What a service manager is told of it. */
  get watched(): Watched {
    return {
      heartbeat: () => this.#sampler.heartbeat(),
      status: () =>
        serviceStatus({
          runs: this.#runsLive(),
          sessions: this.#attribution.sessions.count,
          intervalMs: this.#attribution.checkpoint.lastSnapshot?.self.intervalMs,
          sources: this.#sources(),
        }),
    };
  }

  /** Itself, once it runs; what was started is stopped again where something cannot be. */
  async #started(): Promise<Agent> {
    try {
      await this.#start();
      return this;
    } catch (error) {
      await this.stop().catch((fault) =>
        this.#deps.log.debug({ reason: messageOf(fault) }, 'stopping failed too'),
      );
      throw error;
    }
  }

  async #start(): Promise<void> {
    this.#attribution.store.on('ended', () => {
      this.#deliveries.wake();
      this.#sweeper.soon();
    });
    this.#attribution.start();
    this.#deliveries.wake();
    this.#sweeper.soon();
    await this.#ipc.listen();
    const { http } = this.#deps.config();
    if (http.enabled) this.#http = await this.#startHttp(http.listen);
    this.#ready = true;
    await this.#tellAddresses();
    this.#deps.log.info({ ...this.addresses, version: VERSION, state_dir: this.#stateDir }, 'ready');
  }

  /**
   * Stops: no new clients, a last sample, everything on the disk. Runs that live go on with the next start. The first
   * fault is thrown at the end; nothing is left open.
   */
  async stop(): Promise<void> {
    this.#ready = false;
    this.#ipc.stopAccepting();
    const steps: (() => Promise<void> | void)[] = [
      () => this.#http?.close(),
      () => this.#ipc.stopServing(),
      () => this.#attribution.stop(),
      // Whoever was not answered asks the next agent, and need not wait for the rest.
      () => this.#ipc.close(),
      () => this.#gpus.close(),
      () => this.#rollups?.stop(),
      () => this.#deliveries.stop(),
      () => this.#sweeper.stop(),
      () => rm(this.#agentFile(), { force: true }),
      () => this.#persistence.close(),
      () => this.#lock.release(),
    ];
    let fault: unknown;
    for (const step of steps) {
      try {
        await step();
      } catch (error) {
        this.#deps.log.error({ reason: messageOf(error) }, 'a part of the agent did not stop well');
        fault ??= error;
      }
    }
    if (fault) throw new LezeaError('stop', messageOf(fault), { cause: fault });
  }

  #makeAttribution(): Attribution {
    const { addon, config, log, now } = this.#deps;
    return new Attribution({
      sampler: this.#sampler,
      persistence: this.#persistence,
      log,
      bootId: addon.bootId(),
      nowMs: now,
      monotonicNs: () => addon.monotonicNs(),
      isAlive: ({ pid, startTicks }) => {
        const found = addon.processIdentity(pid);
        return found?.process.startTicks === startTicks && !found.ended;
      },
      checkpointIntervalMs: config().checkpoint.interval_ms,
      keepEndedMs: () => config().metrics.linger_seconds * 1000,
      unboundTimeoutMs: () => config().runs.unbound_timeout_seconds * 1000,
      writeFiles: (run) => this.#documents.write(run),
      isFull: (owner) => this.#retention.isFull(owner),
      prepareDelivery: (run, allDead) => this.#deliveries.prepare(run, allDead),
      prepareDocuments: (run) => this.#deliveries.prepareDocuments(run),
      signal: (process, uid, signal) => addon.signalProcess({ ...process, uid, signal }),
      price: (totals) => priceOf(totals, config().cost),
      readGpus: () => this.#gpus.read(),
    });
  }

  /** What is to be done now and then: documents that a full disk kept from being written; what is too old. */
  async #sweep(): Promise<void> {
    if ((await this.#attribution.writeUndocumented()) > 0) this.#deliveries.wake();
    await this.#retention.sweep();
  }

  #makeIpc(config: Config, bootId: string): IpcServer {
    const { addon, log } = this.#deps;
    const { store, commands, limiter, ledger } = this.#attribution;
    const { mode } = config.agent;
    const handlers = createHandlers({
      commands,
      store,
      limiter,
      identities: new Identities(addon, this.#procRoot()),
      reader: addon,
      documents: this.#documents,
      deliveries: this.#deliveries,
      version: VERSION,
      bootId,
      mode,
      node: () => this.#node(),
      health: () => this.#health(),
      inventory: () => this.#inventory.now(),
    });
    const pidNamespace = addon.processIdentity(process.pid)?.pidNamespace ?? 0n;
    return new IpcServer({
      path: config.socket.path,
      mode,
      handlers,
      store,
      commands,
      limiter,
      log,
      peerCredentials: (fd) => addon.peerCredentials(fd),
      rules: () => ({ pidNamespace, operators: this.#deps.config().operators }),
      committedMonoNs: () => ledger.committedMonoNs,
    });
  }

  #startHttp(listen: string): Promise<HttpHandle> {
    const { config, log } = this.#deps;
    const web = this.#web;
    return startHttp({
      listen,
      web: web && (() => web.current),
      allowedHosts: () => config().http.allowed_hosts,
      registry: this.#metrics.registry,
      log,
      // A retry that succeeded later: the first try is written down by #start.
      listening: () => {
        if (this.#ready) void this.#tellAddresses();
      },
      store: this.#attribution.store,
      showRuns: this.#showNames,
      render: (format) => this.#metrics.render(format),
      node: () => this.#node(),
      health: () => this.#health(),
      notReady: () => (this.#ready ? undefined : 'the agent is starting or stopping'),
      summary: (run) => this.#documents.summary(run),
    });
  }

  #node() {
    this.#gpus.refresh();
    return nodeStatus({
      mode: this.#deps.config().agent.mode,
      // The wall clock may be set while the agent runs; at boot it usually is.
      uptimeSeconds: Number(this.#deps.addon.monotonicNs() - this.#startedMonoNs) / 1e9,
      runsLive: this.#runsLive(),
      figures: this.#sampler.nodeFigures(),
      sources: this.#sources(),
    });
  }

  #health() {
    const { checkpoint, violations } = this.#attribution;
    const sampledAt = checkpoint.lastSnapshot?.tWallMs;
    const { enabled, listen } = this.#deps.config().http;
    return healthOf({
      checkpointError: checkpoint.error?.message,
      sampleAgeMs: sampledAt === undefined ? undefined : this.#deps.now() - sampledAt,
      violations,
      http: enabled ? { listen, address: this.#http?.address ?? null } : undefined,
    });
  }

  /** What the agent says of itself on /metrics. */
  #state() {
    const { budgets, checkpoint, ledger, limiter, sessions, violations } = this.#attribution;
    const { agent, sampling } = this.#deps.config();
    return {
      version: VERSION,
      mode: agent.mode,
      sampling: { intervalMs: sampling.interval_ms, cpuBudgetRatio: sampling.cpu_budget_percent / 100 },
      startedAtMs: this.#startedAtMs,
      snapshot: checkpoint.lastSnapshot,
      tickBucketsNs: this.#deps.addon.tickBucketsNs(),
      sources: this.#sources(),
      nvml: { calls: this.#gpus.calls, stuck: this.#gpus.isStuck },
      runsLive: this.#runsLive(),
      sessions: sessions.count,
      connections: this.#ipc.connections,
      unidentified: this.#ipc.unidentified,
      requests: this.#ipc.requests,
      refusals: limiter.refusals,
      waits: limiter.waits,
      conservationViolations: violations,
      decreasedTotals: ledger.decreases,
      checkpoints: {
        commits: checkpoint.commits,
        failures: checkpoint.failures,
        totalMs: checkpoint.commitMs,
      },
      limitsTold: budgets.counts,
      droppedExits: ledger.droppedExits,
      droppedRollups: this.#rollups?.dropped ?? 0,
      droppedNotifications: this.#ipc.lostNotifications,
      sinks: this.#deliveries.figures(),
    };
  }

  #sources(): SourceStatus[] {
    return [...this.#sampler.sources(), this.#gpus.source];
  }

  /** A run has its other documents where the node cannot be described. */
  async #environment(): Promise<Environment | undefined> {
    try {
      return await this.#inventory.ofRun();
    } catch (error) {
      this.#deps.log.warn({ reason: messageOf(error) }, 'what the node is cannot be read');
      return undefined;
    }
  }

  #runsLive(): number {
    return [...this.#attribution.store.live()].length;
  }

  #procRoot(): string {
    return this.#deps.roots?.proc ?? '/proc';
  }

  #agentFile(): string {
    return join(this.#stateDir, 'agent.json');
  }

  /** Writes where the agent is to be found, for whoever started it. */
  async #tellAddresses(): Promise<void> {
    const text = `${JSON.stringify({ pid: process.pid, ...this.addresses })}\n`;
    try {
      await writeAtomically(this.#agentFile(), [text]);
    } catch (error) {
      this.#deps.log.warn({ reason: messageOf(error) }, 'agent.json could not be written');
    }
  }
}
