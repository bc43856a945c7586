// Users and passwords, as RFC 7617 sends them, against bcrypt hashes. A comparison is dear on purpose, so what was compared
// is remembered, one is made at a time, and after each there is a rest: guessing costs the agent a tenth of a core at most.

import { createHmac, randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { compare } from 'bcryptjs';

export type Admission = 'admitted' | 'refused' | 'busy';

/** A rest is this many times as long as the comparison before it. */
const REST_FACTOR = 9;
const MAX_WAITING = 16;
const MAX_REMEMBERED = 100;
export interface BasicAuthOptions {
  compare(password: string, hash: string): Promise<boolean>;
  rest(ms: number): Promise<void>;
}

const REAL: BasicAuthOptions = { compare, rest: (ms) => delay(ms, undefined, { ref: false }) };

export class BasicAuth {
  readonly #options: BasicAuthOptions;
  /** Of what was compared; without the key it says nothing of a password. */
  readonly #key = randomBytes(32);
  readonly #remembered = new Map<string, boolean>();
  /** When the rest after the last comparison is over. */
  #rested: Promise<void> = Promise.resolve();
  #waiting = 0;

  constructor(options: BasicAuthOptions = REAL) {
    this.#options = options;
  }

  /** Whether an Authorization header names one of the users (bcrypt hash by name); busy: too many are guessing. */
  async admits(header: string | undefined, users: ReadonlyMap<string, string>): Promise<Admission> {
    const said = header === undefined ? undefined : credentials(header);
    if (said === undefined) return 'refused';
    const known = users.get(said.user);
    // That there is no such user takes as long to find out as that the password is wrong.
    const hash = known ?? [...users.values()][0] ?? '';
    const mark = createHmac('sha256', this.#key)
      .update(JSON.stringify([said.user, said.password, hash]))
      .digest('base64');
    const same = this.#remembered.get(mark) ?? (await this.#inTurn(mark, said.password, hash));
    if (same === undefined) return 'busy';
    return same && known !== undefined ? 'admitted' : 'refused';
  }

  async #inTurn(mark: string, password: string, hash: string): Promise<boolean | undefined> {
    if (this.#waiting >= MAX_WAITING) return undefined;
    this.#waiting++;
    const compared = this.#rested.then(() => {
      this.#waiting--;
      return this.#compare(mark, password, hash);
    });
    this.#rested = compared.then(
      ({ tookMs }) => this.#options.rest(tookMs * REST_FACTOR),
      () => undefined,
    );
    return (await compared).same;
  }

  async #compare(mark: string, password: string, hash: string): Promise<{ same: boolean; tookMs: number }> {
    const known = this.#remembered.get(mark);
    if (known !== undefined) return { same: known, tookMs: 0 };
    const begun = performance.now();
    const same = await this.#options.compare(password, hash);
    this.#remember(mark, same);
    return { same, tookMs: performance.now() - begun };
  }

  #remember(mark: string, same: boolean): void {
    this.#remembered.set(mark, same);
    // Wrong ones go first: guessing does not drive out who may ask.
    if (this.#remembered.size <= MAX_REMEMBERED) return;
    const [wrong] = [...this.#remembered].find(([, admitted]) => !admitted) ?? [...this.#remembered][0] ?? [];
    if (wrong !== undefined) this.#remembered.delete(wrong);
  }
}

function credentials(header: string): { user: string; password: string } | undefined {
  const encoded = /^basic +([A-Za-z0-9+/]+=*)$/i.exec(header)?.[1];
  if (encoded === undefined) return undefined;
  const text = Buffer.from(encoded, 'base64').toString('utf8');
  const colon = text.indexOf(':');
  return colon < 0 ? undefined : { user: text.slice(0, colon), password: text.slice(colon + 1) };
}
