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
    // A full bucket gains nothing while it waits: the next refill counts from here.
    if (this.#tokens === this.#burst) this.#filledAtMs = nowMs;
    this.#tokens = Math.max(0, this.#tokens - 1);
  }

  #refill(nowMs: number): void {
    const gained = Math.max(0, Math.floor((nowMs - this.#filledAtMs) / this.#refillMs));
    this.#tokens = Math.min(this.#burst, this.#tokens + gained);
    this.#filledAtMs += gained * this.#refillMs;
  }
}
