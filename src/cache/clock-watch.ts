import type { Clock } from './site.ts';

/** A wall clock is stepped by seconds, when it is set right; more is a battery that ran out, a wrong time server, a machine that was moved. */
const jumpMs = 5 * 60_000;
/** So many passes are left to whoever sets it back. */
const distrustedPasses = 2;

/**
 * Compares the wall clock with one that never jumps. After a jump nothing is known of how long an entry was idle: a clock stepped forward
 * by a month would make every entry too old at once. What happened before the first look cannot be told.
 */
export class ClockWatch {
  readonly #clock: Clock;
  #offsetMs: number | undefined;
  #distrusted = 0;
  #aheadMs = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** To be asked once a pass. @param isPass false where somebody only looks in between. @returns false where the wall clock jumped lately */
  isTrusted({ isPass = true } = {}): boolean {
    const offsetMs = this.#clock.now() - this.#clock.monotonicMs();
    const jumpedMs = offsetMs - (this.#offsetMs ?? offsetMs);
    if (Math.abs(jumpedMs) > jumpMs) {
      this.#distrusted = distrustedPasses;
      this.#aheadMs = Math.max(0, jumpedMs);
    }
    this.#offsetMs = offsetMs;
    if (this.#distrusted === 0) return true;
    if (isPass) this.#distrusted -= 1;
    return false;
  }

  /** How far the clock jumped ahead when it was trusted last, ms: what was used before would look idle for so much longer than it is. */
  get aheadMs(): number {
    return this.#aheadMs;
  }
}
