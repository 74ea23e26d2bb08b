import { execFileSync } from 'node:child_process';
import { mkdirSync, rmdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { a3sLayers } from '../../src/cache/formats/a3s-layers.ts';
import { a3sRootfs } from '../../src/cache/formats/a3s-rootfs.ts';
import { holdersOf } from '../../src/cache/holds/holders.ts';
import { rootfsKeys, unpackHome } from '../fixtures/homes.ts';
import { asRoot, mount, pin, scratchDir } from '../disk/scratch.ts';
import { SteppedClock } from './stepped-clock.ts';
import { key, StoreOnDisk } from './store.ts';

function holdsIn({ home }: { home: string }, format = a3sRootfs) {
  const root = pin(join(home, 'cache', format === a3sLayers ? 'layers' : 'rootfs'));
  return holdersOf({ root, home, allowedRoots: [dirname(home)] }, format).read();
}

const enforce = { mode: 'Enforce', trigger: 'Manual' } as const;

/** How a box can be there without saying what it uses. */
const unmarked = {
  filled: (store: StoreOnDisk, id: string) => void mkdirSync(join(store.box(id).home, 'boxes', id, 'logs')),
  mounted: (store: StoreOnDisk, id: string) => mount('-t', 'tmpfs', 'tmpfs', join(store.box(id).home, 'boxes', id)),
  emptyMarker: (store: StoreOnDisk, id: string) => void store.box(id, ''),
  blankMarker: (store: StoreOnDisk, id: string) => void store.box(id, ' \n'),
};

function boxesJson({ home }: StoreOnDisk, content: string | Uint8Array): void {
  writeFileSync(join(home, 'boxes.json'), content);
}

test('a marker holds its entry, and an empty box holds nothing', () => {
  const { holds, error } = holdsIn({ home: unpackHome(scratchDir()) });
  expect([...holds.entries]).toEqual([[rootfsKeys['redis:8'], { source: 'Box', detail: 'box box-1' }]]);
  expect(holds).toMatchObject({ everything: undefined, sources: ['Box', 'Mount', 'Flock'] });
  expect(error).toBeUndefined();
});

test.each([
  ['as it is', key('a')],
  ['with blanks and newlines around it', ` \t${key('a')}\r\n\n`],
  ['in upper case', key('A')],
])('a key counts %s', (_, marker) => {
  const { holds } = holdsIn(new StoreOnDisk().box('one', marker));
  expect([...holds.entries.keys()]).toEqual([key('a')]);
});

test('a box whose name is no text holds like any other', () => {
  const store = new StoreOnDisk();
  const box = Buffer.concat([Buffer.from(`${store.home}/boxes/`), Buffer.from([0xff])]);
  mkdirSync(box);
  writeFileSync(Buffer.concat([box, Buffer.from('/.rootfs-cache-key')]), key('a'));
  expect([...holdsIn(store).holds.entries.keys()]).toEqual([key('a')]);
});

describe('where it is unknown what is in use, everything is', () => {
  const unreadable: [string, (store: StoreOnDisk, box: string) => void, RegExp][] = [
    ['half a key', (store) => store.box('bad', key('a').slice(1)), /^the marker of box bad is no key: .*boxes\/bad\/\.rootfs-cache-key$/],
    ['two keys', (store) => store.box('bad', `${key('a')}\n${key('b')}`), /^the marker of box bad is no key/],
    ['a marker too large', (store) => store.box('bad', ' '.repeat(5_000)), /^the marker of box bad cannot be read: .*5000 bytes/],
    ['a FIFO as marker', (store, box) => { store.box('bad'); execFileSync('mkfifo', [join(box, '.rootfs-cache-key')]); }, /^the marker of box bad cannot be read/],
    ['a link as marker', (store, box) => { store.box('bad'); symlinkSync('/etc/hostname', join(box, '.rootfs-cache-key')); }, /^the marker of box bad cannot be read/],
    ['a link as box', (_, box) => symlinkSync('/etc', box), /^cannot look into the box .*boxes\/bad: a symbolic link is on the way/],
    ['no boxes at all', (store) => { rmdirSync(join(store.home, 'boxes')); }, /boxes does not exist/],
    ['a file as boxes', (store) => { rmdirSync(join(store.home, 'boxes')); writeFileSync(join(store.home, 'boxes'), ''); }, /it is not a directory/],
  ];
  test.each(unreadable)('%s: with the reason, as an error', (_, make, message) => {
    const store = new StoreOnDisk();
    make(store, join(store.home, 'boxes', 'bad'));
    const { holds, error } = holdsIn(store);
    expect(error).toMatchObject({ code: 'ERR_HOLDS_UNREADABLE', message: expect.stringMatching(message) });
    expect(holds).toMatchObject({ everything: { source: 'Box', detail: error?.message }, sources: ['Mount', 'Flock'] });
  });

  const unknown: [string, unknown][] = [
    ['has no list of boxes', undefined],
    ['lists no boxes', []],
    ['lists another', [{ id: 'other', image: 'nginx' }]],
    ['says nothing of its image', [{ id: 'odd' }, { id: 'odd', image: '' }, { id: 'odd', image: 7 }, null, 'odd']],
  ];
  test.each(unknown)('a box without a marker whose home %s: no error, boxes start like that', (_, records) => {
    const store = new StoreOnDisk().box('one', key('a'));
    if (records !== undefined) boxesJson(store, JSON.stringify(records));
    unmarked.filled(store, 'odd');
    const { holds, error } = holdsIn(store);
    expect(holds).toMatchObject({ everything: { source: 'Box', detail: 'box odd, which left no marker, and its image is not known' }, sources: ['Box', 'Mount', 'Flock'] });
    expect(error).toBeUndefined();
  });

  const malformed: [string, string | Uint8Array, RegExp][] = [
    ['is cut off', '[{"id": "odd", "ima', /boxes\.json is no list of boxes$/],
    ['is empty', '', /boxes\.json is no list of boxes$/],
    ['is no list', '{"odd": {"image": "nginx"}}', /boxes\.json is no list of boxes$/],
    ['is no UTF-8', Uint8Array.of(0x5b, 0x22, 0xff, 0x22, 0x5d), /boxes\.json is no list of boxes$/],
    ['is nested too deep', '['.repeat(1_000_000), /boxes\.json is no list of boxes$/],
    ['is too large', ' '.repeat(16 * 1024 * 1024 + 1), /boxes\.json has 16777217 bytes/],
  ];
  test.each(malformed)('a box without a marker whose list of boxes %s: with the reason and the box, as an error', (_, content, message) => {
    const store = new StoreOnDisk();
    boxesJson(store, content);
    unmarked.filled(store, 'odd');
    const { holds, error } = holdsIn(store);
    expect(error).toMatchObject({ code: 'ERR_HOLDS_UNREADABLE', message: expect.stringMatching(/^box odd left no marker, and its image is not known: /) });
    expect(error?.message).toMatch(message);
    expect(holds).toMatchObject({ everything: { detail: error?.message }, sources: ['Mount', 'Flock'] });
  });
});

describe('a box of which only the image is known', () => {
  const image = 'docker.io/library/redis:8';
  /** printf 'rootfs-cache-v2\ndocker.io/library/redis:8\n' | sha256sum */
  const fallback = '18438ccc15e355405b4d5e0f06fc4ebee2d1a857dbbd8f842b7aee9b8358f903';

  test.each(Object.keys(unmarked).filter((how) => how !== 'mounted' || asRoot) as (keyof typeof unmarked)[])('holds the entries of that image, and no other: %s', (how) => {
    const store = new StoreOnDisk().box('one', key('a'));
    boxesJson(store, JSON.stringify([{ id: 'other', image: 'nginx', pid: 1 }, { id: 'odd', short_id: 'o', image, status: 'running', env: {} }]));
    unmarked[how](store, 'odd');
    const { holds, error } = holdsIn(store);
    const detail = how.endsWith('Marker') ? 'box odd, which left an empty marker' : 'box odd, which left no marker';
    expect([...holds.byDescription]).toEqual([[image, { source: 'Box', detail }]]);
    expect([...holds.entries]).toEqual([[key('a'), { source: 'Box', detail: 'box one' }], [fallback, { source: 'Box', detail }]]);
    expect(holds.everything).toBeUndefined();
    expect(error).toBeUndefined();
  });

  test('holds them whatever state they are in: planned, on their way out, evicted, without metadata', async () => {
    const [a, b, orphan] = [key('a'), key('b'), key('c')];
    const store = new StoreOnDisk().entry(a, { usedSecondsAgo: 3_000 }).entry(b).metadata(a, { description: image, last_accessed: 1_700_000_000 });
    const cache = store.cache({ maxEntries: 0 }, { leftoverAgeMs: -60_000, clock: new SteppedClock(() => {
      boxesJson(store, JSON.stringify([{ id: 'odd', image }]));
      unmarked.filled(store, 'odd');
    }) });
    expect((await cache.pass(enforce)).evicted.map((entry) => entry.key)).toEqual([b]);
    mkdirSync(join(store.root, orphan));
    const { plan, leftoversRemoved } = await cache.pass(enforce);
    expect([...plan.verdicts].map(({ entry, reason, detail }) => [entry.key, reason, detail])).toEqual([[a, 'InUse', 'box odd, which left no marker']]);
    expect(leftoversRemoved).toBe(0);
    rmSync(join(store.home, 'boxes/odd'), { recursive: true });
    expect((await cache.pass(enforce)).evicted.map((entry) => entry.key)).toEqual([a]);
    unmarked.emptyMarker(store, 'odd');
    const { purgedEntries, revivedNames } = await cache.purge();
    expect({ purgedEntries, revived: revivedNames.toSorted() }).toEqual({ purgedEntries: 1, revived: [a, orphan] });
  });
});

test('a list of boxes that nobody needs may be in any state', () => {
  const store = new StoreOnDisk().box('one', key('a')).box('empty');
  boxesJson(store, 'no list');
  expect(holdsIn(store)).toMatchObject({ holds: { everything: undefined }, error: undefined });
});

test('files beside the boxes are none', () => {
  const store = new StoreOnDisk();
  writeFileSync(join(store.home, 'boxes/notes.txt'), '');
  expect(holdsIn(store).holds).toMatchObject({ everything: undefined });
});

test('boxes mark no use of layers, so they are not asked for them', () => {
  const store = new StoreOnDisk().box('bad', 'no key');
  mkdirSync(join(store.home, 'cache/layers'));
  expect(holdsIn(store, a3sLayers)).toMatchObject({ holds: { everything: undefined, sources: ['Mount', 'Flock'] }, error: undefined });
});
