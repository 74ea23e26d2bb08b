import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { Cache } from '../../src/cache/pass.ts';
import type { PassProgress } from '../../src/cache/report.ts';
import { Dir } from '../../src/disk/dir.ts';
import { tryLock } from '../../src/disk/lock.ts';
import { OperatorError } from '../../src/errors.ts';
import { images, rootfsKeys, unpackHome } from '../fixtures/homes.ts';
import { asRoot, mount, pin, scratchDir } from '../disk/scratch.ts';
import { systemClock } from '../../src/cache/site.ts';
import { SteppedClock } from './stepped-clock.ts';
import { key, noLimits, StoreOnDisk } from './store.ts';
import { noProtection } from '../../src/policy/limits.ts';

const [a, b, c] = [key('a'), key('b'), key('c')];

/** a was used least recently, c last. */
function three(): StoreOnDisk {
  return new StoreOnDisk().entry(a, { usedSecondsAgo: 300 }).entry(b, { usedSecondsAgo: 200 }).entry(c, { usedSecondsAgo: 100 });
}

const enforce = { mode: 'Enforce', trigger: 'Manual' } as const;

describe('a pass', () => {
  test('evicts the least recently used of a home of the runtime, never what a box uses', async () => {
    const home = unpackHome(scratchDir());
    const root = join(home, 'cache/rootfs');
    const cache = new Cache(
      { name: 'rootfs', format: 'a3s-rootfs', root, home, limits: { ...noLimits, maxEntries: 4 }, protect: { ...noProtection, minIdleMs: 60_000 } },
      { allowedRoots: [dirname(home)], clock: new SteppedClock(), restMs: 0 },
    );
    const report = await cache.pass({ mode: 'Enforce', trigger: 'Schedule' });
    const gone = images.slice(1, 5);
    expect(report).toMatchObject({ cacheName: 'rootfs', root, trigger: 'Schedule', revived: 0, raced: 0, holdSources: ['Box', 'Mount', 'Flock'], leftoversRemoved: 0, errors: [] });
    expect(report.evicted).toEqual(
      gone.map((image) => expect.objectContaining({ key: rootfsKeys[image], description: `docker.io/library/${image}`, reason: 'MaxEntries' })),
    );
    expect(report.before.entries).toHaveLength(8);
    expect([...report.after.entries].map((entry) => entry.key).toSorted()).toEqual(images.filter((image) => !gone.includes(image)).map((image) => rootfsKeys[image]).toSorted());
    expect(report.purgeDueAtMs).toBeLessThanOrEqual(report.finishedAtMs);
    for (const image of images) expect(existsSync(join(root, `${rootfsKeys[image]}.meta.json`))).toBe(!gone.includes(image));
    for (const image of images) expect(existsSync(join(root, rootfsKeys[image]))).toBe(!gone.includes(image));
    expect(await cache.purge()).toEqual({ purgedEntries: 4, purgedBytes: 116_284, revived: 0, revivedNames: [], nextDueAtMs: null, errors: [] });
    expect(readdirSync(join(root, '.cachepolicy/trash'))).toEqual([]);
  });

  test('takes out no more at once than it may, the least recently used first, and says that there is more', async () => {
    const store = three();
    using cache = store.cache({ maxEntries: 0 }, { mostAtOnce: 2 });
    const first = await cache.pass(enforce);
    expect([first.evicted.map((entry) => entry.key), first.unfinished, store.isServed(c)]).toEqual([[a, b], true, true]);
    const second = await cache.pass(enforce);
    expect([second.evicted.map((entry) => entry.key), second.unfinished]).toEqual([[c], false]);
  });

  test('evicts nothing for its idle time when the wall clock has just jumped by a month', async () => {
    const clock = new SteppedClock();
    using cache = three().cache({ ...noLimits, maxIdleMs: 3_600_000 }, { clock });
    expect((await cache.pass(enforce)).evicted).toEqual([]);
    clock.jump(30 * 86_400_000);
    expect((await cache.pass(enforce)).evicted).toEqual([]);
    expect((await cache.pass(enforce)).evicted).toEqual([]);
    expect((await cache.pass(enforce)).evicted).toEqual([]);
    clock.advance(600_000);
    expect((await cache.pass(enforce)).evicted).toHaveLength(3);
  });

  test('evicts nothing for its idle time by the schedule of a clock that jumped, however often the cache is looked at before', async () => {
    const clock = new SteppedClock();
    using cache = three().cache({ ...noLimits, maxIdleMs: 3_600_000 }, { clock });
    await cache.pass(enforce);
    clock.jump(30 * 86_400_000);
    const looks = [(await cache.pass({ mode: 'DryRun', trigger: 'Change' })).plan.evict.length];
    clock.advance(600_000);
    for (let i = 0; i < 3; i += 1) looks.push((await cache.pass({ mode: 'DryRun', trigger: 'Change' })).plan.evict.length);
    expect(looks).toEqual([0, 0, 3, 3]);
    for (let i = 0; i < 2; i += 1) expect((await cache.pass({ mode: 'Enforce', trigger: 'Schedule' })).evicted).toEqual([]);
    expect((await cache.pass({ mode: 'Enforce', trigger: 'Schedule' })).evicted).toHaveLength(3);
  });

  test('takes nothing for long unused that was used right before the wall clock jumped ahead', async () => {
    const clock = new SteppedClock();
    const store = three().entry(key('d'), { usedSecondsAgo: 1 });
    using cache = new Cache({ ...store.spec({ maxEntries: 0 }), protect: { ...noProtection, minIdleMs: 60_000 } }, { allowedRoots: [dirname(store.home)], clock, restMs: 0 });
    await cache.plan({ trigger: 'Manual' });
    clock.jump(3_600_000);
    expect((await cache.pass(enforce)).evicted.map((entry) => entry.key)).toEqual([a, b, c]);
    expect(store.isServed(key('d'))).toBe(true);
  });

  test('lets no pin expire when the wall clock has just jumped, however often free space is looked after meanwhile', async () => {
    const clock = new SteppedClock();
    const store = three();
    const keep = [{ by: 'description', pattern: '*', untilMs: clock.now() + 3_600_000, reason: '' }] as const;
    using cache = new Cache({ ...store.spec({ maxEntries: 0 }), protect: { minIdleMs: 0, keep } }, { allowedRoots: [dirname(store.home)], clock });
    expect((await cache.pass(enforce)).evicted).toEqual([]);
    clock.jump(30 * 86_400_000);
    for (let round = 0; round < 3; round += 1) expect((await cache.plan({ trigger: 'FreeSpace' })).plan.held.kept.entries).toBe(3);
    for (let pass = 0; pass < 2; pass += 1) expect((await cache.pass(enforce)).evicted).toEqual([]);
    clock.advance(600_000);
    expect((await cache.pass(enforce)).evicted).toHaveLength(3);
  });

  test('evicts layers by their digests', async () => {
    const home = unpackHome(scratchDir());
    const root = join(home, 'cache/layers');
    using cache = new Cache(
      { name: 'layers', format: 'a3s-layers', root, home, limits: { ...noLimits, maxEntries: 2 }, protect: noProtection },
      { allowedRoots: [dirname(home)], clock: new SteppedClock() },
    );
    const { evicted, after } = await cache.pass(enforce);
    expect(evicted.map((entry) => entry.key)).toEqual([expect.stringMatching(/^sha256:/), expect.stringMatching(/^sha256:/), expect.stringMatching(/^sha256:/)]);
    expect(after.entries).toHaveLength(2);
  });

  test.each(['DryRun', 'Suspended'] as const)('in mode %s says what would go, and writes nothing at all', async (mode) => {
    const store = three();
    const before = store.fingerprint;
    const report = await store.cache({ maxEntries: 1 }).pass({ mode, trigger: 'Manual' });
    expect([...report.plan.evict].map(({ entry }) => entry.key)).toEqual([a, b]);
    expect(report).toMatchObject({ evicted: [], purgeDueAtMs: null });
    expect(report.after).toEqual(report.before);
    expect(store.fingerprint).toBe(before);
  });

  test('decides the same in a dry run as in a real one', async () => {
    const store = three().box('one', a);
    const clock = new SteppedClock();
    const dry = await store.cache({ maxBytes: 150 }, { clock }).pass({ mode: 'DryRun', trigger: 'Manual' });
    const real = await store.cache({ maxBytes: 150 }, { clock }).pass(enforce);
    expect([...real.plan.verdicts].map(({ verdict, reason, detail }) => [verdict, reason, detail])).toEqual([...dry.plan.verdicts].map(({ verdict, reason, detail }) => [verdict, reason, detail]));
    expect(real.evicted.map((entry) => entry.key)).toEqual([b, c]);
  });

  test('says where it is', async () => {
    const progress: PassProgress[] = [];
    await three().cache({ maxEntries: 1 }, { settleMs: 7 }).pass({ ...enforce, onProgress: (at) => progress.push(at) });
    expect(progress).toEqual([
      { step: 'Settle', done: 0, total: 2, waitMs: 7 },
      { step: 'Evict', done: 0, total: 2 },
      { step: 'Evict', done: 0, total: 2 },
      { step: 'Settle', done: 0, total: 2, waitMs: 7 },
      { step: 'Evict', done: 0, total: 2 },
      { step: 'Evict', done: 0, total: 2 },
      { step: 'Evict', done: 0, total: 2 },
      { step: 'Evict', done: 1, total: 2 },
    ]);
  });

  test('waits for nothing where nothing goes', async () => {
    const clock = new SteppedClock();
    await three().cache({ maxEntries: 3 }, { clock }).pass(enforce);
    expect(clock.waits).toBe(0);
  });

  test('while what is in use cannot be read evicts nothing, and says so', async () => {
    const store = three().box('bad', 'no key');
    const { evicted, errors, plan } = await store.cache({ maxEntries: 0 }).pass(enforce);
    expect(evicted).toEqual([]);
    expect(errors).toMatchObject([{ code: 'ERR_HOLDS_UNREADABLE', message: expect.stringContaining('box bad') }]);
    expect(plan.held.inUse.entries).toBe(3);
    expect([a, b, c].map((name) => store.isServed(name))).toEqual([true, true, true]);
  });
});

