import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Use, UserEvent, UserOptions } from './box-user.ts';
import type { EngineEvent, EngineOptions } from './engine.ts';
import type { Image } from './image.ts';
import { harmIn, imageOf, makeTree, sizeOf } from './image.ts';
import { Processes } from './processes.ts';
import { Random, TemporaryDir } from './soak.ts';

export interface BesideRuntimeOptions {
  readonly seed: number;
  /** The module that exports the `Cache` under test. */
  readonly engine: string;
  readonly keys: number;
  /** Trees of up to so many files. */
  readonly mostFiles: number;
  readonly maxEntries: number;
  readonly users: number;
  readonly boxesPerUser: number;
  readonly settleMs: number;
  readonly restMs: number;
  readonly fullDisk?: number;
  readonly ownMaxEntries?: number;
  /** Ends once both are reached, or after the time. */
  readonly uses: number;
  readonly evictions: number;
  readonly timeoutMs: number;
  /** Ends at the first thing that must not be. */
  readonly untilHarm?: boolean;
  readonly progress?: (text: string) => void;
}

export interface BesideRuntimeResult {
  readonly uses: Readonly<Record<Use, number>>;
  readonly totalUses: number;
  readonly evicted: number;
  readonly revived: number;
  readonly raced: number;
  readonly purged: number;
  /** By the runtime itself. */
  readonly removed: number;
  /** What must not be: harm to a box, an eviction that was not planned so, a wrong size, an error, something left. */
  readonly wrongs: readonly string[];
  /** Harm to boxes whose entry the runtime removed itself meanwhile. */
  readonly ownHarm: number;
}

/** Boxes that come and go in other processes, beside the engine in one of its own, until there is enough of both. */
export async function besideRuntime(options: BesideRuntimeOptions): Promise<BesideRuntimeResult> {
  using scratch = new TemporaryDir();
  return await new BesideRuntime(scratch.path, options).run();
}

class BesideRuntime {
  readonly #options: BesideRuntimeOptions;
  readonly #home: string;
  readonly #canary: string;
  readonly #images: readonly Image[];
  readonly #sources: string;
  readonly #uses: Record<Use, number> = { Whole: 0, TooLate: 0, Harmed: 0, Put: 0, PutRefused: 0, PutFailed: 0 };
  readonly #harms: Extract<UserEvent, { event: 'Use' }>[] = [];
  readonly #removals: Extract<UserEvent, { event: 'Removed' }>[] = [];
  readonly #wrongs: string[] = [];
  #evicted = 0;
  #revived = 0;
  #raced = 0;
  #purged = 0;

  constructor(scratch: string, options: BesideRuntimeOptions) {
    this.#options = options;
    this.#home = join(scratch, 'home');
    this.#canary = join(scratch, 'canary');
    this.#sources = join(scratch, 'sources');
    const random = new Random(options.seed);
    // A few large ones, the largest first; all else is small.
    const filesOf = (i: number) => (i === 0 ? options.mostFiles : 3 + random.below(i % 40 === 0 ? options.mostFiles - 2 : 60));
    this.#images = Array.from({ length: options.keys }, (_, i) => imageOf(i, filesOf(i)));
  }

