import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EntryTable, EntryTableBuilder } from '../../src/policy/entry-table.ts';
import type { EntryRow, RawRow } from '../../src/policy/entry-table.ts';
import type { EntryName } from '../../src/policy/snapshot.ts';
import { atOnce } from '../../src/policy/steps.ts';
import { entry, hour, now } from './builders.ts';

function rows(count: number): EntryRow[] {
  return Array.from({ length: count }, (_, i) => ({
    ...entry(`k${i}`, { idleMs: i * hour, sizeBytes: i * 2 ** 40, description: i % 3 === 0 ? '' : `ein größeres Bild ${i}` }),
    stamp: { inode: 2n ** 64n - 1n - BigInt(i), changedNs: 1_700_000_000_000_000_001n + BigInt(i), size: i },
  }));
}

it('takes rows out in steps', () => {
  const steps = EntryTable.of(rows(10_000), now).without(new Set(['k9999'] as EntryName[]));
  let count = 0;
  while (steps.next().done !== true) count += 1;
  expect(count).toBe(3);
});

it('reserves little beyond what its rows take, however many they are', () => {
  for (const count of [1, 100, 6_500]) {
    const { names } = EntryTable.of(rows(count).map((row, i) => ({ ...row, name: String(i).padStart(64, '0') as EntryName })), now);
    expect([names.usedBytes, names.bytes.length <= Math.max(256, names.usedBytes * 1.06)]).toEqual([64 * count, true]);
  }
});

describe('a table of entries', () => {
  it('gives back every row as it was put in, however many there are', () => {
    const put = rows(1000);
    const table = EntryTable.of(put, now);
    expect(table.length).toBe(1000);
    expect([...table]).toEqual(put);
    expect(table.at(999)).toEqual(put[999]);
  });

  it('keeps a key apart from the name where they differ', () => {
    const table = EntryTable.of([entry('a', { name: 'sha256_a' as EntryName, key: 'sha256:a' }), entry('b')], now);
    expect([...table].map(({ name, key }) => [name, key])).toEqual([['sha256_a', 'sha256:a'], ['b', 'b']]);
  });

  it('reads a clock ahead of ours as used now, and says so', () => {
    const table = EntryTable.of([{ ...entry('a'), lastAccessedAtMs: now + hour, cachedAtMs: now + hour }], now);
    expect(table.at(0)).toMatchObject({ lastAccessedAtMs: now, cachedAtMs: now, clockAhead: true });
  });

  it('leaves out what is named, and stays as it was', () => {
    const table = EntryTable.of(rows(5), now);
    expect([...atOnce(table.without(new Set(['k1', 'k4'] as EntryName[])))].map(({ key }) => key).toSorted()).toEqual(['k0', 'k2', 'k3']);
    expect(table.length).toBe(5);
  });

  it('finds the rows that have a name, and no other that ends alike', () => {
    const names = ['a', 'xa', 'sha256_77a', 'sha256_a77a', '', 'ä', 'b'] as EntryName[];
    const table = EntryTable.of(names.map((name) => entry(name)), now);
    for (const [row, name] of names.entries()) expect([...atOnce(table.rowsNamed([name, '77a' as EntryName]))]).toEqual([row]);
    expect([...atOnce(table.rowsDescribed(['image xa', 'e xa', 'image ä']))]).toEqual([1, 5]);
    expect([...atOnce(table.rowsNamed([]))]).toEqual([]);
  });

  it('compares keys by their bytes, whether or not they are the names', () => {
    const keys = ['', 'a', 'aa', 'b', 'sha256:1', 'ä', '𝒳'];
    const table = EntryTable.of(keys.map((key, i) => entry(key, { name: (i % 2 === 0 ? key : `n${key}`) as EntryName })), now);
    for (const a of keys.keys()) for (const b of keys.keys()) expect(Math.sign(table.compareKeys(a, b))).toBe(Math.sign(a - b));
  });

  it('has no row outside', () => {
    const table = EntryTable.of(rows(2), now);
    for (const row of [-1, 2, NaN]) expect(() => table.at(row)).toThrow(RangeError);
    expect([...EntryTable.of([], now)]).toEqual([]);
  });
});

describe('a table made from another', () => {
  const act = fc.record({ what: fc.constantFrom('add', 'replace', 'drop'), name: fc.integer({ min: 0, max: 30 }), description: fc.string({ unit: 'grapheme', maxLength: 100 }) });

  it('has the rows that were put in last, finds each by its name, and leaves the other as it was', () => {
    fc.assert(
      fc.property(fc.array(fc.array(act, { maxLength: 20 }), { maxLength: 12 }), (generations) => {
        let table = EntryTable.of([], now);
        let model = new Map<string, string>();
        for (const acts of generations) {
          const [before, expected] = [table, [...model]];
          const builder = new EntryTableBuilder(before);
          const touched = new Set<string>();
          model = new Map(model);
          for (const { what, name: number, description } of acts) {
            const name = `name-${number}`;
            // As a scan does: each name once.
            if (touched.has(name)) continue;
            touched.add(name);
            const row = before.rowOf(name);
            if (what === 'add' && row === -1) builder.add(entry(name, { description }));
            else if (what === 'replace' && row !== -1) builder.replaceRaw(row, rawRow(name, description));
            else if (what === 'drop' && row !== -1) builder.drop(row);
            else continue;
            if (what === 'drop') model.delete(name);
            else model.set(name, description);
          }
          table = builder.build(now);
          expect(contentOf(before)).toEqual(expected.toSorted());
          expect(contentOf(table)).toEqual([...model].toSorted());
          for (const [name, description] of model) expect(table.descriptionAt(table.rowOf(name))).toBe(description);
          expect(table.rowOf('name-99')).toBe(-1);
        }
      }),
      { numRuns: 200 },
    );
  });
});

function contentOf(table: EntryTable): [string, string][] {
  return [...table].map(({ name, description }): [string, string] => [name, description]).toSorted();
}

function rawRow(name: string, description: string): RawRow {
  const [names, texts] = [Buffer.from(name), Buffer.from(description)];
  return {
    names, nameStart: 0, nameEnd: names.length, texts, keyStart: 0, keyEnd: 0, descriptionStart: 0, descriptionEnd: texts.length, sizeBytes: 1, cachedAtMs: 1,
    lastAccessedAtMs: 1, stamp: { inodeLow: 1, inodeHigh: 0, changedSeconds: 1, changedNanoseconds: 0, size: 1 },
  };
}
