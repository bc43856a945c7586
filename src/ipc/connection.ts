// One client's connection: lines in, answers and notifications out. Owns the socket, what was read and not handled yet,
// and the bounds of both. A peer that does not read, or that asks for more than its share, is not read from;
// notifications it has no room for are counted, not kept.

import type { Socket } from 'node:net';
import type { Limiter, LimitName } from '../attribution/limits.js';
import type { Caller, Session } from '../attribution/model.js';
import type { Import } from '../delivery/importing/imports.js';
import { TokenBucket } from '../token-bucket.js';
import { type Line, LineSplitter } from './framing.js';
import type { NotificationName } from './notifications.js';
import type { Served, Turns } from './turns.js';

const BYTES_PER_TOKEN = 1024;

export interface ConnectionDeps {
  limiter: Limiter;
  turns: Turns;
  line(connection: Connection, line: Line): void;
  /** Throws where it may not hear of topics. */
  watch(connection: Connection): void;
  closed(connection: Connection): void;
}

export class Connection implements Served {
  /** Sessions that were opened here; they end with the connection. */
  readonly sessions = new Set<Session>();
  readonly topics = new Set<string>();
  /** The bundle that it brings; it goes with the connection. */
  import: Import | undefined;
  /** Notifications left out since the last `resync`, and in all. */
  #lost = 0;
  lostTotal = 0;
  #underWay = 0;
  readonly #socket: Socket;
  readonly #deps: ConnectionDeps;
  readonly #lines: LineSplitter;
  readonly #bucket: TokenBucket;
  /** What was read, to be cut into lines one at a time, and the next line that is not handled yet. */
  readonly #chunks: Iterator<Line>[] = [];
  #next: { line: Line } | undefined;
  /** Why reading stands still, and the timer that ends a wait for tokens. */
  #heldBy: LimitName | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** The peer has said all it had to say; it may still read. */
  #ended = false;

  constructor(
    socket: Socket,
    readonly caller: Caller,
    deps: ConnectionDeps,
  ) {
    const { limits } = deps.limiter;
    this.#socket = socket;
    this.#deps = deps;
    this.#lines = new LineSplitter(limits.requestBytes);
    this.#bucket = new TokenBucket(limits.requestTokens, limits.requestTokensPerSecond);
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('drain', () => this.#drained());
    // A reset is how a killed client looks; 'close' follows and is all that matters.
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#closed());
    socket.on('end', () => {
      this.#ended = true;
      deps.turns.serve(this);
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

  /** From now on it hears of these topics only. */
  watch(topics: readonly string[]): void {
    if (topics.length > 0 && this.topics.size === 0) this.#deps.watch(this);
    this.topics.clear();
    for (const topic of topics) this.topics.add(topic);
  }

  /** Takes tokens for a request that costs more than others. */
  spend(tokens: number): void {
    this.#bucket.spend(tokens);
  }

  send(message: object): void {
    this.#write(`${JSON.stringify(message)}\n`);
  }

  /** Sends a notification if there is room; otherwise it is lost and a `resync` will say so. */
  notify(method: NotificationName, params: object): void {
    this.tell(`${JSON.stringify({ jsonrpc: '2.0', method, params })}\n`);
  }

  /** The same for a line that is made for several connections. */
  tell(line: string): void {
    const { limiter } = this.#deps;
    if (this.#socket.writableLength > limiter.limits.queuedNotificationBytes) {
      limiter.lose('queuedNotificationBytes');
      this.#lost += 1;
      this.lostTotal += 1;
      return;
    }
    this.#write(line);
  }

  /** Holds back further requests while this one is under way, should there be too many; `alone`: all of them. */
  async during(work: Promise<void>, alone: boolean): Promise<void> {
    const weight = alone ? this.#deps.limiter.limits.requestsUnderWay : 1;
    this.#underWay += weight;
    try {
      await work;
    } finally {
      this.#underWay -= weight;
      this.#deps.turns.serve(this);
    }
  }

  close(): void {
    this.#socket.destroy();
  }

  /** Lets what was written reach the peer, then closes. */
  finish(): void {
    this.#socket.destroySoon();
  }

  /** What it may do is asked once before and once after: time passes, and tokens with it. */
  takeTurn(): boolean {
    if (this.#socket.destroyed) return false;
    if (this.#limitReached() === undefined) this.#handleNext();
    const limit = this.#limitReached();
    if (limit === undefined && this.#next !== undefined) return true;
    this.#settle(limit);
    return false;
  }

  #handleNext(): void {
    if (this.#next === undefined) return;
    const { line } = this.#next;
    this.#next = undefined;
    this.#bucket.spend(1);
    // An empty line asks nothing, and is not for nothing.
    if (line !== '') this.#deps.line(this, line);
    this.#fetch();
  }

  /** Reading goes on when all that was read is handled: what is held of a peer is one chunk and one unfinished line. */
  #settle(limit: LimitName | undefined): void {
    if (this.#ended && this.#next === undefined && this.#underWay === 0) {
      this.finish();
    } else if (limit === undefined) {
      this.#socket.resume();
    } else {
      this.#socket.pause();
      if (limit !== this.#heldBy) this.#deps.limiter.hold(limit);
      if (limit === 'requestTokens') this.#waitForTokens();
    }
    this.#heldBy = limit;
  }

  #waitForTokens(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#deps.turns.serve(this);
    }, this.#bucket.waitMs());
  }

  #limitReached(): LimitName | undefined {
    const { limits } = this.#deps.limiter;
    if (this.#socket.writableLength > limits.queuedBytes) return 'queuedBytes';
    if (this.#underWay >= limits.requestsUnderWay) return 'requestsUnderWay';
    return this.#bucket.waitMs() > 0 ? 'requestTokens' : undefined;
  }

  #write(line: string): void {
    if (this.#socket.destroyed || this.#socket.writableEnded) return;
    this.#socket.write(line);
  }

  #read(chunk: Buffer): void {
    this.#bucket.spend(Math.floor(chunk.length / BYTES_PER_TOKEN));
    this.#chunks.push(this.#lines.push(chunk));
    this.#socket.pause();
    this.#fetch();
    this.#deps.turns.serve(this);
  }

  /** Finds the next line of what was read. */
  #fetch(): void {
    for (let chunk = this.#chunks[0]; chunk && !this.#next; chunk = this.#chunks[0]) {
      const { done, value } = chunk.next();
      if (done) this.#chunks.shift();
      else this.#next = { line: value };
    }
  }

  #drained(): void {
    if (this.#lost > 0) {
      const lost = this.#lost;
      this.#lost = 0;
      this.send({ jsonrpc: '2.0', method: 'resync', params: { lost } });
    }
    this.#deps.turns.serve(this);
  }

  #closed(): void {
    clearTimeout(this.#timer);
    this.#chunks.length = 0;
    this.#next = undefined;
    this.#deps.closed(this);
  }
}
