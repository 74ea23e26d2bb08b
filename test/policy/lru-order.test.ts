import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EntryTable } from '../../src/policy/entry-table.ts';
import { inLruOrder } from '../../src/policy/lru-order.ts';
import type { Entry } from '../../src/policy/snapshot.ts';
import { entry, now } from './builders.ts';

function plainly(entries: readonly Entry[]): Entry[] {
  const used = (one: Entry): number => (one.clockAhead ? now : one.lastAccessedAtMs);
  return entries.toSorted((a, b) => used(a) - used(b) || a.cachedAtMs - b.cachedAtMs || (a.key < b.key ? -1 : 1));
}

function ordered(entries: readonly Entry[]): string[] {
  // Taken so late that no time lies ahead but those that are meant to.
  const takenAtMs = Number.MAX_SAFE_INTEGER - 1;
  const table = EntryTable.of(entries.map((each) => (each.clockAhead ? { ...each, lastAccessedAtMs: takenAtMs + 1 } : each)), takenAtMs);
  return Array.from(inLruOrder(table, now), (row) => table.keyAt(row));
}

describe('the order of last use', () => {
  const instants = fc.oneof(fc.nat(5), fc.nat(3000), fc.constantFrom(0, 999, 1000, 1001, now, 2 ** 52, -5));
  const entries = fc
    .array(fc.record({ lastAccessedAtMs: instants, cachedAtMs: fc.nat(2), clockAhead: fc.boolean() }), { maxLength: 80 })
    .map((times) => times.map((time, i) => entry(`k${(i * 7919) % 101}-${i}`, time)));

  it('is that of a plain comparison, for crowded seconds and for times far apart alike', () => {
    fc.assert(fc.property(entries, (some) => {
      expect(ordered(some)).toEqual(plainly(some).map(({ key }) => key));
    }), { numRuns: 500 });
  });

  it('orders a crowded second by when things were cached, then by key', () => {
    const crowd = Array.from({ length: 100 }, (_, i) => entry(`k${(i * 37) % 100}`, { cachedAtMs: i % 3, lastAccessedAtMs: now }));
    expect(ordered(crowd)).toEqual(plainly(crowd).map(({ key }) => key));
  });

  it('stays exact where times are too far apart to be packed', () => {
    const wide = Array.from({ length: 2_000 }, (_, i) => entry(`k${i}`, { lastAccessedAtMs: i % 2 === 0 ? i : Number.MAX_SAFE_INTEGER - 500 * (i + 1) }));
    expect(ordered(wide)).toEqual(plainly(wide).map(({ key }) => key));
  });
});