describe('on its way out an entry', () => {
  test('is a miss from the first step on, and whole under its path until the last', async () => {
    const store = three();
    const seen: unknown[] = [];
    const look = () => void seen.push({ served: store.isServed(a), whole: store.isWhole(a), isLink: lstatSync(join(store.root, a)).isSymbolicLink() });
    await store.cache({ maxEntries: 2 }, { clock: new SteppedClock(look, look) }).pass(enforce);
    expect(seen).toEqual([
      { served: false, whole: true, isLink: false },
      { served: false, whole: true, isLink: true },
    ]);
    expect(existsSync(join(store.root, a))).toBe(false);
  });

  test('leaves nothing behind but its lock', async () => {
    const store = three();
    const cache = store.cache({ maxEntries: 2 });
    await cache.pass(enforce);
    await cache.purge();
    expect(store.names).toEqual([b, `${b}.meta.json`, c, `${c}.meta.json`]);
    expect(existsSync(join(store.root, `${a}.meta.json.lock`))).toBe(true);
  });
});

describe('an entry comes back, whole and served, where it is wanted after all', () => {
  /** Runs a pass that wants a gone, with something happening in its first and its second wait. */
  async function pass(store: StoreOnDisk, ...duringWaits: (() => void)[]) {
    const cache = store.cache({ maxEntries: 2 }, { clock: new SteppedClock(...duringWaits) });
    const report = await cache.pass(enforce);
    return { report, cache };
  }

  const nothing = () => {};
  const ways: [string, (store: StoreOnDisk) => void, object][] = [
    ['a hit wrote the metadata again', (store) => void store.metadata(a, { last_accessed: 4_000_000_000 }), { last_accessed: 4_000_000_000 }],
    ['a box marked it', (store) => void store.box('new', a), { size_bytes: 100 }],
    ['a marker became unreadable', (store) => void store.box('new', ''), { size_bytes: 100 }],
  ];
  describe.each([['first', 0], ['second', 1]] as const)('in the %s wait', (_, wait) => {
    test.each(ways)('because %s', async (_reason, want, metadata) => {
      const store = three();
      const { report } = await pass(store, ...(wait === 0 ? [() => want(store)] : [nothing, () => want(store)]));
      expect(report).toMatchObject({ revived: 1, raced: 0, evicted: [] });
      expect(report.after.entries).toHaveLength(3);
      expect([store.isServed(a), store.isWhole(a)]).toEqual([true, true]);
      expect(JSON.parse(readFileSync(join(store.root, `${a}.meta.json`), 'utf8'))).toMatchObject(metadata);
      expect(store.trash).toEqual([]);
    });

    test('because the boxes are gone, which is reported as an error and not as a use', async () => {
      const store = three();
      const loseBoxes = () => rmSync(join(store.home, 'boxes'), { recursive: true });
      const { report } = await pass(store, ...(wait === 0 ? [loseBoxes] : [nothing, loseBoxes]));
      expect(report).toMatchObject({ revived: 0, raced: 0, evicted: [], errors: [{ code: 'ERR_HOLDS_UNREADABLE' }] });
      expect([store.isServed(a), store.isWhole(a), store.trash]).toEqual([true, true, []]);
    });

    test('because its metadata is being written at this moment', async () => {
      const store = three();
      const hold = () => {
        const lock = tryLock(pin(store.root), `${a}.meta.json.lock`);
        onTestFinished(() => lock?.[Symbol.dispose]());
      };
      const { report } = await pass(store, ...(wait === 0 ? [hold] : [nothing, hold]));
      expect(report).toMatchObject({ revived: 1, evicted: [] });
      expect([store.isServed(a), store.isWhole(a)]).toEqual([true, true]);
    });

    test('because the pass is called off', async () => {
      const store = three();
      const abort = new AbortController();
      const cancel = () => abort.abort(new Error('called off'));
      const cache = store.cache({ maxEntries: 1 }, { clock: new SteppedClock(...(wait === 0 ? [cancel] : [nothing, cancel])) });
      expect(await cache.pass({ ...enforce, signal: abort.signal })).toMatchObject({ stopped: true, evicted: [], revived: 0 });
      expect([a, b, c].map((name) => store.isServed(name) && store.isWhole(name))).toEqual([true, true, true]);
      expect(store.trash).toEqual([]);
    });
  });

  test('a put that measured it while it left recorded too little: the size known before is kept', async () => {
    const store = three();
    await pass(store, nothing, () => void store.metadata(a, { size_bytes: 0, last_accessed: 1_999_999_999, description: 'put again' }));
    expect(JSON.parse(readFileSync(join(store.root, `${a}.meta.json`), 'utf8'))).toMatchObject({ size_bytes: 100, last_accessed: 1_999_999_999, description: 'put again' });
  });

  test('a put that adopted it where it lay measured it right: its metadata stands', async () => {
    const store = three();
    await pass(store, () => void store.metadata(a, { size_bytes: 101 }));
    expect(JSON.parse(readFileSync(join(store.root, `${a}.meta.json`), 'utf8'))).toMatchObject({ size_bytes: 101 });
  });

  test('the others go on', async () => {
    const store = three();
    const cache = store.cache({ maxEntries: 1 }, { clock: new SteppedClock(() => void store.box('new', a)) });
    const report = await cache.pass(enforce);
    expect(report).toMatchObject({ revived: 1, evicted: [{ key: b }] });
    expect(store.isServed(a)).toBe(true);
  });
});

