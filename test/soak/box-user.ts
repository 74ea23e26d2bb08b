/**
 * A process that starts and stops boxes as fast as it goes, as the runtime would, falling behind at random between any two steps. It
 * reads the whole tree of what it mounted, and tells its parent of each use.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { join } from 'node:path';
import type { Stop } from '../cache/runtime-double.ts';
import { PutRefused, RuntimeDouble } from '../cache/runtime-double.ts';
import type { Image } from './image.ts';
import { harmIn } from './image.ts';
import { Random } from './soak.ts';

export interface UserOptions {
  readonly home: string;
  /** A directory with the tree of every image, by its key. */
  readonly sources: string;
  readonly images: readonly Image[];
  readonly seed: number;
  readonly name: string;
  /** So many boxes at a time. */
  readonly boxes: number;
  /** What the engine promises by. */
  readonly settleMs: number;
  readonly restMs: number;
  /** The share of uses on a full disk. */
  readonly fullDisk: number;
  /** The runtime's own limit, applied after a put that missed; null for none. Its removals harm its own boxes. */
  readonly ownMaxEntries: number | null;
}

export type Use =
  /** A whole tree, from mount to end. */
  | 'Whole'
  /** Fell behind for longer than is promised, and found nothing, or lost it. */
  | 'TooLate'
  | 'Harmed'
  | 'Put' | 'PutRefused' | 'PutFailed';

/** Times are wall clock, ms. */
export type UserEvent =
  | { readonly event: 'Use'; readonly use: Use; readonly key: string; readonly fromMs: number; readonly toMs: number; readonly detail: string }
  /** By the runtime itself. */
  | { readonly event: 'Removed'; readonly key: string; readonly fromMs: number; readonly toMs: number };

async function main(options: UserOptions): Promise<void> {
  const stop = new AbortController();
  process.on('message', () => stop.abort());
  process.on('disconnect', () => process.exit(stop.signal.aborted ? 0 : 1));
  await Promise.all(Array.from({ length: options.boxes }, (_, i) => new Boxes(options, i).run(stop.signal)));
  process.disconnect();
}

/** Clocks of files and timers are some milliseconds apart. */
const slackMs = 25;

class Boxes {
  readonly #options: UserOptions;
  readonly #random: Random;
  readonly #name: string;
  #uses = 0;

  constructor(options: UserOptions, index: number) {
    this.#options = options;
    this.#random = new Random(options.seed + index);
    this.#name = `${options.name}-${index}`;
  }

  async run(stopped: AbortSignal): Promise<void> {
    while (!stopped.aborted) {
      const image = this.#options.images[this.#random.below(this.#options.images.length)]!;
      const fromMs = Date.now();
      const { use, detail } = await new Box(this.#options, this.#random, `${this.#name}-${this.#uses++}`, image).start();
      tell({ event: 'Use', use, key: image.key, fromMs, toMs: Date.now(), detail });
      await sleep(this.#random.below(30));
    }
  }
}

/** One box, from its start to its end. */
class Box {
  readonly #options: UserOptions;
  readonly #random: Random;
  readonly #id: string;
  readonly #image: Image;
  readonly #runtime: RuntimeDouble;
  readonly #reached = new Map<Stop, number>();
  readonly #left = new Map<Stop, number>();

  constructor(options: UserOptions, random: Random, id: string, image: Image) {
    this.#options = options;
    this.#random = random;
    this.#id = id;
    this.#image = image;
    this.#runtime = new RuntimeDouble({ home: options.home, diskIsFull: random.chance(options.fullDisk), pause: (stop) => this.#pause(stop) });
  }

  async start(): Promise<{ use: Use; detail: string }> {
    const lookedMs = performance.now();
    const path = await this.#runtime.get(this.#image.key);
    const gotMs = performance.now();
    try {
      return path === undefined ? await this.#build() : await this.#use(path, lookedMs, gotMs);
    } finally {
      this.#runtime.removeBox(this.#id);
    }
  }

  /** A miss: the box uses its own copy, stores it for others, and marks the key all the same. */
  async #build(): Promise<{ use: Use; detail: string }> {
    const { sources, ownMaxEntries } = this.#options;
    const { key } = this.#image;
    const put = await this.#runtime.put(key, join(sources, key), `image ${key.slice(-4)}`).then((how) => ({ use: 'Put' as const, detail: how as string }), (error: unknown) => (
      { use: error instanceof PutRefused ? 'PutRefused' as const : 'PutFailed' as const, detail: String(error) }
    ));
    if (ownMaxEntries !== null && put.use === 'Put') this.#prune(ownMaxEntries);
    await this.#runtime.mark(this.#id, key);
    await sleep(this.#random.below(100));
    return put;
  }

