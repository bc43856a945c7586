// How much one may have of something that is limited: it saves up tokens, spends them and waits for more. Owns the count.

export class TokenBucket {
  readonly #size: number;
  readonly #perSecond: number;
  readonly #nowMs: () => number;
  #tokens: number;
  #atMs: number;

  constructor(size: number, perSecond: number, nowMs = () => performance.now()) {
    this.#size = size;
    this.#perSecond = perSecond;
    this.#nowMs = nowMs;
    this.#tokens = size;
    this.#atMs = nowMs();
  }

  /** What has begun is carried out: the last one before a wait may cost more than there is. */
  spend(tokens: number): void {
    this.#refill();
    this.#tokens -= tokens;
  }

  /** Milliseconds until it may go on; 0: now. */
  waitMs(): number {
    this.#refill();
    return this.#tokens >= 1 ? 0 : ((1 - this.#tokens) / this.#perSecond) * 1000;
  }

  #refill(): void {
    const now = this.#nowMs();
    this.#tokens = Math.min(this.#size, this.#tokens + ((now - this.#atMs) / 1000) * this.#perSecond);
    this.#atMs = now;
  }
}
