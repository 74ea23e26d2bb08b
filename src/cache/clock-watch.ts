import type { CompiledCache } from '../policy/compiled.ts';
import { withoutTime } from './outlook.ts';
import type { Clock } from './site.ts';

/** A wall clock is stepped by seconds, when it is set right; more is a battery that ran out, a wrong time server, a machine that was moved. */
const jumpMs = 5 * 60_000;
/** So many passes are left to whoever sets it back. */
const distrustedPasses = 2;

/** Who asks: a pass that may evict, one that only looks, or one for free space alone, which comes as often as it likes. */
export type Asker = 'Pass' | 'Look' | 'FreeSpace';

/**
 * Compares the wall clock with one that never jumps. After a jump nothing is known of how long an entry was idle: a clock stepped forward
 * by a month would make every entry too old at once. What happened before the first look cannot be told.
 *
 * Passes and looks are counted apart: however often a cache is looked at between two scheduled passes, the next two of these go without.
 */
export class ClockWatch {
  readonly #clock: Clock;
  #offsetMs: number | undefined;
  #distrusted = { Pass: 0, Look: 0 };
  /** How far the clock jumped ahead when it was trusted last: what was used before would look idle for so much longer than it is. */
  #aheadMs = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** What a plan goes by: the limits and the time. To be asked once a pass, look or try. */
  terms(asker: Asker, spec: CompiledCache): Pick<CompiledCache, 'limits' | 'protect'> & { readonly nowMs: number } {
    const isTrusted = this.isTrusted(asker);
    const { limits, protect } = isTrusted ? spec : withoutTime(spec);
    return { limits, protect, nowMs: this.#clock.now() - (isTrusted ? 0 : this.#aheadMs) };
  }

  /** To be asked once a pass, look or try. @returns false where the wall clock jumped lately */
  isTrusted(asker: Asker): boolean {
    const offsetMs = this.#clock.now() - this.#clock.monotonicMs();
    const jumpedMs = offsetMs - (this.#offsetMs ?? offsetMs);
    if (Math.abs(jumpedMs) > jumpMs) {
      this.#distrusted = { Pass: distrustedPasses, Look: distrustedPasses };
      this.#aheadMs = Math.max(0, jumpedMs);
    }
    this.#offsetMs = offsetMs;
    // A pass looks, too; free space only goes by what is known.
    const left = asker === 'Pass' ? this.#distrusted.Pass : this.#distrusted.Look;
    if (asker === 'Pass') this.#distrusted.Pass = Math.max(0, this.#distrusted.Pass - 1);
    if (asker !== 'FreeSpace') this.#distrusted.Look = Math.max(0, this.#distrusted.Look - 1);
    return left === 0;
  }
}
