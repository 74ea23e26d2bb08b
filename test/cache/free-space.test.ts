import { describe, expect, it } from 'vitest';
import type { Draft } from '../../src/cache/draft.ts';
import type { FilesystemView, FreeSpaceCache } from '../../src/cache/free-space.ts';
import { byFilesystem, SpaceKeeper } from '../../src/cache/free-space.ts';
import type { Outlook } from '../../src/cache/outlook.ts';
import { OperatorError } from '../../src/errors.ts';
import { noLimits } from '../../src/policy/limits.ts';
import type { Limits } from '../../src/policy/limits.ts';
import type { Tally } from '../../src/policy/plan.ts';
import type { Entry } from '../../src/policy/snapshot.ts';
import { entry, hour, now, planInput } from '../policy/builders.ts';

/** A cache in memory, on a filesystem in memory. */
class Fake implements FreeSpaceCache {
  readonly limits: Limits;
  entries: readonly Entry[];
  /** What was to be evicted, round by round. */
  readonly asked: string[] = [];
  mostAtOnce = Infinity;
  view: FilesystemView;
  readonly #given: { readonly bytes: number; readonly inodes: number };

  /** @param given what each entry gives back */
  constructor(entries: number, limits: Partial<Limits>, view: Partial<FilesystemView> = {}, given = { bytes: 100, inodes: 10 }) {
    this.limits = { ...noLimits, ...limits };
    this.entries = Array.from({ length: entries }, (_, i) => entry(`k${i}`, { idleMs: (entries - i) * hour }));
    this.view = { device: 'd', capacityBytes: 100_000, availableBytes: 40_000, inodes: 100_000, inodesFree: 40_000, ...view };
    this.#given = given;
  }

  filesystem(): FilesystemView {
    return this.view;
  }

  draft(): Promise<Draft> {
    const input = planInput(this.entries, this.limits);
    return Promise.resolve({
      input, most: Infinity, probe: async () => ({ hold: undefined, error: undefined }),
      outlook: ({ plan, errors }) => ({ snapshot: input.snapshot, holds: input.holds, plan, filesystem: this.view, errors }),
      [Symbol.dispose]: () => undefined,
    });
  }

  restingBytes(): Promise<number> {
    return Promise.resolve(0);
  }

