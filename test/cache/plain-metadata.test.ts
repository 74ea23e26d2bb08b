import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { a3sLayers } from '../../src/cache/formats/a3s-layers.ts';
import { a3sRootfs } from '../../src/cache/formats/a3s-rootfs.ts';
import type { StoreFormat } from '../../src/cache/formats/format.ts';
import { PlainNames } from '../../src/cache/plain-names.ts';
import type { RawRow } from '../../src/policy/entry-table.ts';
import { EntryTableBuilder } from '../../src/policy/entry-table.ts';
import type { EntryName } from '../../src/policy/snapshot.ts';

const formats: [string, StoreFormat, string, string][] = [
  ['a3s-rootfs', a3sRootfs, 'a'.repeat(64), 'a'.repeat(64)],
  ['a3s-layers', a3sLayers, `sha256:${'b'.repeat(64)}`, `sha256_${'b'.repeat(64)}`],
];

/** As the scan reads it: from a buffer that still holds what was read before. @returns undefined where it leaves the text to parseMetadata */
function readPlain(format: StoreFormat, text: string | Buffer, name: string) {
  const bytes = Buffer.alloc(4097, '0');
  const length = Buffer.from(text).copy(bytes);
  const names = Buffer.from(name);
  const raw: RawRow = {
    names, nameStart: 0, nameEnd: names.length, texts: bytes, keyStart: 0, keyEnd: 0, descriptionStart: 0, descriptionEnd: 0, sizeBytes: 0, cachedAtMs: 0,
    lastAccessedAtMs: 0, stamp: { inodeLow: 0, inodeHigh: 0, changedSeconds: 0, changedNanoseconds: 0, size: 0 },
  };
  if (!format.readPlainMetadata(bytes, length, raw)) return undefined;
  const builder = new EntryTableBuilder();
  builder.addRaw(raw);
  const { key, description, sizeBytes, cachedAtMs, lastAccessedAtMs } = builder.build(Number.MAX_SAFE_INTEGER * 1000).at(0);
  return { key, description, sizeBytes, cachedAtMs, lastAccessedAtMs };
}

describe.each(formats)('metadata of %s', (_, format, key, name) => {
  const whole = format.serialiseMetadata({ key, description: 'docker.io/library/nginx:1.27', sizeBytes: 12_345, cachedAtMs: 1_700_000_000_000, lastAccessedAtMs: 1_700_000_500_000 });

  test('as the runtime writes it is read without a text in between', () => {
    expect(readPlain(format, whole, name)).toEqual(format.parseMetadata(Buffer.from(whole), name as EntryName));
  });

  test('is never read otherwise than JSON.parse does, whatever is changed in it', () => {
    const edit = fc.record({ at: fc.nat(whole.length), cut: fc.nat(12), put: fc.oneof(fc.constantFrom('', '"', '\\', '\\u0041', '0', '-', '.5', 'e3', ' ', '\n', '}', ',', '\0', 'ä', '\x7f', '9'.repeat(17), '_', ':', '{"a":1}'), fc.string({ maxLength: 4 })) });
    let plain = 0;
    fc.assert(
      fc.property(fc.array(edit, { maxLength: 2 }), (edits) => {
        const text = edits.reduce((sum, { at, cut, put }) => sum.slice(0, at) + put + sum.slice(at + cut), whole);
        const read = readPlain(format, text, name);
        if (read === undefined) return;
        plain += 1;
        expect(read).toEqual(format.parseMetadata(Buffer.from(text), name as EntryName));
      }),
      { numRuns: 5_000 },
    );
    // The edits leave some texts readable, or this would show nothing.
    expect(plain).toBeGreaterThan(50);
  });

  test.each([0, 1, 10, 999_999_999_999_999])('numbers such as %d', (number) => {
    const text = format.serialiseMetadata({ key, description: '', sizeBytes: number, cachedAtMs: number * 1000, lastAccessedAtMs: number * 1000 });
    expect(readPlain(format, text, name)).toEqual(format.parseMetadata(Buffer.from(text), name as EntryName));
  });

  test('of another key, cut short, or with bytes that are no UTF-8 is left to be judged', () => {
    expect(readPlain(format, whole, name.replace(/.$/, 'c'))).toBeUndefined();
    for (let length = 0; length < whole.length; length += 1) expect(readPlain(format, whole.slice(0, length), name)).toBeUndefined();
    expect(readPlain(format, Buffer.concat([Buffer.from(whole), Buffer.from([0xff])]), name)).toBeUndefined();
  });
});

describe.each(formats)('names of %s', (_, format) => {
  test('are told apart by their bytes as they are by their text', () => {
    const plain = new PlainNames(format);
    const part = fc.constantFrom('a', 'Z', '9', '_', '-', '.', ':', 'ä', ' ', '\n', '.meta.json', '.meta.json.lock', '.staging-', '.cachepolicy', 'x'.repeat(120), '0'.repeat(64));
    fc.assert(
      fc.property(fc.array(part, { minLength: 1, maxLength: 4 }), (parts) => {
        const name = parts.join('');
        const bytes = Buffer.from(`#${name}#`);
        const role = plain.roleOf(bytes, 1, bytes.length - 1);
        if (role === undefined) return;
        const expected = format.roleOf(name);
        expect(role).toBe(expected.role);
        if ('name' in expected) expect(bytes.toString('utf8', 1, plain.end)).toBe(expected.name);
      }),
      { numRuns: 3_000 },
    );
  });
});
