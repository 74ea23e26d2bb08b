/** A process that does everything the engine can do, as fast as it goes, until it is killed. */
import { dirname, join } from 'node:path';
import { FilesystemCache } from '../../src/cache/filesystem-cache.ts';
import { Cache } from '../../src/cache/pass.ts';
import { writeMemory } from '../../src/cache/state.ts';
import { OperatorError } from '../../src/errors.ts';
import { noLimits, noProtection } from '../../src/policy/limits.ts';
import type { Image } from './image.ts';
import { Random } from './soak.ts';

export interface DoomedOptions {
  readonly home: string;
  /** A directory with the tree of every image, by key and number of files. */
  readonly sources: string;
  /** Several of one key are versions of it. */
  readonly images: readonly Image[];
  readonly maxEntries: number;
  readonly seed: number;
}

async function main({ home, sources, images, maxEntries, seed }: DoomedOptions): Promise<void> {
  const random = new Random(seed);
  const root = join(home, 'cache', 'rootfs');
  const allowedRoots = [dirname(home)];
  const store = { name: 'rootfs', format: 'a3s-rootfs', root, home } as const;
  const options = { allowedRoots, settleMs: 3, restMs: 0 };
  const backend = new FilesystemCache(store, options);
  using cache = new Cache({ ...store, limits: { ...noLimits, maxEntries }, protect: noProtection }, { ...options, remembers: true });
  const image = () => images[random.below(images.length)]!;
  const put = async () => {
    const { key, files } = image();
    await backend.put(key, join(sources, `${key}-${files}`), `image ${key.slice(-3)}`);
  };
  const acts: readonly (() => Promise<unknown>)[] = [
    put, put, put,
    async () => {
      await cache.pass({ mode: 'Enforce', trigger: 'Start' });
      await cache.purge();
    },
    async () => {
      await cache.scan();
      await cache.save();
    },
    async () => await backend.invalidate(image().key),
    async () => await backend.get(image().key),
    async () => writeMemory({ root, format: 'a3s-rootfs', allowedRoots }, { policy: { uid: 'uid', generation: random.below(1_000) }, totals: { evictedEntries: 1, evictedBytes: 2, revived: 3, raced: 4, lastEvictionAtMs: null } }),
  ];
  process.send?.('at work');
  for (;;) {
    try {
      await acts[random.below(acts.length)]!();
    } catch (error) {
      // One that is in use is refused; all else is a fault.
      if (!(error instanceof OperatorError) || error.code !== 'ERR_ENTRY_IN_USE') throw error;
    }
  }
}

process.on('disconnect', () => process.exit(1));
if (process.send !== undefined) await main(JSON.parse(process.argv[2] ?? '') as DoomedOptions);
