import { describe, expect, test } from 'vitest';
import { a3sLayers } from '../../src/cache/formats/a3s-layers.ts';
import { a3sRootfs } from '../../src/cache/formats/a3s-rootfs.ts';
import type { StoreFormat } from '../../src/cache/formats/format.ts';
import { openFormat, storeFormats } from '../../src/cache/formats/registry.ts';
import { formatNames } from '../../src/policy/compiled.ts';
import type { EntryName } from '../../src/policy/snapshot.ts';

const hex = 'a'.repeat(64);
const digest = `sha256:${hex}`;

function nameIn(format: StoreFormat, key: string): EntryName {
  return format.nameOf(key) ?? expect.unreachable(`${key} is no key`);
}

test('every format answers to its name', () => {
  for (const name of formatNames) expect(openFormat(name).name).toBe(name);
});

describe('names', () => {
  test.each([
    [hex, 'Entry'],
    ['any single component', 'Entry'],
    ['__proto__', 'Entry'],
    ['-rf', 'Entry'],
    ['new\nline', 'Entry'],
    [`${hex}.meta.json`, 'Metadata'],
    [`${hex}.meta.json.lock`, 'Lock'],
    ['.staging-Ab12Cd', 'Staging'],
    ['.tmpQw3rTy', 'Temp'],
    ['.cachepolicy', 'Own'],
    ['.staging-', 'Unrecognised'],
    ['.staging-Ab12Cd.bak', 'Unrecognised'],
    ['.tmp', 'Unrecognised'],
    ['.tmpQw3rTyX', 'Unrecognised'],
    ['.hidden', 'Unrecognised'],
    ['.meta.json', 'Unrecognised'],
    ['..meta.json', 'Unrecognised'],
    ['...meta.json', 'Unrecognised'],
    ['back\\slash', 'Unrecognised'],
    ['not utf8 \ufffd', 'Unrecognised'],
    ['x'.repeat(240), 'Entry'],
    ['x'.repeat(241), 'Unrecognised'],
    ['é'.repeat(121), 'Unrecognised'],
  ])('%j is read as %s', (name, role) => {
    expect(a3sRootfs.roleOf(name).role).toBe(role);
  });

  test('a digest is stored with _ for :, and found again by either', () => {
    expect(nameIn(a3sLayers, digest)).toBe(`sha256_${hex}`);
    expect(a3sLayers.roleOf(`sha256_${hex}`)).toEqual({ role: 'Entry', name: `sha256_${hex}` });
    expect(a3sLayers.roleOf(digest).role).toBe('Unrecognised');
  });

  test.each(['', '.', '..', 'a/b', 'a\\b', 'a\0', '.dot', 'x.meta.json', 'x.meta.json.lock', '\ud800'])('%j is no key', (key) => {
    expect(a3sRootfs.nameOf(key)).toBeUndefined();
  });

  test('only what the runtime itself would have named is taken for its orphan', () => {
    expect(a3sRootfs.looksLikeEntry(nameIn(a3sRootfs, hex))).toBe(true);
    expect(a3sRootfs.looksLikeEntry(nameIn(a3sRootfs, 'my-folder'))).toBe(false);
    expect(a3sRootfs.looksLikeEntry(nameIn(a3sRootfs, hex.toUpperCase()))).toBe(false);
    expect(a3sLayers.looksLikeEntry(nameIn(a3sLayers, digest))).toBe(true);
    expect(a3sLayers.looksLikeEntry(nameIn(a3sLayers, hex))).toBe(false);
  });

  test('fresh names for puts are recognised as such', () => {
    for (const format of Object.values(storeFormats)) {
      expect(format.roleOf(format.stagingName()).role).toBe('Staging');
      expect(format.roleOf(format.tempName()).role).toBe('Temp');
    }
  });
});

