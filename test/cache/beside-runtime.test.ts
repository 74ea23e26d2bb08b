import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { Cache } from '../../src/cache/pass.ts';
import type { MountedTree, Stop } from './runtime-double.ts';
import { PutRefused, RuntimeDouble } from './runtime-double.ts';
import { SteppedClock } from './stepped-clock.ts';
import { key, StoreOnDisk } from './store.ts';
import type { Protection } from './weakened-engine.ts';
import { buildEngineWithout, loadEngine, protections } from './weakened-engine.ts';
import { noProtection } from '../../src/policy/limits.ts';

const [a, b] = [key('a'), key('b')];
const enforce = { mode: 'Enforce', trigger: 'Manual' } as const;
/** Dozens of evictions, on a machine that has much else to do. */
const patienceMs = 180_000;

/** Moments of an eviction of a, in order. */
const moments = ['BeforeThePass', 'FirstWait', 'SecondWait', 'AtRest', 'Purged'] as const;
type Moment = (typeof moments)[number];

/** Lets the runtime go on from each of its stops at a given moment, and not before. */
class Script {
  readonly #when: Partial<Record<Stop, Moment>>;
  #waiting: { readonly at: number; readonly go: () => void }[] = [];
  #reached = 0;

  constructor(when: Partial<Record<Stop, Moment>>) {
    this.#when = when;
  }

