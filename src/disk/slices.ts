import { setImmediate as nextTurn } from 'node:timers/promises';

/**
 * Long work in slices of a few milliseconds: file calls are synchronous (a promise each costs 4 to 7 times the CPU),
 * and between two slices timers, sockets and signals get their turn.
 *
 *     if (slices.over) await slices.yield();
 */
export class Slices {
  readonly #signal: AbortSignal | undefined;
  #startedAt = performance.now();
  #shortSteps = 0;

  constructor(signal?: AbortSignal) {
    this.#signal = signal;
  }

  get over(): boolean {
    return performance.now() - this.#startedAt >= sliceMs;
  }

  /** The same for steps of microseconds: a look at the clock costs a good part of one, so that only every eighth time it is looked at. */
  get overAfterShortSteps(): boolean {
    this.#shortSteps += 1;
    return this.#shortSteps % 8 === 0 && this.over;
  }

  /** @throws the signal's reason once it is aborted */
  async yield(): Promise<void> {
    await nextTurn();
    this.#signal?.throwIfAborted();
    this.#startedAt = performance.now();
  }
}

/** Carries long work out, step by step. @throws the signal's reason once it is aborted */
export async function inSlices<R>(steps: Generator<void, R, void>, slices: Slices): Promise<R> {
  for (;;) {
    const { done, value } = steps.next();
    if (done === true) return value;
    if (slices.over) await slices.yield();
  }
}

/** Short enough for a main loop delay of 30 ms at the 99th percentile with other work beside it. */
const sliceMs = 5;
