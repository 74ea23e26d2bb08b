import type { Clock } from '../../src/kube/clock.ts';

/** Between two steps real sockets get this many turns of the event loop: enough for a request and its answer. */
const turnsPerStep = 12;
const longestStepMs = 1_000;

/** A clock that stands still until it is stepped. */
export class SteppedClock implements Clock {
  /** What `random` returns. */
  chance = 0.5;
  #nowMs = 1_000_000;
  readonly #wallOffsetMs = Date.UTC(2026, 0, 1) - 1_000_000;
  readonly #timers = new Set<{ dueMs: number; call: () => void }>();

  monotonicMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return this.#nowMs + this.#wallOffsetMs;
  }

  random(): number {
    return this.chance;
  }

  setTimer(ms: number, call: () => void): () => void {
    const timer = { dueMs: this.#nowMs + Math.max(0, ms), call };
    this.#timers.add(timer);
    return () => void this.#timers.delete(timer);
  }

  get pendingTimers(): number {
    return this.#timers.size;
  }

  /** Jumps, and fires what became due, without time for anything in between: as an event loop that was blocked. */
  jump(ms: number): void {
    this.#nowMs += ms;
    for (const timer of this.#due()) {
      if (this.#timers.delete(timer)) timer.call();
    }
  }

  /** Lets the time pass, from timer to timer, with real time for real sockets at each. */
  async pass(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    await realPause();
    while (this.#nowMs < endMs) await this.#step(endMs);
  }

  /** Lets the time pass until the condition holds. @returns how much passed, in milliseconds */
  async passUntil(condition: () => boolean, withinMs = 600_000): Promise<number> {
    const startMs = this.#nowMs;
    for (let turns = 0; turns < 20; turns++) {
      if (condition()) return 0;
      await realPause();
    }
    while (!condition()) {
      if (this.#nowMs - startMs >= withinMs) throw new Error(`nothing came of it within ${withinMs} ms`);
      await this.#step(startMs + withinMs);
    }
    return this.#nowMs - startMs;
  }

  async #step(endMs: number): Promise<void> {
    const nextMs = Math.min(endMs, this.#nowMs + longestStepMs, ...[...this.#timers].map(({ dueMs }) => dueMs));
    this.jump(Math.max(0, nextMs - this.#nowMs));
    await realPause();
  }

  #due(): { dueMs: number; call: () => void }[] {
    return [...this.#timers].filter(({ dueMs }) => dueMs <= this.#nowMs).sort((a, b) => a.dueMs - b.dueMs);
  }
}

async function realPause(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 1));
  for (let turn = 0; turn < turnsPerStep; turn++) await new Promise((resolve) => setImmediate(resolve));
}
