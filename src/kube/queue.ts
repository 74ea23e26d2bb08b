/**
 * The work queue of client-go: a key that waits is there once, however often it is added; a key that is worked on is not handed out a second time,
 * but comes again afterwards if it was added meanwhile.
 */
import { backoffMs, systemClock } from './clock.ts';
import type { Clock } from './clock.ts';

export interface QueueOptions {
  readonly clock?: Clock;
  /** The wait after the first failure of a key; it doubles with each one more. Default 200 ms. */
  readonly minBackoffMs?: number;
  /** Default 5 minutes. */
  readonly maxBackoffMs?: number;
  /** Keys that are handed out before the others, three times of four: however many others there are. Default none. */
  readonly isUrgent?: (key: string) => boolean;
  /** Of keys that are not urgent, so many are in work at once at most: a slow one must not hold up every worker. Default as many as there are workers. */
  readonly mostOthersAtOnce?: number;
}

/** So often the others have their turn first, and never starve. */
const othersEvery = 4;

export class WorkQueue {
  readonly #clock: Clock;
  readonly #minBackoffMs: number;
  readonly #maxBackoffMs: number;
  readonly #isUrgent: (key: string) => boolean;
  /** To be done, in order. A key is in one of the two only while it is dirty and not in work. */
  readonly #urgent: string[] = [];
  readonly #others: string[] = [];
  readonly #mostOthersAtOnce: number;
  readonly #othersInWork = new Set<string>();
  #handedOut = 0;
  readonly #dirty = new Set<string>();
  readonly #inWork = new Set<string>();
  readonly #delayed = new Map<string, { dueMs: number; cancel: () => void }>();
  readonly #failures = new Map<string, number>();
  readonly #takers: ((key: string | undefined) => void)[] = [];
  #stopped = false;

  constructor(options: QueueOptions = {}) {
    this.#clock = options.clock ?? systemClock;
    this.#minBackoffMs = options.minBackoffMs ?? 200;
    this.#maxBackoffMs = options.maxBackoffMs ?? 300_000;
    this.#isUrgent = options.isUrgent ?? (() => false);
    this.#mostOthersAtOnce = options.mostOthersAtOnce ?? Infinity;
  }

  /** How many keys wait, without those that are due later. */
  get size(): number {
    return this.#urgent.length + this.#others.length;
  }

  add(key: string): void {
    if (this.#stopped || this.#dirty.has(key)) return;
    this.#dirty.add(key);
    if (this.#inWork.has(key)) return;
    (this.#isUrgent(key) ? this.#urgent : this.#others).push(key);
    this.#handOut();
  }

  /** Adds the key when the time is over. Of several times for one key the earliest counts. */
  addAfter(key: string, ms: number): void {
    if (this.#stopped) return;
    const dueMs = this.#clock.monotonicMs() + ms;
    const delayed = this.#delayed.get(key);
    if (delayed !== undefined && delayed.dueMs <= dueMs) return;
    delayed?.cancel();
    const cancel = this.#clock.setTimer(ms, () => {
      this.#delayed.delete(key);
      this.add(key);
    });
    this.#delayed.set(key, { dueMs, cancel });
  }

  /** Adds the key after a wait that grows with every failure until `forget`. At least `minMs`, where the server asked for that. */
  addAfterFailure(key: string, minMs = 0): void {
    const failures = this.#failures.get(key) ?? 0;
    this.#failures.set(key, failures + 1);
    this.addAfter(key, minMs + backoffMs(failures, this.#minBackoffMs, this.#maxBackoffMs, this.#clock.random()));
  }

  /** The key succeeded: its next failure is its first. */
  forget(key: string): void {
    this.#failures.delete(key);
  }

  /** The next key, which must be given back with `done`; undefined once the queue is shut down. */
  take(): Promise<string | undefined> {
    return new Promise((resolve) => {
      if (this.#stopped) return resolve(undefined);
      this.#takers.push(resolve);
      this.#handOut();
    });
  }

  done(key: string): void {
    this.#inWork.delete(key);
    this.#othersInWork.delete(key);
    if (this.#dirty.delete(key)) this.add(key);
    this.#handOut();
  }

  /** Drops what waits, and hands out nothing more. Who has a key in work ends that. */
  shutDown(): void {
    this.#stopped = true;
    for (const { cancel } of this.#delayed.values()) cancel();
    this.#delayed.clear();
    this.#urgent.length = 0;
    this.#others.length = 0;
    for (const taker of this.#takers.splice(0)) taker(undefined);
  }

  #handOut(): void {
    while (this.#takers.length > 0) {
      const key = this.#next();
      if (key === undefined) return;
      this.#handedOut += 1;
      this.#dirty.delete(key);
      this.#inWork.add(key);
      this.#takers.shift()?.(key);
    }
  }

  #next(): string | undefined {
    const othersFirst = this.#handedOut % othersEvery === othersEvery - 1;
    return othersFirst ? (this.#nextOther() ?? this.#urgent.shift()) : (this.#urgent.shift() ?? this.#nextOther());
  }

  #nextOther(): string | undefined {
    const key = this.#othersInWork.size < this.#mostOthersAtOnce ? this.#others.shift() : undefined;
    if (key !== undefined) this.#othersInWork.add(key);
    return key;
  }
}
