import { appendFileSync, existsSync, linkSync, mkdirSync, readFileSync, rmSync, statSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import type { Journal, JournalRecord } from '../../src/cache/journal.ts';
import { appendToJournal, maxRecords, readJournal } from '../../src/cache/journal.ts';
import type { PassOptions } from '../../src/cache/pass-options.ts';
import { openRoot } from '../../src/disk/pinned-root.ts';
import { SteppedClock } from './stepped-clock.ts';
import { openStoreOwn, key, StoreOnDisk } from './store.ts';

const [a, b, c] = [key('a'), key('b'), key('c')];
const enforce: PassOptions = { mode: 'Enforce', trigger: 'Change' };

let store: StoreOnDisk;
beforeEach(() => {
  store = new StoreOnDisk();
});

const file = () => join(store.root, '.cachepolicy', 'journal');
const read = (): Journal => readJournal({ root: store.root, format: 'a3s-rootfs', allowedRoots: [dirname(store.home)] });

function append(...records: JournalRecord[]): void {
  using root = openRoot(store.root, { allowedRoots: [dirname(store.home)] });
  using own = openStoreOwn(root);
  appendToJournal(own, records);
}

function aRecord(but: Partial<JournalRecord> = {}): JournalRecord {
  return { atMs: Date.UTC(2026, 0, 1), event: 'Evicted', key: a, description: 'image aaa', sizeBytes: 100, reason: 'MaxEntries', trigger: 'Change', ...but };
}

describe('a pass', () => {
  it('writes down what it evicted: when, what, how large, why and what for', async () => {
    const clock = new SteppedClock();
    store.entry(a, { usedSecondsAgo: 30, sizeBytes: 7 }).entry(b, { usedSecondsAgo: 20 }).entry(c, { usedSecondsAgo: 10 });
    await store.cache({ maxEntries: 1 }, { clock }).pass(enforce);
    expect(read()).toEqual({
      records: [
        { atMs: clock.now(), event: 'Evicted', key: a, description: 'image aaa', sizeBytes: 7, reason: 'MaxEntries', trigger: 'Change' },
        { atMs: clock.now(), event: 'Evicted', key: b, description: 'image bbb', sizeBytes: 100, reason: 'MaxEntries', trigger: 'Change' },
      ],
      strangeLines: 0,
    });
    expect(statSync(file()).mode & 0o777).toBe(0o600);
  });

  it.each(['DryRun', 'Suspended'] as const)('in mode %s writes nothing', async (mode) => {
    store.entry(a).entry(b);
    await store.cache({ maxEntries: 0 }).pass({ ...enforce, mode });
    expect(existsSync(file())).toBe(false);
  });

  it('that evicts nothing writes nothing', async () => {
    store.entry(a);
    await store.cache({ maxEntries: 1 }).pass(enforce);
    expect(existsSync(file())).toBe(false);
  });

  it('tells of what came back out of the trash because a box uses it', async () => {
    store.entry(a, { sizeBytes: 7 });
    await store.cache({ maxEntries: 0 }).pass(enforce);
    store.box('box-1', a);
    await store.cache({ maxEntries: 1 }).pass(enforce);
    expect(store.isServed(a)).toBe(true);
    expect(read().records.map(({ event, key: which, description, sizeBytes, reason }) => [event, which, description, sizeBytes, reason])).toEqual([
      ['Evicted', a, 'image aaa', 7, 'MaxEntries'], ['Revived', a, 'image aaa', 7, null],
    ]);
  });

  it('whose journal cannot be written reports that, and has evicted all the same', async () => {
    store.entry(a);
    mkdirSync(join(file(), 'in-the-way'), { recursive: true, mode: 0o700 });
    const report = await store.cache({ maxEntries: 0 }).pass(enforce);
    expect(report.evicted.map((entry) => entry.key)).toEqual([a]);
    expect(report.errors).toMatchObject([{ code: 'ERR_DISK_IO', message: expect.stringContaining('journal') }]);
    expect(store.isServed(a)).toBe(false);
  });
});

describe('a purge', () => {
  it('tells of what came back instead of being deleted', async () => {
    store.entry(a).entry(b);
    using cache = store.cache({ maxEntries: 0 });
    await cache.pass(enforce);
    store.box('box-1', b);
    expect(await cache.purge()).toMatchObject({ purgedEntries: 1, revived: 1 });
    expect(read().records.slice(2)).toMatchObject([{ event: 'Revived', key: b, description: 'image bbb', sizeBytes: 100, reason: null, trigger: null }]);
  });
});

describe('the journal', () => {
  it('keeps the last 1,000, however they came', () => {
    const records = Array.from({ length: 2_500 }, (_, i) => aRecord({ key: String(i), description: 'x'.repeat(255) }));
    for (const some of [records.slice(0, 1), records.slice(1, 900), records.slice(900, 2_300), records.slice(2_300)]) append(...some);
    expect(read().records).toEqual(records.slice(-maxRecords));
  });

  it('does not grow without end', () => {
    for (let i = 0; i < 60; i += 1) append(...Array.from({ length: 100 }, () => aRecord()));
    expect(statSync(file()).size).toBeLessThan(600 * 1024);
    expect(read().records).toHaveLength(maxRecords);
  });

  it.each(Array.from({ length: 12 }, (_, i) => 5 + 17 * i))('loses no line but the last when a crash cuts %i bytes off', (bytes) => {
    append(aRecord({ key: '1' }), aRecord({ key: '2' }), aRecord({ key: '3', description: 'd'.repeat(240) }));
    truncateSync(file(), statSync(file()).size - bytes);
    append(aRecord({ key: '4' }));
    expect(read()).toMatchObject({ records: [{ key: '1' }, { key: '2' }, { key: '4' }], strangeLines: 1 });
  });

  it('keeps names as they are, whatever characters they have, but not without end', () => {
    const odd = 'a\nb"\\\u0000\u001b[31m\u202e\u2028{"event":';
    append(aRecord({ key: odd, description: '💾'.repeat(500) }));
    expect(read().records).toMatchObject([{ key: odd, description: '💾'.repeat(500).slice(0, 255) }]);
  });

  it.each([
    ['no JSON', '{'], ['no object', '7'], ['null', 'null'], ['a list', '[]'], ['deep', '['.repeat(100_000)],
    ['another event', { event: 'Deleted' }], ['no time', { time: 'soon' }], ['a time that is a number', { time: 5 }],
    ['a key that is no text', { key: 5 }], ['a key without end', { key: 'x'.repeat(256) }], ['a description that is no text', { description: {} }],
    ['a negative size', { sizeBytes: -1 }], ['a size beyond 2^53', { sizeBytes: 2 ** 60 }], ['a size that is text', { sizeBytes: '5' }],
    ['a reason that is no word', { reason: '\u001b[2J' }], ['a trigger without end', { trigger: 'A'.repeat(100) }], ['a prototype', '{"__proto__": {"event": "Evicted"}}'],
  ])('takes a line that is %s for strange, and goes on', (_, odd) => {
    const whole = { time: '2026-01-01T00:00:00.000Z', event: 'Evicted', key: 'k', description: 'd', sizeBytes: 1, reason: 'MaxIdle', trigger: 'Manual' };
    append(aRecord());
    appendFileSync(file(), `\n${typeof odd === 'string' ? odd : JSON.stringify({ ...whole, ...odd })}`);
    append(aRecord({ key: b }));
    expect(read()).toMatchObject({ records: [{ key: a }, { key: b }], strangeLines: 1 });
  });

  it.each([
    ['a FIFO', () => execFileSync('mkfifo', [file()])],
    ['a symbolic link', () => symlinkSync(join(store.home, 'outside'), file())],
    ['the file of another name, too', () => linkSync(join(store.home, 'outside'), file())],
  ])('never writes through %s, but takes its place', (_, make) => {
    mkdirSync(dirname(file()), 0o700);
    writeFileSync(join(store.home, 'outside'), 'untouched');
    make();
    append(aRecord());
    expect(readFileSync(join(store.home, 'outside'), 'utf8')).toBe('untouched');
    expect(read().records).toHaveLength(1);
    expect(statSync(file()).nlink).toBe(1);
  });

  it.each([
    ['a directory', () => mkdirSync(file())],
    ['a FIFO', () => execFileSync('mkfifo', [file()])],
    ['a symbolic link', () => symlinkSync('/etc/passwd', file())],
    ['a file of many GiB', () => { writeFileSync(file(), ''); truncateSync(file(), 2 ** 34); }],
  ])('is said to be unreadable where %s lies in its place', (_, make) => {
    mkdirSync(dirname(file()), 0o700);
    make();
    expect(read).toThrow(expect.objectContaining({ code: 'ERR_JOURNAL_UNREADABLE', message: expect.stringContaining('.cachepolicy/journal') }));
  });

  it('is empty where there is none, and where our folder is missing', () => {
    expect(read()).toEqual({ records: [], strangeLines: 0 });
    append(aRecord());
    rmSync(file());
    expect(read()).toEqual({ records: [], strangeLines: 0 });
  });

  it('is whole after a rewrite that stopped half way', () => {
    append(...Array.from({ length: 10 }, (_, i) => aRecord({ key: String(i) })));
    writeFileSync(join(dirname(file()), 'journal.new'), '\n{"half');
    append(...Array.from({ length: 4_000 }, (_, i) => aRecord({ key: `x${i}`, description: 'y'.repeat(200) })));
    append(...Array.from({ length: 1_000 }, (_, i) => aRecord({ key: `z${i}`, description: 'y'.repeat(200) })));
    expect(read()).toMatchObject({ strangeLines: 0 });
    expect(read().records.at(-1)).toMatchObject({ key: 'z999' });
    expect(existsSync(join(dirname(file()), 'journal.new'))).toBe(false);
  });
});
