import { fork } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { CacheOptions } from '../../src/cache/pass-options.ts';
import { Cache } from '../../src/cache/pass.ts';
import type { Clock } from '../../src/cache/site.ts';
import { systemClock } from '../../src/cache/site.ts';
import { readMemory } from '../../src/cache/state.ts';
import { noLimits, noProtection } from '../../src/policy/limits.ts';
import type { DoomedOptions } from './doomed-worker.ts';
import type { Image } from './image.ts';
import { harmIn, imageOf, makeTree, sizeOf } from './image.ts';
import type { Soak } from './soak.ts';
import { atLeast, exactly, Random, TemporaryDir, told } from './soak.ts';

export interface KilledResult {
  readonly rounds: number;
  /** Rounds whose end left an entry half way: a link, a staging directory, a deletion that had begun, metadata alone in the trash. */
  readonly halfDone: number;
  readonly wrongs: readonly string[];
}

/** Starts the engine on one cache again and again, and kills it each time at a moment of its own. */
export async function killAgainAndAgain({ rounds, seed, progress }: { rounds: number; seed: number; progress?: (text: string) => void }): Promise<KilledResult> {
  using scratch = new TemporaryDir();
  const random = new Random(seed);
  const cache = new KilledCache(scratch.path);
  let halfDone = 0;
  let done = 0;
  for (; done < rounds && cache.wrongs.length === 0; done += 1) {
    await cache.killOnce(random.below(2 ** 32), random.below(250));
    cache.look(`round ${done}`);
    halfDone += Number(cache.isHalfDone());
    // Mostly the next start has to deal with it, and is killed as well.
    if (random.chance(0.1) || done === rounds - 1) await cache.finish(`after round ${done}`);
    if (done % 50 === 49) progress?.(`${done + 1} of ${rounds} rounds, ${halfDone} left something half done`);
  }
  return { rounds: done, halfDone, wrongs: cache.wrongs };
}

const aDayMs = 86_400_000;

class KilledCache {
  readonly wrongs: string[] = [];
  readonly #home: string;
  readonly #root: string;
  readonly #canary: string;
  readonly #sources: string;
  /** Two versions of each key, of different sizes. */
  readonly #images: readonly Image[] = Array.from({ length: 8 }, (_, i) => [imageOf(i, 5 + i), imageOf(i, 60 + i)]).flat();
  /** In use by a box, all the time. */
  readonly #held = imageOf(999, 20);
  #daysOn = 2;

