import type { PassError } from './report.ts';

interface Failure {
  readonly count: number;
  readonly nextTryAtMs: number;
  readonly error: PassError;
}

/** What failed is tried again after 1 min, 2 min, … up to an hour. Kept between passes, by name. */
export class Backoff {
  readonly #failures = new Map<string, Failure>();

  failed(name: string, error: PassError, nowMs: number): void {
    const count = (this.#failures.get(name)?.count ?? 0) + 1;
    this.#failures.set(name, { count, nextTryAtMs: nowMs + Math.min(3_600_000, 60_000 * 2 ** (count - 1)), error });
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
