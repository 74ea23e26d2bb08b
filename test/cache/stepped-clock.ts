import type { Clock } from '../../src/cache/site.ts';

/** Time that passes only when a test says so, from a whole second on. A wait takes no time, and may be used to act in between. */
export class SteppedClock implements Clock {
  #nowMs = Math.floor(Date.now() / 1000) * 1000;
  #jumpedMs = 0;
  /** A month before, as `monotonicMs` tells it. */
  #bootedMs = this.#nowMs - 30 * 86_400_000;
  #boots = 1;
  #suspendedMs = 0;
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
    return this.#nowMs - this.#jumpedMs - this.#suspendedMs;
  }

  uptimeMs(): number {
    return this.#nowMs - this.#jumpedMs - this.#bootedMs;
  }

  bootId(): string {
    return `boot ${this.#boots}`;
  }

  /** The machine sleeps, and its monotonic clock with it. */
  suspend(ms: number): void {
    this.#nowMs += ms;
    this.#suspendedMs += ms;
  }

  /** The machine is off for a while, and then boots. */
  reboot(offMs = 0): void {
    this.#nowMs += offMs;
    this.#bootedMs = this.#nowMs - this.#jumpedMs;
    this.#boots += 1;
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