describe('what others do meanwhile', () => {
  test('an entry that is rewritten between plan and eviction is left alone', async () => {
    const store = three();
    // While a is taken out, somebody hits b.
    const fault = (step: string) => {
      if (step.startsWith('mkdir ') && step.endsWith(`.${a}`)) store.metadata(b, { last_accessed: Math.floor(Date.now() / 1000) });
    };
    const report = await store.cache({ maxEntries: 1 }, { fault }).pass(enforce);
    expect(report).toMatchObject({ raced: 1, revived: 0, evicted: [{ key: a }] });
    expect(store.isServed(b)).toBe(true);
  });

  test('so is one whose metadata somebody holds locked', async () => {
    const store = three();
    using lock = tryLock(pin(store.root), `${a}.meta.json.lock`);
    expect(lock).toBeDefined();
    const report = await store.cache({ maxEntries: 1 }).pass(enforce);
    expect(report).toMatchObject({ raced: 1, evicted: [{ key: b }] });
    expect(store.isServed(a)).toBe(true);
  });

  test('one that the runtime removes itself is gone, and counts as none of ours', async () => {
    const store = three();
    const clock = new SteppedClock(() => rmSync(join(store.root, a), { recursive: true }));
    const cache = store.cache({ maxEntries: 2 }, { clock });
    expect(await cache.pass(enforce)).toMatchObject({ raced: 1, revived: 0, evicted: [] });
    expect(await cache.purge()).toMatchObject({ purgedEntries: 0, nextDueAtMs: null });
    expect(store.names).toEqual([b, `${b}.meta.json`, c, `${c}.meta.json`]);
  });

  test('a link that the runtime removes, and a put after it, leave a new entry that stands', async () => {
    const store = three();
    const replace = () => {
      unlinkSync(join(store.root, a));
      store.entry(a, { sizeBytes: 55 });
      writeFileSync(join(store.root, a, 'new'), '');
    };
    const cache = store.cache({ maxEntries: 2 }, { clock: new SteppedClock(() => {}, replace) });
    await cache.pass(enforce);
    expect([store.isServed(a), store.isWhole(a), existsSync(join(store.root, a, 'new'))]).toEqual([true, true, true]);
    expect(await cache.purge()).toMatchObject({ nextDueAtMs: null });
    expect(store.trash).toEqual([]);
    expect(existsSync(join(store.root, a, 'new'))).toBe(true);
  });

  test('a second pass at the same time finds the cache busy, and nothing is evicted twice', async () => {
    const store = three();
    let second: Promise<unknown> = Promise.resolve();
    const clock = new SteppedClock(async () => {
      second = store.cache({ maxEntries: 1 }).pass(enforce).catch((error: unknown) => error);
      await second;
    });
    const report = await store.cache({ maxEntries: 1 }, { clock }).pass(enforce);
    expect(await second).toMatchObject({ code: 'ERR_LOCK_BUSY', message: `another process works in ${store.root}` });
    expect(report.evicted.map((entry) => entry.key)).toEqual([a, b]);
  });

  test('scans and dry runs work beside it, and see an entry on its way out as none', async () => {
    const store = three();
    const seen: unknown[] = [];
    const look = async () => {
      const { entries, damaged, leftovers, unrecognised } = await store.cache().scan();
      seen.push({ entries: entries.length, damaged, leftovers: leftovers.map(({ kind, removable }) => [kind, removable]), unrecognised });
    };
    await store.cache({ maxEntries: 2 }, { clock: new SteppedClock(look, look) }).pass(enforce);
    expect(seen).toEqual([
      { entries: 2, damaged: [], leftovers: [['Orphan', false]], unrecognised: [] },
      { entries: 2, damaged: [], leftovers: [], unrecognised: [] },
    ]);
  });
});

