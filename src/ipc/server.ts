// The socket server: accepts clients, asks the kernel who they are, counts them against their owner's limits and hands
// their lines to the dispatcher. Owns the listening socket and the open connections.

import { createServer, type Server, type Socket } from 'node:net';
import type { Logger } from 'pino';
import type { Holding, Limiter } from '../attribution/limits.js';
import type { Caller, RunCommands, RunStore } from '../attribution/model.js';
import { messageOf } from '../errors.js';
import type { PeerCredentials } from '../native/addon.js';
import { Connection, type ConnectionDeps } from './connection.js';
import { Dispatcher, type Handlers } from './dispatch.js';
import { INTERNAL_ERROR, rpcErrorOf } from './errors.js';
import { type CallerRules, callerOf } from './identity.js';
import { listenOn, type Mode } from './listen.js';
import { tellSubscribers } from './subscriptions.js';
import { Turns } from './turns.js';

/** How long a peer may take to read its last answers when the agent stops. */
const CLOSE_GRACE_MS = 500;

export interface IpcDeps {
  path: string;
  mode: Mode;
  handlers: Handlers;
  store: RunStore;
  commands: RunCommands;
  limiter: Limiter;
  log: Logger;
  /** Who the peer of a connected descriptor is, by the kernel. */
  peerCredentials(fd: number): PeerCredentials;
  /** Read anew at each connection: operators may change. */
  rules(): CallerRules;
  committedMonoNs(): bigint;
}

export class IpcServer {
  readonly #deps: IpcDeps;
  readonly #server: Server;
  readonly #connections = new Set<Connection>();
  readonly #dispatcher: Dispatcher;
  readonly #connectionDeps: ConnectionDeps;
  #lostBefore = 0;
  #stopTelling: () => void = () => undefined;
  /** Connections closed at once because the kernel could not say whose they are. */
  unidentified = 0;

  constructor(deps: IpcDeps) {
    this.#deps = deps;
    this.#dispatcher = new Dispatcher(deps.handlers, deps.limiter, deps.log);
    this.#connectionDeps = {
      limiter: deps.limiter,
      turns: new Turns(),
      line: (from, line) => this.#dispatcher.handle(from, line),
      watch: ({ caller }) =>
        deps.limiter.admitOwner(
          'subscriptions',
          caller.owner,
          this.#holdings((connection) => connection.topics.size > 0),
        ),
      closed: (gone) => this.#closed(gone),
    };
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket));
  }

  get connections(): number {
    return this.#connections.size;
  }

  /** Requests handled, and those of them that were answered with an error, by its word. */
  get requests(): { handled: number; errors: ReadonlyMap<string, number> } {
    return { handled: this.#dispatcher.requests, errors: this.#dispatcher.errors };
  }

  /** Notifications that slow readers lost. */
  get lostNotifications(): number {
    let lost = this.#lostBefore;
    for (const connection of this.#connections) lost += connection.lostTotal;
    return lost;
  }

  async listen(): Promise<void> {
    await listenOn(this.#server, this.#deps.path, this.#deps.mode);
    this.#server.on('error', (error) => {
      this.#deps.log.error({ reason: messageOf(error) }, 'the agent socket failed');
    });
    this.#stopTelling = tellSubscribers({
      store: this.#deps.store,
      commands: this.#deps.commands,
      connections: this.#connections,
      committedMonoNs: this.#deps.committedMonoNs,
    });
  }

  /** Accepts no more connections; those there are live on. The socket file goes with it. */
  stopAccepting(): void {
    this.#server.close();
  }

  /** Takes up no request any more; what is under way is answered. */
  stopServing(): void {
    this.#dispatcher.stop();
  }

  /** Ends every connection after what was written to it. */
  close(): void {
    this.#stopTelling();
    for (const connection of this.#connections) connection.finish();
    // A peer that does not read cannot hold the agent back.
    setTimeout(() => {
      for (const connection of this.#connections) connection.close();
    }, CLOSE_GRACE_MS).unref();
  }

  #accept(socket: Socket): void {
    const caller = this.#identify(socket);
    if (!caller) {
      socket.destroy();
      return;
    }
    const connection = new Connection(socket, caller, this.#connectionDeps);
    try {
      this.#deps.limiter.admitOwner('idleConnections', caller.owner, this.#holdings(isIdle));
      this.#connections.add(connection);
    } catch (error) {
      connection.send({ jsonrpc: '2.0', id: null, error: rpcErrorOf(error) ?? INTERNAL_ERROR });
      connection.finish();
    }
  }

  #identify(socket: Socket): Caller | undefined {
    const fd = descriptorOf(socket);
    try {
      if (fd !== undefined) return callerOf(this.#deps.peerCredentials(fd), this.#deps.rules());
    } catch (error) {
      // The peer went away between connecting and being asked about.
      this.#deps.log.debug({ reason: messageOf(error) }, 'a connection without a peer');
    }
    this.unidentified += 1;
    return undefined;
  }

  *#holdings(counts: (connection: Connection) => boolean): Generator<Holding> {
    for (const connection of this.#connections) {
      if (counts(connection)) yield { owner: connection.caller.owner, count: 1 };
    }
  }

  #closed(connection: Connection): void {
    if (!this.#connections.delete(connection)) return;
    this.#lostBefore += connection.lostTotal;
    connection.import?.discard();
    for (const session of connection.sessions) this.#deps.commands.disconnectSession(session);
  }
}

/** A session that was opened anew elsewhere is none any more. */
function isIdle(connection: Connection): boolean {
  for (const session of connection.sessions) if (session.isOpen) return false;
  return true;
}

/** Node has no public way to the descriptor of a socket; undefined when it is closed already. */
function descriptorOf(socket: Socket): number | undefined {
  const fd = (socket as unknown as { _handle?: { fd?: number } })._handle?.fd;
  return fd !== undefined && fd >= 0 ? fd : undefined;
}