  async run(): Promise<BesideRuntimeResult> {
    for (const dir of ['cache/rootfs', 'boxes']) mkdirSync(join(this.#home, dir), { recursive: true });
    writeFileSync(this.#canary, 'canary');
    for (const image of this.#images) makeTree(join(this.#sources, image.key), image);
    const { seed, engine, maxEntries, settleMs, restMs, users } = this.#options;
    const running = new Processes();
    try {
      const engineOptions: EngineOptions = { module: engine, home: this.#home, maxEntries, settleMs, restMs, seed };
      const worker = running.start<EngineEvent>('engine.ts', engineOptions, (event) => this.#onEngine(event));
      const boxes = Array.from({ length: users }, (_, i) => running.start<UserEvent>('box-user.ts', this.#userOptions(i), (event) => this.#onUser(event)));
      await this.#enough(running);
      await running.stop(boxes);
      await running.stop([worker]);
    } finally {
      running.kill();
    }
    this.#lookAtTheEnd();
    return this.#result();
  }

  #userOptions(index: number): UserOptions {
    const { seed, boxesPerUser, settleMs, restMs, fullDisk = 0, ownMaxEntries = null } = this.#options;
    return {
      home: this.#home, sources: this.#sources, images: this.#images, seed: seed + 1_000 * (index + 1), name: `box-${index}`,
      boxes: boxesPerUser, settleMs, restMs, fullDisk, ownMaxEntries,
    };
  }

  async #enough(running: Processes): Promise<void> {
    const { uses, evictions, timeoutMs, untilHarm = false, progress } = this.#options;
    const endsAt = performance.now() + timeoutMs;
    for (let toldAt = performance.now(); performance.now() < endsAt; ) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      running.throwIfCrashed();
      if (this.#totalUses >= uses && this.#evicted >= evictions) return;
      if (untilHarm && (this.#wrongs.length > 0 || this.#harms.length > 0)) return;
      if (progress === undefined || performance.now() - toldAt < 10_000) continue;
      toldAt = performance.now();
      progress(`${this.#totalUses} of ${uses} uses, ${this.#evicted} of ${evictions} evictions, ${this.#revived} revived, ${this.#uses.PutRefused} puts refused, ${this.#harms.length} harmed`);
    }
  }

  get #totalUses(): number {
    return Object.values(this.#uses).reduce((sum, n) => sum + n, 0);
  }

  #onUser(event: UserEvent): void {
    if (event.event === 'Removed') {
      this.#removals.push(event);
      return;
    }
    this.#uses[event.use] += 1;
    if (event.use === 'Harmed') this.#harms.push(event);
    if (event.use === 'PutFailed' && this.#options.fullDisk === undefined) this.#wrongs.push(`a put failed: ${event.detail}`);
  }

  #onEngine(event: EngineEvent): void {
    this.#revived += event.revived;
    this.#wrongs.push(...event.errors.map((message) => `the engine: ${message}`));
    if (event.event === 'Purge') this.#purged += event.purged;
    else {
      this.#evicted += event.evicted;
      this.#raced += event.raced;
      this.#wrongs.push(...event.unplanned.map((key) => `${key} was evicted although it was used since it was planned`));
    }
  }

  /** All is quiet: what is there is whole and true, and nothing else is there. */
  #lookAtTheEnd(): void {
    const root = join(this.#home, 'cache', 'rootfs');
    const removed = new Set(this.#removals.map(({ key }) => key));
    for (const image of this.#images.filter(({ key }) => !removed.has(key))) {
      const tree = join(root, image.key);
      const stat = lstatSync(tree, { throwIfNoEntry: false });
      if (stat === undefined) continue;
      const harm = stat.isDirectory() ? harmIn(tree, image) : 'no directory';
      if (harm !== undefined) this.#wrongs.push(`${image.key} at the end: ${harm}`);
      // Only a disk that was full when it was put leaves a tree without metadata.
      if (this.#options.fullDisk !== undefined && !existsSync(`${tree}.meta.json`)) continue;
      const { size_bytes: size } = JSON.parse(readFileSync(`${tree}.meta.json`, 'utf8')) as { size_bytes: number };
      if (size !== sizeOf(image)) this.#wrongs.push(`${image.key} at the end: its metadata says ${size} bytes, it has ${sizeOf(image)}`);
    }
    // What has left was deleted, or came back: nothing else can have become of it.
    if (removed.size === 0 && this.#evicted > this.#purged + this.#revived) this.#wrongs.push(`of ${this.#evicted} evicted ${this.#purged} were deleted and at most ${this.#revived} came back`);
    const left = readdirSync(root).filter((name) => name.startsWith('.') && name !== '.cachepolicy');
    this.#wrongs.push(...[...left, ...readdirSync(join(root, '.cachepolicy', 'trash'))].map((name) => `${name} was left`));
    if (readFileSync(this.#canary, 'utf8') !== 'canary') this.#wrongs.push('something outside was touched');
  }

  #result(): BesideRuntimeResult {
    const harms = this.#harms.filter((harm) => !this.#removals.some(({ key, fromMs, toMs }) => key === harm.key && fromMs <= harm.toMs && toMs >= harm.fromMs));
    return {
      uses: this.#uses, totalUses: this.#totalUses, evicted: this.#evicted, revived: this.#revived, raced: this.#raced, purged: this.#purged,
      removed: this.#removals.length, ownHarm: this.#harms.length - harms.length,
      wrongs: [...harms.map(({ key, detail }) => `a box with ${key} was harmed: ${detail}`), ...this.#wrongs],
    };
  }
}

/** The engine as it ships. */
export const wholeEngine = join(import.meta.dirname, '../../src/cache/pass.ts');

/** Few keys: every entry comes and goes all the time. Small trees, so that there are many uses. */
export const fewKeys = { keys: 40, mostFiles: 300, maxEntries: 8, users: 4, boxesPerUser: 2, settleMs: 200, restMs: 400 } as const;

/** Many keys, and trees that take their time to be copied, measured and deleted. */
export const manyKeys = { keys: 300, mostFiles: 2_000, maxEntries: 100, users: 4, boxesPerUser: 2, settleMs: 200, restMs: 400 } as const;
