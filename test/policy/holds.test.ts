import { describe, expect, it } from 'vitest';
import type { Hold, Holds } from '../../src/policy/holds.ts';
import { holdOf, mergeHolds, noHolds } from '../../src/policy/holds.ts';
import type { EntryName } from '../../src/policy/snapshot.ts';

const name = (text: string) => text as EntryName;
const by = (source: Hold['source'], detail: string): Hold => ({ source, detail });
const box = by('Box', 'box one');
const holds = (but: Partial<Holds>): Holds => ({ ...noHolds, ...but });

describe('an entry is held', () => {
  it.each([
    ['by its name', { entries: new Map([[name('a'), box]]) }, { name: name('a'), description: 'x' }, box],
    ['by its description', { byDescription: new Map([['nginx', box]]) }, { name: name('a'), description: 'nginx' }, box],
    ['by its name before its description', { entries: new Map([[name('a'), box]]), byDescription: new Map([['nginx', by('Box', 'two')]]) }, { name: name('a'), description: 'nginx' }, box],
    ['by any description where its own is not known', { byDescription: new Map([['nginx', box]]) }, { name: name('a'), description: undefined }, box],
    ['where all is', { everything: box }, { name: name('a'), description: 'x' }, box],
    ['by nobody, of another name', { entries: new Map([[name('b'), box]]) }, { name: name('a'), description: 'x' }, undefined],
    ['by nobody, of another description', { byDescription: new Map([['nginx', box]]) }, { name: name('a'), description: 'redis' }, undefined],
    ['by nobody, where nothing is', {}, { name: name('a'), description: undefined }, undefined],
  ])('%s', (_, known, entry, expected) => {
    expect(holdOf(holds(known), entry)).toBe(expected);
  });
});

describe('what several sources know', () => {
  const one = holds({ entries: new Map([[name('a'), box]]), byDescription: new Map([['nginx', box]]), sources: ['Box'] });
  const mount = by('Mount', 'the mount at /x');

  it('adds up, and the first that names an entry stays its reason', () => {
    const other = holds({ entries: new Map([[name('a'), mount], [name('b'), mount]]), byDescription: new Map([['nginx', mount]]), sources: ['Mount'] });
    const all = mergeHolds([one, other]);
    expect([holdOf(all, { name: name('a'), description: 'x' }), holdOf(all, { name: name('b'), description: 'x' }), holdOf(all, { name: name('c'), description: 'nginx' })]).toEqual([box, mount, box]);
    expect(all).toMatchObject({ everything: undefined, sources: ['Box', 'Mount'] });
  });

  it('is everything where one of them cannot tell, in its words', () => {
    expect(mergeHolds([one, holds({ everything: mount }), holds({ everything: box })])).toMatchObject({ everything: mount, sources: ['Box'] });
  });

  it('is nothing where nobody was asked', () => {
    expect(mergeHolds([])).toEqual(noHolds);
  });
});
