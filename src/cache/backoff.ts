import type { PassError } from './report.ts';

interface Failure {
  readonly count: number;
  readonly nextTryAtMs: number;
  readonly error: PassError;
}

const maxWaitMs = 3_600_000;

/** What failed is tried again after 1 min, 2 min, … up to an hour. Kept between passes, by name. */
export class Backoff {
  readonly #failures = new Map<string, Failure>();
  #forgotAtMs = -Infinity;

  failed(name: string, error: PassError, nowMs: number): void {
    this.#forgetGone(nowMs);
    const count = (this.#failures.get(name)?.count ?? 0) + 1;
    this.#failures.set(name, { count, nextTryAtMs: nowMs + Math.min(maxWaitMs, 60_000 * 2 ** (count - 1)), error });
  }

  /** What was due for so long and has neither failed nor succeeded is not there any more. */
  #forgetGone(nowMs: number): void {
    // Not for each of thousands that fail one after the other.
    if (Math.abs(nowMs - this.#forgotAtMs) < 60_000) return;
    this.#forgotAtMs = nowMs;
    for (const [name, { nextTryAtMs }] of this.#failures) if (nextTryAtMs + 2 * maxWaitMs < nowMs) this.#failures.delete(name);
  }

  /** How many are remembered. */
  get size(): number {
    return this.#failures.size;
  }

  succeeded(name: string): void {
    this.#failures.delete(name);
  }

  /** 0 where nothing failed. */
  nextTryAtMs(name: string): number {
    return this.#failures.get(name)?.nextTryAtMs ?? 0;
  }

  /** Why it is not tried now; undefined where it is. */
  waiting(name: string, nowMs: number): PassError | undefined {
    const failure = this.#failures.get(name);
    return failure !== undefined && failure.nextTryAtMs > nowMs ? failure.error : undefined;
  }
}
