import { mkdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Cache } from '../../src/cache/pass.ts';
import type { PassReport } from '../../src/cache/report.ts';
import type { Pin } from '../../src/policy/keep.ts';
import type { Limits, Protect } from '../../src/policy/limits.ts';
import { SteppedClock } from './stepped-clock.ts';
import { key, StoreOnDisk } from './store.ts';

interface EntryOnDisk {
  readonly usedSecondsAgo: number;
  readonly sizeBytes: number;
  readonly state: 'Whole' | 'Held' | 'Damaged' | 'WithoutMetadata' | 'WithoutDirectory';
}

interface Given {
  readonly entries: readonly EntryOnDisk[];
  readonly limits: Limits;
  readonly protect: Protect;
  /** One box that does not say what it uses: then nothing may go. */
  readonly unknown: boolean;
}

const letters = [...'abcdefghijkl'];

/** Small ranges, so that ties, zeros and limits that just hold come often. */
const given: fc.Arbitrary<Given> = fc.record({
  entries: fc.array(
    fc.record({
      usedSecondsAgo: fc.integer({ min: -5, max: 20 }),
      sizeBytes: fc.nat(10),
      state: fc.oneof({ weight: 6, arbitrary: fc.constant('Whole' as const) }, fc.constantFrom('Held', 'Damaged', 'WithoutMetadata', 'WithoutDirectory')),
    }),
    { maxLength: letters.length },
  ),
  limits: fc.record({
    maxEntries: fc.option(fc.nat(12)), maxBytes: fc.option(fc.nat(60)), maxIdleMs: fc.option(fc.nat(22_000)), headroomPercent: fc.constantFrom(0, 0, 10, 50),
    // What is free on the disk of the test would decide: that is planned by itself.
    minFree: fc.constant(null), minFreeInodes: fc.constant(null),
  }),
  protect: fc.record({
    minIdleMs: fc.constantFrom(0, 0, 5_000, 12_000),
    keep: fc.array(fc.constantFrom(...letters).map((letter): Pin => ({ by: 'key', pattern: key(letter), untilMs: null, reason: '' })), { maxLength: 2 }),
  }),
  unknown: fc.oneof({ weight: 9, arbitrary: fc.constant(false) }, fc.constant(true)),
});

function make({ entries, unknown }: Given): StoreOnDisk {
  const store = new StoreOnDisk();
  for (const [i, { usedSecondsAgo, sizeBytes, state }] of entries.entries()) {
    const name = key(letters[i] ?? 'z');
    store.entry(name, { usedSecondsAgo, sizeBytes });
    if (state === 'Held') store.box(`box-${i}`, name);
    if (state === 'Damaged') store.metadata(name, { size_bytes: -1 });
    if (state === 'WithoutMetadata') rmSync(join(store.root, `${name}.meta.json`));
    if (state === 'WithoutDirectory') rmSync(join(store.root, name), { recursive: true });
  }
  if (unknown) mkdirSync(join(store.home, 'boxes', 'silent', 'logs'), { recursive: true });
  return store;
}

function decided({ plan }: Pick<PassReport, 'plan'>): unknown[] {
  return [...plan.verdicts].map(({ entry, verdict, reason, detail }) => [entry.key, verdict, reason, detail]);
}

test('whatever lies in a cache, a dry run, a plan and the pass that follows decide the same, and what was decided is done', async () => {
  let evictedInAll = 0;
  await fc.assert(fc.asyncProperty(given, async (input) => {
    const store = make(input);
    const clock = new SteppedClock();
    const open = () => new Cache({ ...store.spec(), limits: input.limits, protect: input.protect }, { allowedRoots: [dirname(store.home)], clock, restMs: 0 });
    const before = store.fingerprint;
    const planned = decided(await open().plan());
    const dry = await open().pass({ mode: 'DryRun', trigger: 'Manual' });
    expect(store.fingerprint).toBe(before);
    const cache = open();
    const real = await cache.pass({ mode: 'Enforce', trigger: 'Manual' });
    expect([decided(dry), decided(real)]).toEqual([planned, planned]);
    const evicted = real.evicted.map((entry) => entry.key);
    expect(evicted.toSorted()).toEqual([...dry.plan.evict].map(({ entry }) => entry.key).toSorted());
    for (const { key: each } of dry.before.entries) expect(store.isServed(each) && store.isWhole(each)).toBe(!evicted.includes(each));
    expect([...real.after.entries].map((entry) => entry.key).toSorted()).toEqual([...(await cache.scan()).entries].map((entry) => entry.key).toSorted());
    // And then there is nothing left to decide.
    expect((await cache.pass({ mode: 'Enforce', trigger: 'Manual' })).evicted).toEqual([]);
    evictedInAll += evicted.length;
  }), { numRuns: 25 });
  expect(evictedInAll).toBeGreaterThan(0);
}, 120_000);
