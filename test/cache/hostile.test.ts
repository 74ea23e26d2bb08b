import { chmodSync, existsSync, linkSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { FilesystemCache } from '../../src/cache/filesystem-cache.ts';
import { OperatorError } from '../../src/errors.ts';
import { listing, makeDeep, mount } from '../disk/scratch.ts';
import { DirectoryOnDisk } from './directory-on-disk.ts';
import { Canary, fixed, make, needsRoot, prepare, socketAt } from './hostile-hands.ts';
import { SteppedClock } from './stepped-clock.ts';
import { key, StoreOnDisk } from './store.ts';

const [a, b] = [key('a'), key('b')];
const enforce = { mode: 'Enforce', trigger: 'Manual' } as const;

type MakeTree = (tree: string, canary: Canary) => void | Promise<void>;

/**
 * What may lie in a tree, and what becomes of an entry with it: Gone; Held, because it shows that it is in use; Left, evicted and
 * reported, because something of it cannot be deleted. Then what put makes of such a tree: Differs, as files with links elsewhere
 * become files of their own; NotHere, as it would write out the holes.
 */
const contents: readonly (readonly [what: string, makeTree: MakeTree, fate: 'Gone' | 'Held' | 'Left', put: 'Copied' | 'Differs' | 'Refused' | 'NotHere'])[] = [
  ['a link to a directory outside', (tree, { path }) => symlinkSync(path, join(tree, 'link')), 'Gone', 'Copied'],
  ['a link outside by a relative path', (tree, { path }) => symlinkSync(`../../../../../../../..${path}`, join(tree, 'link')), 'Gone', 'Copied'],
  ['a link to a file outside', (tree, { path }) => symlinkSync(join(path, 'whole'), join(tree, 'link')), 'Gone', 'Copied'],
  ['a link to itself', (tree) => symlinkSync('link', join(tree, 'link')), 'Gone', 'Copied'],
  ['a link upwards', (tree) => symlinkSync('..', join(tree, 'link')), 'Gone', 'Copied'],
  ['a link to the root of the cache', (tree) => symlinkSync(dirname(tree), join(tree, 'link')), 'Gone', 'Copied'],
  ['a hard link to a file outside', (tree, { path }) => linkSync(join(path, 'whole'), join(tree, 'hard')), 'Gone', 'Differs'],
  ['a thousand links of one file', (tree) => { for (let i = 0; i < 1_000; i += 1) linkSync(join(tree, 'data'), join(tree, `l${i}`)); }, 'Gone', 'Copied'],
  ['a name with a newline', (tree) => writeFileSync(join(tree, 'new\nline'), ''), 'Gone', 'Copied'],
  ['a name with an escape', (tree) => writeFileSync(join(tree, '\u001b[2J'), ''), 'Gone', 'Copied'],
  ['a name that is no UTF-8', (tree) => mkdirSync(Buffer.concat([Buffer.from(`${tree}/`), Buffer.from([0xff, 0xfe])])), 'Gone', 'Copied'],
  ['a name of 255 bytes', (tree) => writeFileSync(join(tree, 'x'.repeat(255)), ''), 'Gone', 'Copied'],
  ['a name of 255 bytes in 85 letters', (tree) => writeFileSync(join(tree, '\u20ac'.repeat(85)), ''), 'Gone', 'Copied'],
  ['__proto__', (tree) => mkdirSync(join(tree, '__proto__')), 'Gone', 'Copied'],
  ['leading dashes', (tree) => { for (const name of ['-rf', '--no-preserve-root', '-']) writeFileSync(join(tree, name), ''); }, 'Gone', 'Copied'],
  ['the names that we and the runtime use', (tree) => { for (const name of ['d', 'meta', '.cachepolicy', '.staging-Ab12Cd', 'deep-0']) mkdirSync(join(tree, name)); }, 'Gone', 'Copied'],
  ['paths beyond PATH_MAX', (tree) => makeDeep(tree, { levels: 700, fileInEach: true }), 'Gone', 'Copied'],
  ['a FIFO', (tree) => make('mkfifo', join(tree, 'fifo')), 'Gone', 'Copied'],
  ['a socket', (tree) => socketAt(join(tree, 's')), 'Gone', 'Copied'],
  ['a device', (tree) => make('mknod', join(tree, 'zero'), 'c', '1', '5'), 'Gone', 'Copied'],
  ['a file of a tebibyte without a block', (tree) => { writeFileSync(join(tree, 'sparse'), ''); truncateSync(join(tree, 'sparse'), 2 ** 40); }, 'Gone', 'NotHere'],
  ['files and directories of mode 000', (tree) => {
    mkdirSync(join(tree, 'closed'));
    for (const name of ['closed/file', 'closed']) chmodSync((writeUnlessThere(join(tree, name)), join(tree, name)), 0o000);
  }, 'Gone', 'Copied'],
  ['setuid, setgid and sticky bits', (tree) => { mkdirSync(join(tree, 'bits')); chmodSync(join(tree, 'bits'), 0o7777); chmodSync(join(tree, 'data'), 0o6755); }, 'Gone', 'Copied'],
  ['somebody else as the owner', (tree) => { needsRoot(); make('chown', '-R', '4242:4343', tree); }, 'Gone', 'Copied'],
  ['a bind mount', (tree, { path }) => { needsRoot(); mkdirSync(join(tree, 'mnt')); mount('--bind', path, join(tree, 'mnt')); }, 'Held', 'Refused'],
  ['a mount over a file', (tree, { path }) => { needsRoot(); mount('--bind', join(path, 'whole'), join(tree, 'data')); }, 'Held', 'Refused'],
  ['an immutable file', (tree) => fixed('+i', join(tree, 'data')), 'Left', 'Copied'],
  ['an immutable directory', (tree) => fixed('+i', join(tree, 'etc')), 'Left', 'Copied'],
  ['a directory that takes files and gives none back', (tree) => fixed('+a', join(tree, 'etc')), 'Left', 'Copied'],
];

function writeUnlessThere(path: string): void {
  if (!existsSync(path)) writeFileSync(path, '');
}

describe('an entry with', () => {
  test.for(contents)('%s goes and nothing outside does, or stays and is told why', async ([, makeTree, fate], { skip }) => {
    const canary = new Canary();
    const store = new StoreOnDisk().entry(a).entry(b);
    if (!(await prepare(skip, () => makeTree(join(store.root, a), canary)))) return;
    const cache = store.cache({ maxEntries: 0 });
    expect([...(await cache.scan()).entries].map((entry) => entry.key).toSorted()).toEqual([a, b]);
    const planned = await cache.plan();
    const { evicted, errors } = await cache.pass(enforce);
    const purged = await cache.purge();
    canary.expectWhole();
    expect([...planned.plan.evict].map(({ entry }) => entry.key).toSorted()).toEqual(evicted.map((entry) => entry.key).toSorted());
    expect(evicted.map((entry) => entry.key).toSorted()).toEqual(fate === 'Held' ? [b] : [a, b]);
    expect(errors).toEqual([]);
    expect([purged.purgedEntries, purged.errors.length]).toEqual(fate === 'Gone' ? [2, 0] : fate === 'Left' ? [1, 1] : [1, 0]);
    expect([store.isServed(a), store.trash.length]).toEqual(fate === 'Gone' ? [false, 0] : fate === 'Left' ? [false, 1] : [true, 0]);
    if (fate === 'Left') expect((await cache.scan()).leftovers).toMatchObject([{ kind: 'Trash', removable: true }]);
  });

  test.for(contents)('%s goes from a directory, too, or stays and is told why', async ([what, makeTree, fate], { skip }) => {
    const canary = new Canary();
    const disk = new DirectoryOnDisk().folder('b');
    const tree = join(disk.root, 'a');
    mkdirSync(join(tree, 'etc'), { recursive: true });
    for (const name of ['etc/file', 'data']) writeFileSync(join(tree, name), 'content');
    if (!(await prepare(skip, () => makeTree(tree, canary)))) return;
    // Nobody makes a cache of trees this deep: it is damage, and stays.
    const isTooDeep = what === 'paths beyond PATH_MAX';
    // Unlike a store of the runtime, it finds out itself what is mounted or open inside.
    const stays = isTooDeep || fate === 'Held';
    const cache = disk.cache({ maxEntries: 0 });
    const { before, evicted, errors } = await cache.pass(enforce);
    const purged = await cache.purge();
    canary.expectWhole();
    expect(before.damaged.map(({ reason }) => reason)).toEqual(isTooDeep ? ['EntryUnreadable'] : []);
    expect(evicted.map((entry) => entry.key).toSorted()).toEqual(stays ? ['b'] : ['a', 'b']);
    expect([errors, purged.errors.length]).toEqual([[], fate === 'Left' ? 1 : 0]);
    expect([disk.names, disk.trash.length]).toEqual([stays ? ['a'] : [], fate === 'Left' ? 1 : 0]);
  });

  test.for(contents.filter(([, , , put]) => put !== 'NotHere'))('%s is put whole, or refused whole', async ([, makeTree, , put], { skip }) => {
    const canary = new Canary();
    const store = new StoreOnDisk().entry(b);
    const source = new StoreOnDisk().entry(a);
    const tree = join(source.root, a);
    if (!(await prepare(skip, () => makeTree(tree, canary)))) return;
    const backend = new FilesystemCache(store.spec(), { allowedRoots: [dirname(store.home)], clock: new SteppedClock(), restMs: 0 });
    const before = store.names;
    if (put === 'Refused') {
      await expect(backend.put(a, tree, '')).rejects.toMatchObject({ code: expect.stringMatching(/^ERR_(INPUT_UNREADABLE|DISK_FULL|DISK_IO)$/) });
      expect(store.names).toEqual(before);
    } else {
      await backend.put(a, tree, '');
      if (put === 'Copied') expect(listing(join(store.root, a))).toEqual(listing(tree));
      expect(await backend.prune(0, 0)).toBe(2);
    }
    expect(store.trash).toEqual([]);
    canary.expectWhole();
  });
});

/** What metadata of an entry may turn out to be. Damaged: it stays, with a reason, whatever the limits say. */
const metadata: readonly (readonly [what: string, write: (path: string, store: StoreOnDisk, canary: Canary) => void | Promise<void>, fate: 'Gone' | string])[] = [
  ['a gibibyte', (path) => { writeFileSync(path, '{}'); truncateSync(path, 2 ** 30); }, 'MetadataTooLarge'],
  ['a FIFO', (path) => make('mkfifo', path), 'MetadataNotAFile'],
  ['a directory', (path) => mkdirSync(path), 'MetadataNotAFile'],
  ['a socket', (path) => socketAt(path), 'MetadataNotAFile'],
  ['a device', (path) => make('mknod', path, 'c', '1', '5'), 'MetadataNotAFile'],
  ['a link to true metadata', (path, store) => { store.metadata(a).file('elsewhere', readFileSync(path)); rmSync(path); symlinkSync('elsewhere', path); }, 'MetadataNotAFile'],
  ['a link outside', (path, _store, canary) => symlinkSync(join(canary.path, 'whole'), path), 'MetadataNotAFile'],
  ['a link to itself', (path) => symlinkSync(path, path), 'MetadataNotAFile'],
  ['nothing', (path) => writeFileSync(path, ''), 'MetadataMalformed'],
  ['deeply nested', (path) => writeFileSync(path, '['.repeat(60_000)), 'MetadataMalformed'],
  ['deeply nested, and whole', (path) => writeFileSync(path, '[1,'.repeat(10_000) + '1' + ']'.repeat(10_000)), 'MetadataMalformed'],
  ['an array', (path) => writeFileSync(path, '[]'), 'MetadataMalformed'],
  ['no UTF-8', (path) => writeFileSync(path, Buffer.from([0x7b, 0xff, 0x7d])), 'MetadataMalformed'],
  ['NaN', (path) => writeFileSync(path, fields({ size_bytes: 'NaN' }).replace('"NaN"', 'NaN')), 'MetadataMalformed'],
  ['a size that is a text', (_, store) => void store.metadata(a, { size_bytes: 'NaN' }), 'MetadataMalformed'],
  ['a size that is nothing', (_, store) => void store.metadata(a, { size_bytes: null }), 'MetadataMalformed'],
  ['a size beyond 2^53', (path) => writeFileSync(path, fields({ size_bytes: 'N' }).replace('"N"', '9007199254740993')), 'MetadataValueInvalid'],
  ['a size beyond every number', (path) => writeFileSync(path, fields({ size_bytes: 'N' }).replace('"N"', '1e999')), 'MetadataValueInvalid'],
  ['a negative size', (_, store) => void store.metadata(a, { size_bytes: -5 }), 'MetadataValueInvalid'],
  ['half a byte', (_, store) => void store.metadata(a, { size_bytes: 0.5 }), 'MetadataValueInvalid'],
  ['a negative time', (_, store) => void store.metadata(a, { last_accessed: -1 }), 'MetadataValueInvalid'],
  ['another key', (_, store) => void store.metadata(a, { key: b }), 'MetadataNamesAnotherKey'],
  ['a key that is a path', (_, store) => void store.metadata(a, { key: '../../victim' }), 'MetadataNamesAnotherKey'],
  ['a key with NUL', (_, store) => void store.metadata(a, { key: `${a}\0` }), 'MetadataNamesAnotherKey'],
  ['__proto__ beside the fields', (path) => writeFileSync(path, fields({}).replace('{', '{"__proto__": {"size_bytes": 7}, ')), 'Gone'],
  ['fields in __proto__ alone', (path) => writeFileSync(path, `{"__proto__": ${fields({})}}`), 'MetadataMalformed'],
  ['the largest size there is', (_, store) => void store.metadata(a, { size_bytes: Number.MAX_SAFE_INTEGER }), 'Gone'],
  ['a use at the beginning of time', (_, store) => void store.metadata(a, { last_accessed: 0, cached_at: 0 }), 'Gone'],
  ['a use in the year 292 million', (_, store) => void store.metadata(a, { last_accessed: Number.MAX_SAFE_INTEGER, cached_at: Number.MAX_SAFE_INTEGER }), 'Gone'],
  ['unknown fields', (_, store) => void store.metadata(a, { from: 'a later version', nested: [{}] }), 'Gone'],
];

function fields(but: Readonly<Record<string, unknown>>): string {
  return JSON.stringify({ key: a, description: '', size_bytes: 1, cached_at: 1, last_accessed: 1, ...but });
}

describe('metadata that is', () => {
  test.for(metadata)('%s makes an entry that goes, or damage that stays with its reason', async ([, write, fate], { skip }) => {
    const canary = new Canary();
    const store = new StoreOnDisk().entry(a).entry(b);
    const path = join(store.root, `${a}.meta.json`);
    rmSync(path);
    if (!(await prepare(skip, () => write(path, store, canary)))) return;
    const cache = store.cache({ maxEntries: 0, maxBytes: 0 });
    const { evicted, errors, before } = await cache.pass(enforce);
    expect(errors).toEqual([]);
    expect(before.damaged.map(({ reason }) => reason)).toEqual(fate === 'Gone' ? [] : [fate]);
    expect(evicted.map((entry) => entry.key).toSorted()).toEqual(fate === 'Gone' ? [a, b] : [b]);
    expect(store.isWhole(a)).toBe(fate !== 'Gone');
    expect(await cache.purge()).toMatchObject({ errors: [], nextDueAtMs: null });
    expect(readdirSync(store.root).includes(`${a}.meta.json`)).toBe(fate !== 'Gone');
    canary.expectWhole();
  });
});

/** What may lie in the root under a name, with metadata that fits it. */
const names: readonly (readonly [what: string, make: (store: StoreOnDisk, canary: Canary) => string | Promise<string>, fate: 'Gone' | 'Stays'])[] = [
  ['__proto__', (store) => named(store, '__proto__'), 'Gone'],
  ['constructor', (store) => named(store, 'constructor'), 'Gone'],
  ['leading dashes', (store) => named(store, '-rf'), 'Gone'],
  ['a newline', (store) => named(store, 'new\nline'), 'Gone'],
  ['an escape', (store) => named(store, '\u001b[2J'), 'Gone'],
  ['letters of two codes', (store) => named(store, 'клю\u0301ч'), 'Gone'],
  ['as many bytes as fit with the lock', (store) => named(store, 'x'.repeat(240)), 'Gone'],
  ['a leading dot', (store) => named(store, '.hidden'), 'Stays'],
  ['two leading dots', (store) => named(store, '..data'), 'Stays'],
  ['a backslash', (store) => named(store, 'back\\slash'), 'Stays'],
  ['the ending of metadata', (store) => named(store, 'x.meta.json'), 'Stays'],
  ['the ending of a lock', (store) => named(store, 'x.meta.json.lock'), 'Stays'],
  ['255 bytes', (store) => { mkdirSync(join(store.root, 'y'.repeat(255))); return 'y'.repeat(255); }, 'Stays'],
  ['a link to a directory outside', (store, { path }) => { symlinkSync(path, join(store.root, a)); store.metadata(a); return a; }, 'Stays'],
  ['a link to another entry', (store) => { symlinkSync(b, join(store.root, a)); store.metadata(a); return a; }, 'Stays'],
  ['a file', (store) => { store.file(a, 'x').metadata(a); return a; }, 'Stays'],
  ['a FIFO', (store) => { make('mkfifo', join(store.root, a)); store.metadata(a); return a; }, 'Stays'],
  ['a mount', (store, { path }) => { needsRoot(); store.entry(a); mount('--bind', path, join(store.root, a)); return a; }, 'Stays'],
];

function named(store: StoreOnDisk, name: string): string {
  store.entry(name);
  return name;
}

describe('under a name in the root', () => {
  test.for(names)('%s is an entry that goes, or is left alone', async ([, makeName, fate], { skip }) => {
    const canary = new Canary();
    const store = new StoreOnDisk().entry(b);
    let name = '';
    if (!(await prepare(skip, async () => void (name = await makeName(store, canary))))) return;
    const cache = store.cache({ maxEntries: 0 });
    const { evicted } = await cache.pass(enforce);
    expect(evicted.map((entry) => entry.key).toSorted()).toEqual(fate === 'Gone' ? [name, b].toSorted() : [b]);
    await cache.purge();
    expect(store.trash).toEqual([]);
    expect(readdirSync(store.root).includes(name)).toBe(fate !== 'Gone');
    canary.expectWhole();
  });
});

/** What may lie in our own folder. Refused: the whole pass ends with an error that says why. Works: b goes all the same. */
const inOurFolder: readonly (readonly [what: string, make: (folder: string, canary: Canary) => void | Promise<void>, fate: 'Works' | 'Refused'])[] = [
  ['a link in its place', (folder, { path }) => { rmSync(folder, { recursive: true }); symlinkSync(path, folder); }, 'Refused'],
  ['a file in its place', (folder) => { rmSync(folder, { recursive: true }); writeFileSync(folder, ''); }, 'Refused'],
  ['a link as the lock', (folder, { path }) => symlinkSync(join(path, 'whole'), join(folder, 'lock')), 'Refused'],
  ['a directory as the lock', (folder) => mkdirSync(join(folder, 'lock')), 'Refused'],
  ['a FIFO as the lock', (folder) => make('mkfifo', join(folder, 'lock')), 'Works'],
  ['a link as the trash', (folder, { path }) => symlinkSync(path, join(folder, 'trash')), 'Refused'],
  ['a file as the trash', (folder) => writeFileSync(join(folder, 'trash'), ''), 'Refused'],
  ['a link as an item', (folder, { path }) => { mkdirSync(join(folder, 'trash')); symlinkSync(path, join(folder, `trash/0123456789ab.${a}`)); }, 'Works'],
  ['a file as an item', (folder) => { mkdirSync(join(folder, 'trash')); writeFileSync(join(folder, `trash/0123456789ab.${a}`), ''); }, 'Works'],
  ['an item whose tree is a link', (folder, { path }) => symlinkSync(path, join(itemIn(folder), 'd')), 'Works'],
  ['an item whose tree is a FIFO', (folder) => make('mkfifo', join(itemIn(folder), 'd')), 'Works'],
  ['an item whose metadata is a directory', (folder) => mkdirSync(join(itemIn(folder), 'meta')), 'Works'],
  ['an item whose metadata is a FIFO', (folder) => make('mkfifo', join(itemIn(folder), 'meta')), 'Works'],
  ['an item whose metadata is a link', (folder, { path }) => symlinkSync(join(path, 'whole'), join(itemIn(folder), 'meta')), 'Works'],
  ['an item with more than is ours', (folder) => mkdirSync(join(itemIn(folder), 'more', 'below'), { recursive: true }), 'Works'],
  ['an item with a name that is no UTF-8', (folder) => { mkdirSync(join(folder, 'trash')); mkdirSync(Buffer.concat([Buffer.from(`${folder}/trash/x.`), Buffer.from([0xff])])); }, 'Works'],
  ['garbage that is a link', (folder, { path }) => { mkdirSync(join(folder, 'trash')); symlinkSync(path, join(folder, 'trash/gone-1')); }, 'Works'],
  ['a FIFO as the state, the journal and the index', (folder) => make('mkfifo', ...['state', 'journal', 'index'].map((name) => join(folder, name))), 'Works'],
  ['links as the state, the journal and the index', (folder, { path }) => { for (const name of ['state', 'journal', 'index']) symlinkSync(join(path, 'whole'), join(folder, name)); }, 'Works'],
  ['another name of a file outside as the reserve', (folder, { path }) => linkSync(join(path, 'whole'), join(folder, 'reserve')), 'Works'],
  ['a link as the reserve', (folder, { path }) => symlinkSync(join(path, 'whole'), join(folder, 'reserve')), 'Works'],
  ['directories as the state, the journal and the index', (folder) => { for (const name of ['state', 'journal', 'index']) mkdirSync(join(folder, name)); }, 'Works'],
];

/** An item of a, which is not in the root. */
function itemIn(folder: string): string {
  const item = join(folder, 'trash', `0123456789ab.${a}`);
  mkdirSync(item, { recursive: true });
  return item;
}

describe('in our own folder', () => {
  test.for(inOurFolder)('%s leads nowhere, and holds nobody up', async ([, makeIt, fate], { skip }) => {
    const canary = new Canary();
    const store = new StoreOnDisk().entry(b);
    const folder = join(store.root, '.cachepolicy');
    mkdirSync(folder, 0o700);
    if (!(await prepare(skip, () => makeIt(folder, canary)))) return;
    const cache = store.cache({ maxEntries: 0 }, { remembers: true });
    const pass = cache.pass(enforce);
    if (fate === 'Refused') await expect(pass).rejects.toBeInstanceOf(OperatorError);
    else expect((await pass).evicted.map((entry) => entry.key)).toEqual([b]);
    for (const act of [() => cache.purge(), () => cache.save()]) await act().catch(onlyKnownErrors);
    expect(store.isServed(b)).toBe(fate === 'Refused');
    canary.expectWhole();
  });
});

function onlyKnownErrors(error: unknown): void {
  if (!(error instanceof OperatorError)) throw error;
}
