/** So much at once, and one more after each refill time: what a writer may cost an API server. Times are ms of a clock that never jumps. */
export class TokenBucket {
  readonly #burst: number;
  readonly #refillMs: number;
  #tokens: number;
  #filledAtMs: number;

  constructor(burst: number, refillMs: number, nowMs: number) {
    this.#burst = burst;
    this.#refillMs = refillMs;
    this.#tokens = burst;
    this.#filledAtMs = nowMs;
  }

  /** How long the next one has to wait; 0 where it may go now. */
  waitMs(nowMs: number): number {
    this.#refill(nowMs);
    return this.#tokens > 0 ? 0 : this.#filledAtMs + this.#refillMs - nowMs;
  }

  spend(nowMs: number): void {
    this.#refill(nowMs);
    this.#tokens = Math.max(0, this.#tokens - 1);
  }

  #refill(nowMs: number): void {
    const gained = Math.floor((nowMs - this.#filledAtMs) / this.#refillMs);
    if (gained <= 0) return;
    this.#tokens = Math.min(this.#burst, this.#tokens + gained);
    // A full bucket gains nothing while it waits: the next refill counts from the next spending.
    this.#filledAtMs = this.#tokens === this.#burst ? nowMs : this.#filledAtMs + gained * this.#refillMs;
  }
}