  readonly pause = async (stop: Stop): Promise<void> => {
    const at = moments.indexOf(this.#when[stop] ?? 'BeforeThePass');
    if (at > this.#reached) await new Promise<void>((go) => this.#waiting.push({ at, go }));
  };

  /** Lets go what waited for this moment. The runtime waits for nothing else, so that a turn of the loop takes it to its next stop. */
  async reach(moment: Moment): Promise<void> {
    this.#reached = moments.indexOf(moment);
    const due = this.#waiting.filter(({ at }) => at <= this.#reached);
    this.#waiting = this.#waiting.filter(({ at }) => at > this.#reached);
    for (const { go } of due) go();
    await nextTurn();
  }
}

/** Evicts a, deletes it once it has rested, and recovers a day later; the runtime acts as scripted meanwhile. */
async function evictBeside(Engine: typeof Cache, store: StoreOnDisk, script: Script): Promise<void> {
  const clock = new SteppedClock(() => script.reach('FirstWait'), () => script.reach('SecondWait'));
  // Files get their times from the system, a little later than the clock stands.
  clock.advance(2_000);
  const cache = new Engine({ ...store.spec({ maxEntries: 1 }), protect: { ...noProtection, minIdleMs: 60_000 } }, { allowedRoots: [dirname(store.home)], clock, restMs: 60_000 });
  await script.reach('BeforeThePass');
  await cache.pass(enforce);
  await script.reach('SecondWait');
  // Too early, so that nothing goes.
  await cache.purge();
  await script.reach('AtRest');
  clock.advance(70_000);
  await cache.purge();
  await script.reach('Purged');
  await cache.pass(enforce);
}

/** a was used long ago and is the one to go; b is younger. */
function two(): StoreOnDisk {
  return new StoreOnDisk().entry(a, { usedSecondsAgo: 300, sizeBytes: sizeOfTree }).entry(b, { usedSecondsAgo: 200, sizeBytes: sizeOfTree });
}

/** What StoreOnDisk puts into an entry. */
const sizeOfTree = 64 + 10;

const stops = ['Looked', 'Read', 'Got', 'Mounted'] as const;

/** When a box goes on from each. */
type Fall = Record<(typeof stops)[number], Moment>;

/** Every way in which a box can fall behind while a is evicted. */
function* falls(): Generator<Fall> {
  const below = function* (from: number, length: number): Generator<Moment[]> {
    if (length === 0) return yield [];
    for (let at = from; at < moments.length; at += 1) for (const rest of below(at, length - 1)) yield [moments[at]!, ...rest];
  };
  for (const when of below(0, stops.length)) yield Object.fromEntries(stops.map((stop, i) => [stop, when[i]])) as Fall;
}

/** What the order promises: who has looked shows it in the metadata, or mounts, before the second wait ends, and marks before the purge. */
function isPromised({ Looked, Read, Got, Mounted }: Fall): boolean {
  const by = (moment: Moment, last: Moment) => moments.indexOf(moment) <= moments.indexOf(last);
  const showsInMetadata = Looked === 'BeforeThePass' && by(Read, 'SecondWait');
  return showsInMetadata || (by(Got, 'SecondWait') && by(Mounted, 'AtRest'));
}

/** A box that finds a, mounts and marks it. @returns what is wrong with what it then has */
async function harmToBox(Engine: typeof Cache, when: Fall & { Marking?: Moment }): Promise<string | undefined> {
  const store = two();
  const script = new Script(when);
  const runtime = new RuntimeDouble({ home: store.home, pause: script.pause });
  let mounted: MountedTree | undefined;
  onTestFinished(() => mounted?.[Symbol.dispose]());
  const box = (async () => {
    const path = await runtime.get(a);
    if (path === undefined) return 'a miss';
    mounted = await runtime.mount(path);
    await runtime.mark('box', a);
    return undefined;
  })().catch((error: unknown) => `the mount failed: ${String(error)}`);
  await evictBeside(Engine, store, script);
  return (await box) ?? (mounted !== undefined && isWhole(mounted.path) ? undefined : 'the tree is not whole') ?? (store.isServed(a) && store.isWhole(a) ? undefined : 'what is marked is not served');
}

function isWhole(tree: string): boolean {
  return existsSync(join(tree, 'etc/file')) && readFileSync(join(tree, 'etc/file'), 'utf8') === a && existsSync(join(tree, 'data'));
}

describe('whenever a box finds an entry, mounts and marks it', () => {
  test('it has the whole tree, and the entry stays', async () => {
    const harmed: unknown[] = [];
    let promised = 0;
    for (const when of falls()) {
      if (!isPromised(when)) continue;
      promised += 1;
      const harm = await harmToBox(Cache, when);
      if (harm !== undefined) harmed.push([harm, when]);
    }
    expect(harmed).toEqual([]);
    expect(promised).toBe(40);
  }, patienceMs);

  test('a marker that stays empty for long says as much as a whole one', async () => {
    expect(await harmToBox(Cache, { Looked: 'FirstWait', Read: 'FirstWait', Got: 'SecondWait', Mounted: 'AtRest', Marking: 'Purged' })).toBeUndefined();
  });

  test('one that takes longer than it was promised finds none: the promise is no wider than it says', async () => {
    const late = { Looked: 'FirstWait', Read: 'FirstWait', Got: 'AtRest', Mounted: 'AtRest' } as const;
    expect(isPromised(late)).toBe(false);
    expect(await harmToBox(Cache, late)).toContain('ENOENT');
  });
});

const putStops = ['Published', 'Measured'] as const;

/** A put of a that starts at a moment and falls behind. @returns what became of it, and what is wrong afterwards */
async function putBeside(Engine: typeof Cache, starts: Moment, when: Record<(typeof putStops)[number], Moment>) {
  const store = two();
  const source = new StoreOnDisk().entry(a);
  const script = new Script({ Looked: starts, ...when });
  const runtime = new RuntimeDouble({ home: store.home, pause: script.pause });
  const put = (async () => {
    await script.pause('Looked');
    return await runtime.put(a, join(source.root, a), 'again');
  })().catch((error: unknown) => (error instanceof PutRefused ? 'Refused' : Promise.reject(error as Error)));
  await evictBeside(Engine, store, script);
  const result = await put;
  const size = store.isServed(a) ? (JSON.parse(readFileSync(join(store.root, `${a}.meta.json`), 'utf8')) as { size_bytes: number }).size_bytes : undefined;
  return { result, served: store.isServed(a), whole: store.isWhole(a), size };
}

describe('a put of an entry that is on its way out', () => {
  const ways = moments.flatMap((starts, i) => moments.slice(i).flatMap((published, j) => moments.slice(i + j).map((measured) => [starts, published, measured] as const)));

  test.each(ways)('which starts at %s, measures at %s and writes at %s, leaves a whole entry of the true size, or a miss', async (starts, Published, Measured) => {
    const { result, served, whole, size } = await putBeside(Cache, starts, { Published, Measured });
    // The price of the order: a directory that stands behind the link can be adopted by nobody.
    expect(result === 'Refused').toBe(starts === 'SecondWait');
    if (starts === 'BeforeThePass') expect(result).toBe('Known');
    if (starts === 'FirstWait') expect(result).toBe('Adopted');
    if (result === 'Refused' || result === 'Known') return;
    // One that takes longer than the rest finds the directory gone: metadata alone, which is a miss.
    const tooLate = starts === 'FirstWait' && Measured === 'Purged';
    expect({ served, whole, size }).toEqual(tooLate ? { served: false, whole: false, size: undefined } : { served: true, whole: true, size: sizeOfTree });
  });
});

/** b is used completely after the plan was made and before its turn comes; the box mounts it much later. */
async function harmToUserSincePlan(Engine: typeof Cache): Promise<string | undefined> {
  const store = two().entry(key('c'), { usedSecondsAgo: 100 });
  const fault = (step: string) => {
    if (step.startsWith('mkdir ') && step.endsWith(`.${a}`)) store.metadata(b, { last_accessed: Math.floor(Date.now() / 1000) });
  };
  const cache = new Engine({ ...store.spec({ maxEntries: 1 }), protect: { ...noProtection, minIdleMs: 60_000 } }, { allowedRoots: [dirname(store.home)], clock: new SteppedClock(), fault });
  await cache.pass(enforce);
  try {
    using _mounted = await new RuntimeDouble({ home: store.home }).mount(join(store.root, b));
    return undefined;
  } catch (error) {
    return String(error);
  }
}

test('an entry that is used after the plan was made stays for as long as a use protects it', async () => {
  expect(await harmToUserSincePlan(Cache)).toBeUndefined();
});

/** What a box meets first where a protection is missing. */
const harms: Readonly<Record<Protection, RegExp>> = {
  'the first settle': /mount failed/,
  'the exchange': /mount failed/,
  'the second settle': /mount failed/,
  'the second look at the holds before a purge': /not whole/,
  'the rest in the trash': /not whole/,
  'the second look at the metadata of a victim': /ENOENT/,
};

describe('without', () => {
  const engines = new Map<Protection, typeof Cache>();
  beforeAll(async () => {
    const dir = mkdtempSync(join(tmpdir(), 'cachepolicy-'));
    for (const protection of protections) engines.set(protection, await loadEngine(await buildEngineWithout(protection, dir)));
    rmSync(dir, { recursive: true });
  }, patienceMs);

  /** The first harm that a box meets. */
  async function firstHarm(Engine: typeof Cache): Promise<string | undefined> {
    for (const when of falls()) {
      const harm = isPromised(when) ? await harmToBox(Engine, when) : undefined;
      if (harm !== undefined) return harm;
    }
    return await harmToUserSincePlan(Engine);
  }

  test.each(protections)('%s a box would be harmed', async (protection) => {
    expect(await firstHarm(engines.get(protection) ?? Cache)).toMatch(harms[protection]);
  }, patienceMs);

  test('the first settle a put would be refused that comes right after the metadata has gone', async () => {
    const { result } = await putBeside(engines.get('the first settle') ?? Cache, 'FirstWait', { Published: 'FirstWait', Measured: 'FirstWait' });
    expect(result).toBe('Refused');
  });
});
