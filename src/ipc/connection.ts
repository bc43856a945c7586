// One client's connection: lines in, answers and notifications out. Owns the socket, the unfinished line and the queue
// bounds. A peer that does not read is not read from; notifications it has no room for are counted, not kept.

import type { Socket } from 'node:net';
import type { Caller, Session } from '../attribution/model.js';
import { type Line, LineSplitter } from './framing.js';
import type { NotificationName } from './notifications.js';

/** Bytes that may wait to be written: above it requests wait; notifications wait at half of it. */
export const MAX_QUEUED_BYTES = 262_144;
/** Requests of one connection that may be under way at once. */
export const MAX_UNDER_WAY = 64;

export interface ConnectionEvents {
  line(connection: Connection, line: Line): void;
  closed(connection: Connection): void;
}

export class Connection {
  /** Open sessions that were opened here; they end with the connection. */
  readonly sessions = new Set<Session>();
  readonly topics = new Set<string>();
  /** Notifications left out since the last `resync`, and in all. */
  #lost = 0;
  lostTotal = 0;
  #underWay = 0;
  readonly #socket: Socket;
  readonly #lines = new LineSplitter();
  readonly #events: ConnectionEvents;
  /** Lines of the last chunk, and the first of them that is not handled yet because the peer has to read first. */
  #waiting: Line[] = [];
  #next = 0;
  /** The peer has said all it had to say; it may still read. */
  #ended = false;

  constructor(
    socket: Socket,
    readonly caller: Caller,
    events: ConnectionEvents,
  ) {
    this.#socket = socket;
    this.#events = events;
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('drain', () => this.#drained());
    // A reset is how a killed client looks; 'close' follows and is all that matters.
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#closed());
    socket.on('end', () => {
      this.#ended = true;
      this.#handle();
    });
  }

  get isOpen(): boolean {
    return !this.#socket.destroyed;
  }

  /** A session was opened here; an earlier one of the same process is void. */
  adopt(session: Session): void {
    for (const known of this.sessions) {
      if (known.process.pid === session.process.pid) this.sessions.delete(known);
    }
    this.sessions.add(session);
  }

  /** Sends an answer. */
  send(message: object): void {
    this.#write(message);
  }

  /** Sends a notification if there is room; otherwise it is lost and a `resync` will say so. */
  notify(method: NotificationName, params: object): void {
    if (this.#socket.writableLength > MAX_QUEUED_BYTES / 2) {
      this.#lost += 1;
      this.lostTotal += 1;
      return;
    }
    this.#write({ jsonrpc: '2.0', method, params });
  }

  /** Holds back further requests while this one is under way, should there be too many. */
  async during(work: Promise<void>): Promise<void> {
    this.#underWay += 1;
    this.#throttle();
    try {
      await work;
    } finally {
      this.#underWay -= 1;
      this.#handle();
    }
  }

  close(): void {
    this.#socket.destroy();
  }

  /** Lets what was written reach the peer, then closes. */
  finish(): void {
    this.#socket.destroySoon();
  }

  #write(message: object): void {
    if (this.#socket.destroyed || this.#socket.writableEnded) return;
    this.#socket.write(`${JSON.stringify(message)}\n`);
  }

  #read(chunk: Buffer): void {
    for (const line of this.#lines.push(chunk)) if (line !== '') this.#waiting.push(line);
    this.#handle();
  }

  /** Handles what has been read, as far as the peer takes the answers. */
  #handle(): void {
    while (this.#next < this.#waiting.length && !this.#isFull() && !this.#socket.destroyed) {
      const line = this.#waiting[this.#next];
      this.#next += 1;
      this.#events.line(this, line);
    }
    if (this.#next > 0 && this.#next === this.#waiting.length) {
      this.#waiting = [];
      this.#next = 0;
    }
    if (this.#ended && this.#waiting.length === 0 && this.#underWay === 0) this.finish();
    else this.#throttle();
  }

  #isFull(): boolean {
    return this.#socket.writableLength > MAX_QUEUED_BYTES || this.#underWay >= MAX_UNDER_WAY;
  }

  /** Reading stops while lines wait: at most one chunk of them (64 KiB) is ever held. */
  #throttle(): void {
    if (this.#isFull() || this.#waiting.length > 0) this.#socket.pause();
    else this.#socket.resume();
  }

  #drained(): void {
    if (this.#lost > 0) {
      const lost = this.#lost;
      this.#lost = 0;
      this.#write({ jsonrpc: '2.0', method: 'resync', params: { lost } });
    }
    this.#handle();
  }

  #closed(): void {
    this.#waiting = [];
    this.#next = 0;
    this.#events.closed(this);
  }
}