describe('metadata', () => {
  const rootfs = `{
  "key": "${hex}",
  "description": "docker.io/library/nginx:1.27",
  "size_bytes": 8071,
  "cached_at": 1795426955,
  "last_accessed": 1795426965
}`;
  const layer = `{
  "digest": "${digest}",
  "size_bytes": 8071,
  "cached_at": 1795426964,
  "last_accessed": 1795426964
}`;

  test('what the runtime wrote is read, in milliseconds', () => {
    expect(a3sRootfs.parseMetadata(Buffer.from(rootfs), nameIn(a3sRootfs, hex))).toEqual({
      key: hex, description: 'docker.io/library/nginx:1.27', sizeBytes: 8071, cachedAtMs: 1795426955000, lastAccessedAtMs: 1795426965000,
    });
    expect(a3sLayers.parseMetadata(Buffer.from(layer), nameIn(a3sLayers, digest))).toMatchObject({ key: digest, description: '', sizeBytes: 8071 });
  });

  test.each([[a3sRootfs, hex, rootfs], [a3sLayers, digest, layer]])('and written again byte by byte (%#)', (format, key, text) => {
    const read = format.parseMetadata(Buffer.from(text), nameIn(format, key));
    if ('damage' in read) expect.unreachable(read.message);
    else expect(format.serialiseMetadata(read)).toBe(text);
  });

  test('milliseconds are cut to the second that has passed', () => {
    const written = a3sRootfs.serialiseMetadata({ key: hex, description: '', sizeBytes: 1, cachedAtMs: 1_999, lastAccessedAtMs: 2_000 });
    expect(JSON.parse(written)).toMatchObject({ cached_at: 1, last_accessed: 2 });
  });

  const fields = { key: hex, description: '', size_bytes: 1, cached_at: 1, last_accessed: 1 };
  test.each<[string, string | Uint8Array, string]>([
    ['nothing', '', 'MetadataMalformed'],
    ['half of it', rootfs.slice(0, 40), 'MetadataMalformed'],
    ['something behind it', `${rootfs}x`, 'MetadataMalformed'],
    ['bytes that are no text', Buffer.from([0x7b, 0xff, 0x7d]), 'MetadataMalformed'],
    ['a list', '[]', 'MetadataMalformed'],
    ['null', 'null', 'MetadataMalformed'],
    ['30,000 brackets', '['.repeat(30_000), 'MetadataMalformed'],
    ['NaN', JSON.stringify(fields).replace('"size_bytes":1', '"size_bytes":NaN'), 'MetadataMalformed'],
    ['no key', JSON.stringify({ ...fields, key: undefined }), 'MetadataMalformed'],
    ['a number as key', JSON.stringify({ ...fields, key: 5 }), 'MetadataMalformed'],
    ['no description', JSON.stringify({ ...fields, description: undefined }), 'MetadataMalformed'],
    ['a text as size', JSON.stringify({ ...fields, size_bytes: '1' }), 'MetadataMalformed'],
    ['a key outside', JSON.stringify({ ...fields, key: '../../../victim' }), 'MetadataNamesAnotherKey'],
    ['another key', JSON.stringify({ ...fields, key: 'b'.repeat(64) }), 'MetadataNamesAnotherKey'],
    ['a negative size', JSON.stringify({ ...fields, size_bytes: -5 }), 'MetadataValueInvalid'],
    ['half a byte', JSON.stringify({ ...fields, size_bytes: 0.5 }), 'MetadataValueInvalid'],
    ['a size beyond 2^53', JSON.stringify(fields).replace('"size_bytes":1', '"size_bytes":9007199254740993'), 'MetadataValueInvalid'],
    ['an infinite size', JSON.stringify(fields).replace('"size_bytes":1', '"size_bytes":1e999'), 'MetadataValueInvalid'],
    ['a use before 1970', JSON.stringify({ ...fields, last_accessed: -1 }), 'MetadataValueInvalid'],
    ['a negative time of caching', JSON.stringify({ ...fields, cached_at: -9e15 }), 'MetadataValueInvalid'],
  ])('%s is damage with a reason', (_, bytes, damage) => {
    expect(a3sRootfs.parseMetadata(Buffer.from(bytes), nameIn(a3sRootfs, hex))).toMatchObject({ damage, message: expect.stringMatching(/^.{5,}$/) });
  });

  test('a __proto__ in it is a field like any other', () => {
    const text = rootfs.replace('{', '{"__proto__": {"size_bytes": 1},');
    expect(a3sRootfs.parseMetadata(Buffer.from(text), nameIn(a3sRootfs, hex))).toMatchObject({ sizeBytes: 8071 });
  });
});