  constructor(scratch: string) {
    this.#home = join(scratch, 'home');
    this.#root = join(this.#home, 'cache', 'rootfs');
    this.#canary = join(scratch, 'canary');
    this.#sources = join(scratch, 'sources');
    const box = join(this.#home, 'boxes', 'one');
    for (const dir of [this.#root, box]) mkdirSync(dir, { recursive: true });
    writeFileSync(join(box, '.rootfs-cache-key'), this.#held.key);
    writeFileSync(this.#canary, 'canary');
    for (const image of this.#images) makeTree(join(this.#sources, `${image.key}-${image.files}`), image);
    makeTree(join(this.#root, this.#held.key), this.#held);
    const metadata = { key: this.#held.key, description: '', size_bytes: sizeOf(this.#held), cached_at: 1, last_accessed: 1 };
    writeFileSync(join(this.#root, `${this.#held.key}.meta.json`), JSON.stringify(metadata));
  }

  async killOnce(seed: number, afterMs: number): Promise<void> {
    const images = [...this.#images, this.#held];
    const options: DoomedOptions = { home: this.#home, sources: this.#sources, images, maxEntries: 6, seed };
    const child = fork(join(import.meta.dirname, 'doomed-worker.ts'), [JSON.stringify(options)], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    const ended = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
    try {
      await Promise.race([once(child, 'message'), ended]);
      await new Promise((resolve) => setTimeout(resolve, afterMs));
    } finally {
      child.kill('SIGKILL');
    }
    const [code] = await ended;
    if (code !== null) this.wrongs.push(`the engine ended by itself with ${code} (seed ${seed})`);
  }

  /** What must hold at any moment: each entry is whole, whoever reaches it, and true if it is served. */
  look(when: string): void {
    for (const key of new Set(this.#images.map((image) => image.key))) {
      const tree = join(this.#root, key);
      if (!existsSync(tree)) continue;
      const version = this.#images.find((image) => image.key === key && harmIn(tree, image) === undefined);
      if (version === undefined) this.wrongs.push(`${when}: ${key} is not whole`);
      const size = this.#sizeServed(key);
      if (version !== undefined && size !== undefined && size !== sizeOf(version)) this.wrongs.push(`${when}: ${key} says ${size} bytes and has ${sizeOf(version)}`);
    }
    const harm = harmIn(join(this.#root, this.#held.key), this.#held);
    if (harm !== undefined || this.#sizeServed(this.#held.key) === undefined) this.wrongs.push(`${when}: what is in use is not served whole: ${harm}`);
    if (readFileSync(this.#canary, 'utf8') !== 'canary' || readdirSync(dirname(this.#canary)).length !== 3) this.wrongs.push(`${when}: something outside was touched`);
    const place = { root: this.#root, format: 'a3s-rootfs', allowedRoots: [dirname(this.#home)] } as const;
    if (existsSync(join(this.#root, '.cachepolicy', 'state')) && readMemory(place) === undefined) this.wrongs.push(`${when}: the state is lost`);
  }

  #sizeServed(key: string): number | undefined {
    const [tree, metadata] = [join(this.#root, key), join(this.#root, `${key}.meta.json`)];
    if (!lstatSync(tree, { throwIfNoEntry: false })?.isDirectory() || !existsSync(metadata)) return undefined;
    return (JSON.parse(readFileSync(metadata, 'utf8')) as { size_bytes: number }).size_bytes;
  }

  isHalfDone(): boolean {
    return this.#strays().length > 0 || this.#trash.some((id) => !existsSync(join(this.#root, '.cachepolicy', 'trash', id, 'd')));
  }

  get #trash(): string[] {
    const trash = join(this.#root, '.cachepolicy', 'trash');
    return existsSync(trash) ? readdirSync(trash) : [];
  }

  /** What stands in the root and is neither a directory with metadata nor ours. */
  #strays(): string[] {
    return readdirSync(this.#root, { withFileTypes: true })
      .filter((entry) => entry.isSymbolicLink() || (entry.name.startsWith('.') && entry.name !== '.cachepolicy'))
      .map((entry) => entry.name);
  }

  /** A start that nobody stops, days later: nothing that was begun remains. */
  async finish(when: string): Promise<void> {
    using remembering = this.#cache({ remembers: true });
    using cache = this.#cache({});
    if (await indexed(remembering) !== await indexed(cache)) this.wrongs.push(`${when}: the saved index shows other entries than there are`);
    this.#daysOn += 2;
    const { errors } = await cache.pass({ mode: 'Enforce', trigger: 'Start' });
    const purged = await cache.purge();
    this.look(when);
    this.wrongs.push(...[...errors, ...purged.errors].map(({ message }) => `${when}: ${message}`));
    this.wrongs.push(...[...this.#strays(), ...this.#trash].map((name) => `${when}: ${name} is left`));
    const { leftovers, damaged } = await cache.scan();
    this.wrongs.push(...[...leftovers, ...damaged].map(({ name }) => `${when}: ${name} is left over or damaged`));
  }

  /** Days on, by its own clock. */
  #cache(options: Partial<CacheOptions>): Cache {
    const clock: Clock = { ...systemClock, now: () => Date.now() + this.#daysOn * aDayMs, sleep: async () => {} };
    return new Cache(
      { name: 'rootfs', format: 'a3s-rootfs', root: this.#root, home: this.#home, limits: noLimits, protect: noProtection },
      { allowedRoots: [dirname(this.#home)], restMs: 0, clock, ...options },
    );
  }
}

async function indexed(cache: Cache): Promise<string> {
  return [...(await cache.scan()).entries].map(({ key, sizeBytes, lastAccessedAtMs }) => `${key} ${sizeBytes} ${lastAccessedAtMs}`).toSorted().join('\n');
}

export const killed: Soak = {
  name: 'killed',
  about: 'the engine is killed at random moments of everything it does, and started again on what that left',
  run: async ({ seed, scale, progress }) => {
    const most = Math.ceil(1_000 * scale);
    const { rounds, halfDone, wrongs } = await killAgainAndAgain({ rounds: most, seed, progress });
    return [
      atLeast('rounds', rounds, most),
      exactly('entries not whole, untrue, gone or left', wrongs.length, 0),
      ...wrongs.slice(0, 5).map((wrong) => told('', wrong)),
      // Or the kills come when nothing happens.
      atLeast('rounds that left something half done', halfDone, Math.floor(most / 5)),
    ];
  },
};