  #prune(maxEntries: number): void {
    let last: { key: string; fromMs: number } | undefined;
    const told = () => last !== undefined && tell({ event: 'Removed', ...last, toMs: Date.now() });
    try {
      this.#runtime.prune(maxEntries, (key) => {
        told();
        last = { key, fromMs: Date.now() };
      });
    } catch (error) {
      // The runtime's prune stops at the first error, and logs it.
      if (typeof (error as { code?: unknown }).code !== 'string') throw error;
    } finally {
      told();
    }
  }

  async #use(path: string, lookedMs: number, gotMs: number): Promise<{ use: Use; detail: string }> {
    const { settleMs, restMs } = this.#options;
    const writtenMs = this.#left.get('Locked');
    // Whoever shows in the metadata, before an eviction that it did not see is over, begins anew.
    const sinceMs = writtenMs !== undefined && gotMs - lookedMs < 2 * settleMs - slackMs ? writtenMs : lookedMs;
    try {
      using tree = await this.#runtime.mount(path);
      const mountedMs = performance.now();
      await this.#runtime.mark(this.#id, this.#image.key);
      const inTime = (this.#reached.get('Marking') ?? 0) - mountedMs < restMs - slackMs;
      // A box that nothing but its marker speaks for runs until what was evicted when it started would be deleted.
      const endsMs = mountedMs + (writtenMs === undefined ? 2 * settleMs + restMs : this.#random.below(100));
      do {
        const harm = harmIn(tree.path, this.#image);
        if (harm !== undefined) return { use: inTime ? 'Harmed' : 'TooLate', detail: `${harm}; ${this.#story(lookedMs)}` };
        await sleep(this.#random.below(50));
      } while (performance.now() < endsMs);
      return { use: 'Whole', detail: '' };
    } catch (error) {
      const inTime = performance.now() - sinceMs < 2 * settleMs - slackMs;
      return { use: inTime ? 'Harmed' : 'TooLate', detail: `${String(error)}; ${this.#story(lookedMs)}` };
    }
  }

  /** Mostly not at all; else for about as long as a settle, which is where the order is tried. */
  async #pause(stop: Stop): Promise<void> {
    this.#reached.set(stop, performance.now());
    const [share, least, most] = stalls[stop];
    if (this.#random.chance(share)) await sleep(this.#random.between(least, most) * this.#options.settleMs);
    else if (this.#random.chance(0.2)) await sleep(this.#random.below(10));
    this.#left.set(stop, performance.now());
  }

  #story(lookedMs: number): string {
    return [...this.#left].map(([stop, ms]) => `${stop} +${Math.round(ms - lookedMs)} ms`).join(', ');
  }
}

/**
 * How often a box falls behind at a stop, and how far at least and at most, in settles: long where it has shown nothing yet, short
 * where it holds a lock.
 */
const stalls: Readonly<Record<Stop, readonly [share: number, least: number, most: number]>> = {
  Looked: [0.4, 0.9, 1.85],
  Read: [0.1, 0, 1],
  Locked: [0.1, 0, 0.1],
  Got: [0.1, 0, 0.9],
  Mounted: [0.4, 0.5, 1.95],
  Marking: [0.1, 0, 0.3],
  Staged: [0.1, 0, 0.5],
  Published: [0.2, 0, 1.9],
  Measured: [0.2, 0, 1],
};

function tell(event: UserEvent): void {
  if (process.connected) process.send?.(event);
}

if (process.send !== undefined) await main(JSON.parse(process.argv[2] ?? '') as UserOptions);