describe('leftovers', () => {
  const aDay = 86_400_000;

  /** The damaged home, a while after. */
  function damaged(ageMs: number) {
    const store = new StoreOnDisk(unpackHome(scratchDir(), { damaged: true }));
    const clock = new SteppedClock();
    clock.advance(ageMs);
    return { store, clock };
  }

  const odd = [
    'linked-entry', 'linked-entry.meta.json', 'neg', 'neg.meta.json', 'notes.txt', 'unrelated-folder',
    ...[rootfsKeys['golang:1.26'], rootfsKeys['busybox:1.37']].flatMap((name) => [name, `${name}.meta.json`]),
  ];

  test('of the damaged home go when they are old, and nothing else does', async () => {
    const { store, clock } = damaged(aDay + 60_000);
    const cache = store.cache({}, { clock });
    const entries = (['redis:8', 'node:24-slim', 'alpine:3.22', 'nginx:1.27'] as const).flatMap((image) => [rootfsKeys[image], `${rootfsKeys[image]}.meta.json`]);
    const report = await cache.pass(enforce);
    expect(report).toMatchObject({ leftoversRemoved: 4, evicted: [], errors: [] });
    expect(report.after.leftovers).toEqual([]);
    expect(store.names).toEqual([...odd, ...entries].toSorted());
    await cache.purge();
    expect(store.trash).toEqual([]);
    expect(existsSync('/etc/passwd')).toBe(true);
  });

  test('stay while they are young', async () => {
    const { store, clock } = damaged(aDay - 60_000);
    const before = store.names;
    expect(await store.cache({}, { clock }).pass(enforce)).toMatchObject({ leftoversRemoved: 0, after: { leftovers: { length: 4 } } });
    expect(store.names).toEqual(before);
  });

  test('nothing damaged or unrecognised goes, whatever the limit', async () => {
    const { store, clock } = damaged(0);
    await store.cache({ maxEntries: 0, maxBytes: 0, maxIdleMs: 0 }, { clock }).pass(enforce);
    expect(store.names).toEqual(expect.arrayContaining(odd));
  });

  test('a directory that a put adopts while it leaves comes back', async () => {
    const { store } = damaged(0);
    const orphan = rootfsKeys['postgres:17'];
    const clock = new SteppedClock(() => {}, () => void store.metadata(orphan, { size_bytes: 5 }));
    clock.advance(aDay + 60_000);
    const report = await store.cache({}, { clock }).pass(enforce);
    expect(report).toMatchObject({ revived: 1, leftoversRemoved: 3 });
    expect(store.isServed(orphan)).toBe(true);
  });

  test('a staging directory in which a put goes on since it was looked at stays', async () => {
    const store = new StoreOnDisk().entry(a);
    mkdirSync(join(store.root, '.staging-Ab12Cd/d'), { recursive: true });
    const clock = { ...systemClock, sleep: async () => {} };
    // The put writes again while an entry is taken out.
    const fault = (step: string) => {
      if (step.startsWith('exchange ') && step.endsWith(a)) writeFileSync(join(store.root, '.staging-Ab12Cd/d/file'), '');
    };
    await new Promise((resolve) => setTimeout(resolve, 600));
    const report = await store.cache({ maxEntries: 0 }, { clock, fault, leftoverAgeMs: 500 }).pass(enforce);
    expect(report).toMatchObject({ before: { leftovers: [{ kind: 'Staging', removable: true }] }, leftoversRemoved: 0 });
    expect(existsSync(join(store.root, '.staging-Ab12Cd/d/file'))).toBe(true);
  });

  test('one that a box marks stays', async () => {
    const { store, clock } = damaged(aDay + 60_000);
    store.box('new', rootfsKeys['postgres:17']).box('other', rootfsKeys['python:3.14-slim']);
    expect(await store.cache({}, { clock }).pass(enforce)).toMatchObject({ leftoversRemoved: 2 });
    expect(store.names).toEqual(expect.arrayContaining([rootfsKeys['postgres:17'], `${rootfsKeys['python:3.14-slim']}.meta.json`]));
  });
});