  evict({ plan: { evict, freedBytes } }: Outlook): Promise<Tally> {
    this.asked.push(evict.at(0)?.reason === 'MinFree' ? `${freedBytes} bytes` : `${evict.length} entries`);
    const gone = Math.min(this.mostAtOnce, evict.length);
    this.entries = this.entries.slice(gone);
    const { availableBytes, inodesFree = 0 } = this.view;
    this.view = { ...this.view, availableBytes: availableBytes + gone * this.#given.bytes, inodesFree: inodesFree + gone * this.#given.inodes };
    return Promise.resolve({ entries: gone, bytes: gone * 100 });
  }

  purge(): Promise<void> {
    return Promise.resolve();
  }
}

async function rounds(cache: Fake): Promise<SpaceKeeper<Fake>> {
  const keeper = new SpaceKeeper<Fake>();
  while (keeper.isDue(now) && (await keeper.round([cache], () => now)));
  return keeper;
}

describe('a keeper of a filesystem', () => {
  it('asks for what is missing, and is done', async () => {
    const cache = new Fake(80, { minFree: { count: 41_050 } });
    const keeper = await rounds(cache);
    expect(cache.asked).toEqual(['1100 bytes']);
    expect(keeper.unmetOf(cache)).toEqual([]);
  });

  it('asks again for what entries did not give, as long as they give something', async () => {
    const cache = new Fake(80, { minFree: { count: 41_000 } }, {}, { bytes: 50, inodes: 0 });
    await rounds(cache);
    expect(cache.asked).toEqual(['1000 bytes', '500 bytes', '300 bytes', '100 bytes', '100 bytes']);
  });

  it('learns from the first entry that goes how many inodes one has, and then goes on by four times as many, and by eighths at most', async () => {
    const cache = new Fake(80, { minFreeInodes: { count: 40_300 } });
    await rounds(cache);
    expect(cache.asked).toEqual(['1 entries', '4 entries', '10 entries', '9 entries', '6 entries']);
    expect(cache.view.inodesFree).toBe(40_300);
  });

  it('takes few more where others make as many files at that time as it gives back', async () => {
    const cache = new Fake(800, { minFreeInodes: { count: 40_300 } }, {}, { bytes: 100, inodes: 100 });
    let rounds = 0;
    const { evict } = cache;
    cache.evict = async (planned) => {
      const gone = await evict.call(cache, planned);
      rounds += 1;
      // Nearly all, at the first time; then no more.
      if (rounds === 1) cache.view = { ...cache.view, inodesFree: (cache.view.inodesFree ?? 0) - 399 };
      return gone;
    };
    const keeper = new SpaceKeeper<Fake>();
    while (await keeper.round([cache], () => now));
    // Of those that seem to give one inode each 100 would go at once, an eighth.
    expect(cache.asked).toEqual(['4 entries', '16 entries']);
  });

  it('gives up for a while after two rounds that gave next to nothing, and says what stays short', async () => {
    const cache = new Fake(80, { minFree: { count: 41_000 } }, {}, { bytes: 2, inodes: 0 });
    const keeper = await rounds(cache);
    expect(cache.asked).toHaveLength(2);
    expect(keeper.isDue(now + 29_999)).toBe(false);
    expect(keeper.isDue(now + 30_000)).toBe(true);
    expect(keeper.unmetOf(cache)).toEqual([{ limit: 'MinFree', allowed: 41_000, remaining: cache.view.availableBytes, because: 'NotReclaimable' }]);
  });

  it.each([
    ['bytes', { minFree: { count: 46_000 } }, 60],
    ['inodes', { minFreeInodes: { count: 41_000 } }, 100],
  ])('goes on where one pass takes out a small part of the %s that are missing, as long as that part gives something', async (_, limits, rounded) => {
    const cache = new Fake(400, limits);
    cache.mostAtOnce = 1;
    const keeper = await rounds(cache);
    expect(cache.asked).toHaveLength(rounded);
    expect(keeper.unmetOf(cache)).toEqual([]);
  });

  it('gives up for a while where nothing went, though others gave some space back meanwhile', async () => {
    const cache = new Fake(80, { minFree: { count: 41_000 }, minFreeInodes: { count: 41_000 } });
    let asked = 0;
    cache.evict = () => {
      asked += 1;
      cache.view = { ...cache.view, availableBytes: cache.view.availableBytes + 50, inodesFree: 40_000 + asked };
      return Promise.resolve({ entries: 0, bytes: 0 });
    };
    await rounds(cache);
    expect(asked).toBe(2);
  });

  it('waits right away where nothing may go', async () => {
    const cache = new Fake(0, { minFree: { count: 41_000 } });
    const keeper = await rounds(cache);
    expect([cache.asked, keeper.isDue(now + 29_999)]).toEqual([[], false]);
    expect(keeper.unmetOf(cache)).toEqual([{ limit: 'MinFree', allowed: 41_000, remaining: 40_000 }]);
  });

  it('evicts nothing, deletes nothing that rests, and says so, where more is wanted than the filesystem can have free', async () => {
    const [cache, modest] = [new Fake(80, { minFree: { count: 100_001 } }), new Fake(80, { minFree: { count: 40_000 } })];
    cache.purge = () => Promise.reject(new TypeError('what rests goes on resting'));
    const keeper = new SpaceKeeper<Fake>();
    for (let i = 0; i < 3; i += 1) expect(await keeper.round([cache, modest], () => now)).toBe(false);
    expect([cache.asked, modest.asked]).toEqual([[], []]);
    const unmet = { limit: 'MinFree', allowed: 100_001, remaining: 100_000, because: 'BeyondCapacity' };
    expect([keeper.unmetOf(cache), keeper.unmetOf(modest)]).toEqual([[unmet], []]);
    // Beside one that can be helped it is said all the same.
    const short = new Fake(80, { minFree: { count: 41_000 } });
    const gone = new Fake(80, { minFree: { count: 100_001 } });
    await keeper.round([gone, short], () => now);
    expect([gone.asked, short.asked, keeper.unmetOf(gone)]).toEqual([[], ['1000 bytes'], [unmet]]);
  });

  it('goes on without a cache that fails, and gives up where all do', async () => {
    const [broken, whole] = [new Fake(80, { minFree: { count: 41_000 } }), new Fake(80, { minFree: { count: 41_000 } })];
    broken.evict = () => Promise.reject(new OperatorError('ERR_LOCK_BUSY', 'busy'));
    const keeper = new SpaceKeeper<Fake>();
    await keeper.round([whole, broken], () => now);
    expect(whole.asked).toEqual(['500 bytes']);
    for (let i = 0; i < 5; i += 1) if (keeper.isDue(now)) await keeper.round([broken], () => now);
    expect(keeper.isDue(now)).toBe(false);
  });

  it('takes nothing of a cache of which it is not known what its trash will give', async () => {
    const [unknown, whole] = [new Fake(80, { minFree: { count: 41_000 } }), new Fake(80, { minFree: { count: 41_000 } })];
    unknown.restingBytes = () => Promise.reject(new OperatorError('ERR_DISK_IO', 'cannot look'));
    await new SpaceKeeper<Fake>().round([unknown, whole], () => now);
    expect([unknown.asked, whole.asked]).toEqual([[], ['1000 bytes']]);
  });

  it('throws what is no trouble of a cache', async () => {
    const cache = new Fake(80, { minFree: { count: 41_000 } });
    cache.evict = () => Promise.reject(new TypeError('a bug'));
    await expect(new SpaceKeeper<Fake>().round([cache], () => now)).rejects.toThrow(TypeError);
  });
});

describe('caches by the filesystem they lie on', () => {
  it('are those that ask for free space and can be opened', () => {
    const one = new Fake(1, { minFree: { percent: 20 } });
    const two = new Fake(1, { minFreeInodes: { percent: 20 } });
    const elsewhere = new Fake(1, { minFree: { percent: 20 } }, { device: 'e' });
    const indifferent = new Fake(1, { maxEntries: 0 });
    const missing = new Fake(1, { minFree: { percent: 20 } });
    missing.filesystem = () => {
      throw new OperatorError('ERR_ROOT_MISSING', 'gone');
    };
    expect(byFilesystem([one, indifferent, missing, elsewhere, two]).map(({ filesystem: { device }, caches }) => [device, caches])).toEqual([['d', [one, two]], ['e', [elsewhere]]]);
  });
});
