// The socket server: accepts clients, asks the kernel who they are, counts them against their owner's limits and hands
// their lines to the dispatcher. Owns the listening socket and the open connections.

import { createServer, type Server, type Socket } from 'node:net';
import type { Logger } from 'pino';
import type { Limiter } from '../attribution/limits.js';
import type { Caller, RunCommands, RunStore } from '../attribution/model.js';
import { sameOwner } from '../attribution/owners.js';
import { messageOf } from '../errors.js';
import type { PeerCredentials } from '../native/addon.js';
import { Connection } from './connection.js';
import { Dispatcher, type Handlers } from './dispatch.js';
import { RPC } from './errors.js';
import { type CallerRules, callerOf } from './identity.js';
import { listenOn, type Mode } from './listen.js';
import { tellSubscribers } from './subscriptions.js';

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
  #lostBefore = 0;
  #stopTelling: () => void = () => undefined;
  /** Connections closed at once because the kernel could not say whose they are. */
  unidentified = 0;

  constructor(deps: IpcDeps) {
    this.#deps = deps;
    this.#dispatcher = new Dispatcher(deps.handlers, deps.log);
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket));
  }

  get connections(): number {
    return this.#connections.size;
  }

  get requests(): { handled: number; refused: number } {
    return { handled: this.#dispatcher.requests, refused: this.#dispatcher.errors };
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
    const connection = new Connection(socket, caller, {
      line: (from, line) => this.#dispatcher.handle(from, line),
      closed: (gone) => this.#closed(gone),
    });
    const fault = this.#deps.limiter.fault('idleConnections', this.#idleOf(caller));
    if (fault) {
      const error = { code: RPC.refused, message: fault, data: { code: 'too_many' } };
      connection.send({ jsonrpc: '2.0', id: null, error });
      connection.finish();
      return;
    }
    this.#connections.add(connection);
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

  #idleOf(caller: Caller): number {
    let idle = 0;
    for (const connection of this.#connections) {
      if (connection.sessions.size === 0 && sameOwner(connection.caller.owner, caller.owner)) idle += 1;
    }
    return idle;
  }

  #closed(connection: Connection): void {
    if (!this.#connections.delete(connection)) return;
    this.#lostBefore += connection.lostTotal;
    for (const session of connection.sessions) this.#deps.commands.disconnectSession(session);
  }
}

/** Node has no public way to the descriptor of a socket; undefined when it is closed already. */
function descriptorOf(socket: Socket): number | undefined {
  const fd = (socket as unknown as { _handle?: { fd?: number } })._handle?.fd;
  return fd !== undefined && fd >= 0 ? fd : undefined;
}