describe('a root', () => {
  test('that is missing fails, and is taken up by itself when it appears', async () => {
    const store = three();
    const cache = store.cache({ maxEntries: 2 });
    renameSync(store.root, `${store.root}-away`);
    await expect(cache.pass(enforce)).rejects.toMatchObject({ code: 'ERR_ROOT_MISSING', message: `${store.root} does not exist` });
    renameSync(`${store.root}-away`, store.root);
    expect((await cache.pass(enforce)).evicted).toHaveLength(1);
  });

  test('that is replaced is not worked in by the pass that notices, and taken up by the next', async () => {
    const store = three();
    const cache = store.cache({ maxEntries: 3 });
    await cache.pass(enforce);
    cpSync(store.root, `${store.root}-new`, { recursive: true });
    renameSync(store.root, `${store.root}-old`);
    renameSync(`${store.root}-new`, store.root);
    store.entry(key('d'));
    await expect(cache.pass(enforce)).rejects.toMatchObject({ code: 'ERR_ROOT_REPLACED' });
    expect((await cache.pass(enforce)).evicted).toHaveLength(1);
  });

  test.each(['root', 'cache', 'home'])('swapped for a link to a canary is refused (%s), and the canary stays whole', async (what) => {
    const store = three();
    const canary = new StoreOnDisk().entry(a).entry(b);
    const before = canary.fingerprint;
    const cache = store.cache({ maxEntries: 0 });
    const path = { root: store.root, cache: dirname(store.root), home: store.home }[what] ?? '';
    const target = { root: canary.root, cache: dirname(canary.root), home: canary.home }[what] ?? '';
    rmSync(path, { recursive: true });
    symlinkSync(target, path);
    await expect(cache.pass(enforce)).rejects.toMatchObject({ code: 'ERR_ROOT_SYMLINK', message: `${path} is a symbolic link` });
    expect(canary.fingerprint).toBe(before);
  });

  test('whose folder of ours is a link elsewhere is refused, and nothing is written there', async () => {
    const store = three();
    const elsewhere = scratchDir();
    symlinkSync(elsewhere, join(store.root, '.cachepolicy'));
    await expect(store.cache({ maxEntries: 0 }).pass(enforce)).rejects.toMatchObject({ code: 'ERR_ROOT_UNSAFE' });
    expect(readdirSync(elsewhere)).toEqual([]);
    expect(store.isServed(a)).toBe(true);
  });

  test('on a filesystem that cannot exchange two names is refused, before anything is taken out', async () => {
    const store = three();
    // What such a filesystem answers; every one that can be mounted here can exchange.
    const exchange = vi.spyOn(Dir.prototype, 'exchange').mockImplementation(() => {
      throw new OperatorError('ERR_ROOT_UNSUPPORTED', 'the filesystem cannot exchange');
    });
    onTestFinished(() => exchange.mockRestore());
    await expect(store.cache({ maxEntries: 0 }).pass(enforce)).rejects.toMatchObject({ code: 'ERR_ROOT_UNSUPPORTED' });
    expect([a, b, c].map((name) => store.isServed(name))).toEqual([true, true, true]);
    expect(store.trash).toEqual([]);
  });
});

