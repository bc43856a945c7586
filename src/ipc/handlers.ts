// The methods: each checks who speaks of whom, calls the run commands and answers in the protocol's shapes. Owns nothing.

import { hostname } from 'node:os';
import type { Limiter } from '../attribution/limits.js';
import type { Run, RunCommands, RunStore, ScopeDefinition, Session } from '../attribution/model.js';
import type { Deliveries } from '../delivery/deliveries.js';
import { LezeaError, StoppingError } from '../errors.js';
import type { Connection } from './connection.js';
import type { Handlers } from './dispatch.js';
import type { Identities, ProcessReader } from './identity.js';
import { limitsOf } from './limits-shape.js';
import { importHandlers, inOneAnswer, outboxViewHandlers } from './outbox-handlers.js';
import { DEAR_TOKENS, type Params, PROTOCOL_VERSION, type Result } from './protocol.js';
import { definitionOf, deliveryView, listLine, runView, sinkView } from './views.js';

/** Longest piece of a document, bytes. */
const CHUNK_BYTES = 49_152;

const FEATURES = [
  ...['ring', 'scope.enter', 'run.usage', 'run.phase', 'run.event', 'run.get', 'subscribe'],
  ...['outbox', 'limits', 'facts'],
];

export interface Documents {
  list(run: Run): Promise<string[]>;
  /** A piece of a listed document; `invalid_params` for a name that is none. */
  read(
    run: Run,
    piece: { file: string; offset: number; limit: number },
  ): Promise<{ size: number; data: Buffer; eof: boolean }>;
}

export interface HandlerDeps {
  commands: RunCommands;
  store: RunStore;
  limiter: Limiter;
  identities: Identities;
  reader: ProcessReader;
  documents: Documents;
  deliveries: Deliveries;
  version: string;
  bootId: string;
  mode: 'user' | 'system';
  node(): Result<'node.status'>;
  inventory(): Promise<Result<'node.inventory'>>;
  health(): Result<'agent.health'>;
}

export function createHandlers(deps: HandlerDeps): Handlers {
  return {
    ...runHandlers(deps),
    ...sessionHandlers(deps),
    ...scopeHandlers(deps),
    ...nodeHandlers(deps),
    ...outboxHandlers(deps),
    ...outboxViewHandlers(deps),
    ...importHandlers(deps),
  };
}

type Some<M extends keyof Handlers> = Pick<Handlers, M>;

function nodeHandlers(
  deps: HandlerDeps,
): Some<'hello' | 'node.status' | 'node.inventory' | 'agent.health' | 'subscribe'> {
  return {
    hello: (_connection, { protocols }) => {
      if (!protocols.includes(PROTOCOL_VERSION)) {
        throw new LezeaError('unsupported', `this agent speaks protocol ${PROTOCOL_VERSION} only`);
      }
      return {
        server: 'lezea-monitor',
        version: deps.version,
        protocol: PROTOCOL_VERSION,
        node: hostname(),
        boot_id: deps.bootId,
        mode: deps.mode,
        features: FEATURES,
      };
    },
    'node.status': () => deps.node(),
    'node.inventory': () => deps.inventory(),
    'agent.health': () => deps.health(),
    subscribe: (connection, { topics }) => {
      connection.watch(topics);
      return {};
    },
  };
}

function runHandlers(
  deps: HandlerDeps,
): Some<
  | 'run.start'
  | 'run.progress'
  | 'run.usage'
  | 'run.update'
  | 'run.event'
  | 'run.phase'
  | 'run.end'
  | 'run.get'
  | 'run.list'
> {
  const { commands } = deps;
  return {
    'run.start': ({ caller }, params) => {
      const { run_id: runId, limits, ...more } = params;
      const { world_size: worldSize, local_world_size: localWorldSize, ...rest } = more;
      const start = () => {
        const { run, created } = commands.start(caller, {
          ...rest,
          ...defined({ runId, worldSize, localWorldSize, limits }),
        });
        return { run_id: run.runId, created, ...trackerOf(deps, run), ...limitsOf(run) };
      };
      const finishing = runId === undefined ? undefined : commands.finishing(caller, runId);
      if (!finishing) return start();
      return finishing.then(start, (error) => {
        if (error instanceof StoppingError) throw error;
        return start();
      });
    },
    'run.progress': ({ caller }, { run_id: runId, ...rest }) => {
      commands.progress(caller, { runId, ...rest });
      return {};
    },
    'run.usage': (connection, params) => {
      if (params.fresh) connection.spend(DEAR_TOKENS);
      return usage(deps, connection, params);
    },
    'run.update': (connection, params) => {
      const { tags, tracker, facts, limits } = params;
      if (facts || limits) connection.spend(DEAR_TOKENS);
      const run = commands.update(
        connection.caller,
        params.run_id,
        defined({ tags, tracker, facts, limits }),
      );
      const answer = () => ({ ...trackerOf(deps, run), ...limitsOf(run) });
      return facts ? commands.stored().then(answer) : answer();
    },
    'run.event': ({ caller }, { run_id: runId, event, data }) => {
      commands.event(caller, runId, event, data);
      return {};
    },
    'run.phase': async ({ caller }, { run_id: runId, name }) => {
      await commands.phase(caller, runId, name);
      return {};
    },
    'run.end': async ({ caller }, { run_id: runId, ...rest }) => {
      const { final, run } = await commands.end(caller, { runId, ...rest });
      return { final, status: run.status, totals: run.totals.toColumns(), ...trackerOf(deps, run) };
    },
    'run.get': (connection, params) => getRun(deps, connection, params),
    'run.list': ({ caller }, { limit }) => {
      const lines = deps.store.list(limit, caller.privileged ? undefined : caller.owner);
      return { runs: lines.map(listLine) };
    },
  };
}

