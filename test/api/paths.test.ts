import { describe, expect, it } from 'vitest';
import { allowedRootOf, contains, isNormalPath, overlap, storeRoot } from '../../src/api/paths.ts';

describe('a path of a cache', () => {
  it.each(['/var', '/var/lib/a3s-box/home', '/a.b/..c/d..', '/x/@:+-_'])('may be %s', (path) => {
    expect(isNormalPath(path)).toBe(true);
  });

  it.each(['', '/', '//', 'var', './var', '/var/', '/var//lib', '/var/.', '/var/../etc', '/..', '/va r', '/var\n', '/vär', '/var/\0', '/var/\u2024\u2024', '/var/*'])(
    'may not be %j', (path) => {
      expect(isNormalPath(path)).toBe(false);
      expect(allowedRootOf(path, ['/', '/var'])).toBeUndefined();
    });

  it('lies below an allowed root by whole components, and strictly', () => {
    expect(allowedRootOf('/var/cache/x', ['/var/lib/a3s-box', '/var/cache'])).toBe('/var/cache');
    expect(allowedRootOf('/var/cache-x/y', ['/var/cache'])).toBeUndefined();
    expect(allowedRootOf('/var/cache', ['/var/cache'])).toBeUndefined();
    expect(allowedRootOf('/var', ['/var/cache'])).toBeUndefined();
  });

  it('contains itself and what lies below it', () => {
    expect([contains('/a', '/a'), contains('/a', '/a/b'), contains('/a', '/ab'), contains('/a/b', '/a')]).toEqual([true, true, false, false]);
  });

  it('leads from a home to its stores', () => {
    expect([storeRoot({ home: '/h', store: 'Rootfs' }), storeRoot({ home: '/h', store: 'Layers' })]).toEqual(['/h/cache/rootfs', '/h/cache/layers']);
    expect([storeRoot({ home: '/h', store: 'Rootfs', cacheDir: '/c' }), storeRoot({ home: '/h', store: 'Layers', cacheDir: '/c' })]).toEqual(['/c/rootfs', '/c/layers']);
  });

  it.each([
    ['of one root', { root: '/c/x', home: '/h' }, { root: '/c/x', home: '/i' }, true],
    ['of roots within one another', { root: '/c', home: '/h' }, { root: '/c/x', home: '/i' }, true],
    ['of which one would evict the home of the other', { root: '/c', home: '/h' }, { root: '/d', home: '/c/x/home' }, true],
    ['of which one would evict what is the home of the other', { root: '/c', home: '/h' }, { root: '/d', home: '/c' }, true],
    ['of one home and roots apart', { root: '/c/x', home: '/h' }, { root: '/c/y', home: '/h' }, false],
    ['of names that begin alike', { root: '/c/x', home: '/c/x-h' }, { root: '/c/x-y', home: '/h' }, false],
  ])('two caches %s overlap or not, whichever is asked', (_, one, other, expected) => {
    expect([overlap(one, other), overlap(other, one)]).toEqual([expected, expected]);
  });
});