describe.runIf(asRoot)('what fails for one entry', () => {
  test('an entry of the lower layer of an overlay cannot be moved: the error names the overlay and no mount, and an entry of the upper layer is evicted', async ({ skip }) => {
    const store = three();
    const base = scratchDir();
    execFileSync('cp', ['-a', store.root, join(base, 'lower')]);
    for (const name of ['upper', 'work']) mkdirSync(join(base, name));
    try {
      mount('-t', 'overlay', '-o', `lowerdir=${base}/lower,upperdir=${base}/upper,workdir=${base}/work,redirect_dir=off`, 'overlay', store.root);
    } catch {
      return skip('no overlay can be mounted here');
    }
    const upper = key('f');
    store.entry(upper, { usedSecondsAgo: 10_000 });
    const report = await store.cache({ maxEntries: 2 }).pass(enforce);
    expect(report.evicted.map((entry) => entry.key)).toEqual([upper]);
    expect(report.errors).toMatchObject([{ code: 'ERR_DISK_IO', message: expect.stringMatching(/lower layer of an overlay.*\(EXDEV\)$/) }]);
    expect(report.errors[0]?.message).not.toContain('something is mounted there');
    expect([a, b, c].map((name) => store.isServed(name))).toEqual([true, true, true]);
  });

  test('a mount that came over one since it was planned: it stays, is reported, and the rest goes on', async () => {
    const store = three();
    let mounted = false;
    const fault = (step: string) => {
      if (mounted || !step.endsWith(`.${a}`)) return;
      mounted = true;
      mount('--bind', join(store.root, b), join(store.root, b));
    };
    const report = await store.cache({ maxEntries: 1 }, { fault }).pass(enforce);
    expect(report.errors).toMatchObject([{ entry: b, message: `cannot evict ${store.root}/${b}: something is mounted there (EXDEV)` }]);
    expect(report.evicted.map((entry) => entry.key)).toEqual([a]);
    expect(store.isServed(b)).toBe(true);
  });

  test('an immutable directory: it is given back, is reported, and the rest goes on', async ({ skip }) => {
    const store = three();
    try {
      execFileSync('chattr', ['+i', join(store.root, a)], { stdio: 'ignore' });
    } catch {
      return skip('the filesystem has no immutable files');
    }
    onTestFinished(() => void execFileSync('chattr', ['-i', join(store.root, a)]));
    const report = await store.cache({ maxEntries: 1 }).pass(enforce);
    expect(report.errors).toMatchObject([{ code: 'ERR_DISK_IO', entry: a, message: expect.stringContaining('EPERM') }]);
    expect(report.evicted.map((entry) => entry.key)).toEqual([b]);
    expect([store.isServed(a), store.isWhole(a)]).toEqual([true, true]);
    expect(store.trash).toHaveLength(1);
  });
});

test('an entry that cannot be taken out is tried again with growing patience, and meanwhile reported without touching the disk', async () => {
  const store = three();
  let isStuck = true;
  const fault = (step: string) => {
    if (isStuck && step === `exchange ${store.root}/${a}`) throw new OperatorError('ERR_DISK_IO', 'immutable');
  };
  const clock = new SteppedClock();
  const cache = store.cache({ maxEntries: 2 }, { clock, fault });
  const stuck = { evicted: [], errors: [{ code: 'ERR_DISK_IO', message: 'immutable', entry: a }] };
  for (const patienceMs of [60_000, 120_000]) {
    expect(await cache.pass(enforce)).toMatchObject({ ...stuck, revived: 0 });
    clock.advance(patienceMs - 1);
    const before = store.fingerprint;
    expect(await cache.pass(enforce)).toMatchObject({ ...stuck, revived: 0 });
    expect(store.fingerprint).toBe(before);
    clock.advance(1);
  }
  isStuck = false;
  expect(await cache.pass(enforce)).toMatchObject({ evicted: [{ key: a }], errors: [] });
});