/** Who will bring the run's totals to its tracker, where it has one. */
function trackerOf({ deliveries }: HandlerDeps, run: Run) {
  return defined({ tracker: deliveries.standing(run.tracker) });
}

function outboxHandlers({
  deliveries,
}: HandlerDeps): Some<'outbox.list' | 'outbox.take' | 'outbox.ack' | 'outbox.retry'> {
  return {
    'outbox.list': ({ caller }, { run_id: runId, all, before }) => {
      const { found, more } = deliveries.page(caller, { all, ...defined({ runId, before }) });
      return {
        deliveries: found.map(deliveryView),
        sinks: deliveries.sinks(caller, found).map(sinkView),
        more,
      };
    },
    'outbox.take': ({ caller }, { delivery, limit }) => {
      const [item = null, ...more] = inOneAnswer(deliveries.take(caller, delivery, limit));
      return { item, ...(more.length > 0 && { more }) };
    },
    'outbox.ack': ({ caller }, { delivery, item, more, error }) => {
      const items = error === undefined ? [item, ...more] : [item];
      return { left: deliveries.acknowledge(caller, delivery, items, error).withClient };
    },
    'outbox.retry': ({ caller }, { delivery }) => deliveryView(deliveries.retry(caller, delivery)),
  };
}

async function usage(deps: HandlerDeps, { caller }: Connection, params: Params<'run.usage'>) {
  const { run_id: runId, ...rest } = params;
  const { run, scope, self, inclusive, tMonoNs } = await deps.commands.usage(caller, { runId, ...rest });
  return {
    run_id: run.runId,
    scope: scope?.path ?? null,
    status: run.status,
    t_mono_ns: Number(tMonoNs),
    self,
    inclusive,
    ...(scope ? {} : { unattributed: self, ...limitsOf(run) }),
  };
}

async function getRun(deps: HandlerDeps, { caller }: Connection, params: Params<'run.get'>) {
  const run = deps.commands.visible(caller, params.run_id);
  const { file, offset } = params;
  if (file === undefined) return runView(run, await deps.documents.list(run));
  const piece = await deps.documents.read(run, { file, offset, limit: CHUNK_BYTES });
  return { file, offset, size: piece.size, data: piece.data.toString('base64'), eof: piece.eof };
}

function sessionHandlers(deps: HandlerDeps): Some<'session.open' | 'session.devices'> {
  return {
    'session.devices': ({ caller }, { session, devices }) => {
      deps.commands.nameDevices(deps.commands.session(caller, session), devices);
      return {};
    },
    'session.open': async (connection, params) => {
      // When the message was read, before anything that takes its time.
      const readAt = deps.reader.monotonicNs();
      const { caller } = connection;
      const { identities } = deps;
      const own = params.pid === undefined || identities.isSelf(caller, params.pid);
      const target = own
        ? identities.self(caller)
        : identities.descendant(caller, params.pid as number, (p) => deps.commands.isBoundUnder(caller, p));
      const { process, clockOffsetNs } = target.identity;
      identities.checkClock(params.t_ns, own ? target.identity : identities.self(caller).identity, readAt);
      const tid = params.tid === undefined ? undefined : identities.thread(process.pid, params.tid);
      const session = await deps.commands.openSession(caller, {
        runId: params.run_id,
        process,
        ancestors: target.ancestors,
        devices: params.devices,
        clockOffsetNs,
        ...defined({ primaryTid: tid, birthScope: params.birth_scope }),
      });
      if (connection.isOpen) connection.adopt(session);
      else deps.commands.disconnectSession(session);
      return { session: session.token };
    },
  };
}

function scopeHandlers(deps: HandlerDeps): Some<'scope.define' | 'scope.enter' | 'scope.exit'> {
  const { commands } = deps;
  return {
    'scope.define': (connection, params) => {
      const session = commands.session(connection.caller, params.session);
      const entries = params.scopes.map(definitionOf);
      const shaped = entries.filter(
        (entry): entry is ScopeDefinition => entry !== undefined && 'parent' in entry,
      );
      const malformed = entries.flatMap((entry) =>
        entry !== undefined && !('parent' in entry) ? [entry.id] : [],
      );
      const dropped = commands.defineScopes(session, shaped);
      if (malformed.length > 0) dropped.push({ ids: malformed, reason: 'not a definition of a scope' });
      for (const { ids, reason } of dropped) {
        connection.notify('dropped', { session: params.session, ids, reason });
      }
      return {};
    },
    'scope.enter': ({ caller }, params) => {
      const session = commands.session(caller, params.session);
      commands.enterScope(session, announced(deps, session, params));
      return {};
    },
    'scope.exit': ({ caller }, params) => {
      const session = commands.session(caller, params.session);
      commands.exitScope(session, announced(deps, session, params));
      return {};
    },
  };
}

/** An announcement in the agent's terms: its clock, its numbers of threads. */
function announced(deps: HandlerDeps, session: Session, params: Params<'scope.enter'>) {
  const now = deps.reader.monotonicNs();
  const said = params.t_ns === undefined ? now : BigInt(params.t_ns) - session.clockOffsetNs;
  const tid =
    params.tid === undefined ? session.primaryTid : deps.identities.thread(session.process.pid, params.tid);
  return {
    scope: params.scope ?? (params.path as string),
    tid,
    // Not in the future: what has not happened yet cannot be announced.
    tNs: said > now ? now : said,
    activation: params.activation,
  };
}

/** The given fields without those that are undefined. */
function defined<T extends Record<string, unknown>>(
  fields: T,
): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as never;
}
