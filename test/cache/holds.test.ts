import { execFileSync } from 'node:child_process';
import { mkdirSync, rmdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { a3sLayers } from '../../src/cache/formats/a3s-layers.ts';
import { a3sRootfs } from '../../src/cache/formats/a3s-rootfs.ts';
import { holdersOf } from '../../src/cache/holds/holders.ts';
import { rootfsKeys, unpackHome } from '../fixtures/homes.ts';
import { asRoot, mount, pin, scratchDir } from '../disk/scratch.ts';
import { key, StoreOnDisk } from './store.ts';

function holdsIn({ home }: { home: string }, format = a3sRootfs) {
  const root = pin(join(home, 'cache', format === a3sLayers ? 'layers' : 'rootfs'));
  return holdersOf({ root, home, allowedRoots: [dirname(home)] }, format).read();
}

test('a marker holds its entry, and an empty box holds nothing', () => {
  const { holds, error } = holdsIn({ home: unpackHome(scratchDir()) });
  expect([...holds.entries]).toEqual([[rootfsKeys['redis:8'], { source: 'Box', detail: 'box box-1' }]]);
  expect(holds).toMatchObject({ everything: undefined, sources: ['Box', 'Flock'] });
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
    ['an empty marker', (store) => store.box('bad', ''), /^the marker of box bad is no key: .*boxes\/bad\/\.rootfs-cache-key$/],
    ['half a key', (store) => store.box('bad', key('a').slice(1)), /^the marker of box bad is no key/],
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
    expect(holds).toMatchObject({ everything: { source: 'Box', detail: error?.message }, sources: ['Flock'] });
  });

  test('a box that has begun to fill its directory and left no marker yet: no error, boxes start like that', () => {
    const store = new StoreOnDisk().box('one', key('a')).box('starting');
    mkdirSync(join(store.home, 'boxes/starting/logs'));
    const { holds, error } = holdsIn(store);
    expect(holds).toMatchObject({ everything: { detail: 'box starting, which does not say yet which entry it uses' }, sources: ['Box', 'Flock'] });
    expect(error).toBeUndefined();
  });

  test.runIf(asRoot)('a box directory that is mounted and left no marker yet', () => {
    const store = new StoreOnDisk().box('starting');
    mount('-t', 'tmpfs', 'tmpfs', join(store.home, 'boxes/starting'));
    expect(holdsIn(store).holds.everything).toMatchObject({ detail: expect.stringContaining('box starting') });
  });
});

test('files beside the boxes are none', () => {
  const store = new StoreOnDisk();
  writeFileSync(join(store.home, 'boxes/notes.txt'), '');
  expect(holdsIn(store).holds).toMatchObject({ everything: undefined });
});

test('boxes mark no use of layers, so they are not asked for them', () => {
  const store = new StoreOnDisk().box('bad', 'no key');
  mkdirSync(join(store.home, 'cache/layers'));
  expect(holdsIn(store, a3sLayers)).toMatchObject({ holds: { everything: undefined, sources: ['Flock'] }, error: undefined });
});
