import type { Clock } from '../../src/cache/site.ts';

/** Time that passes only when a test says so, from a whole second on. A wait takes no time, and may be used to act in between. */
export class SteppedClock implements Clock {
  #nowMs = Math.floor(Date.now() / 1000) * 1000;
  #jumpedMs = 0;
  readonly #duringWaits: (() => void | Promise<void>)[];
  waits = 0;

  /** @param duringWaits what happens while the first, second, … wait lasts */
  constructor(...duringWaits: (() => void | Promise<void>)[]) {
    this.#duringWaits = duringWaits;
  }

  now(): number {
    return this.#nowMs;
  }

  /** Time that really passed: all but the jumps. */
  monotonicMs(): number {
    return this.#nowMs - this.#jumpedMs;
  }

  /** The wall clock is set. */
  jump(ms: number): void {
    this.#nowMs += ms;
    this.#jumpedMs += ms;
  }

  advance(ms: number): void {
    this.#nowMs += ms;
  }

  async sleep(): Promise<void> {
    await this.#duringWaits[this.waits++]?.();
  }
}
