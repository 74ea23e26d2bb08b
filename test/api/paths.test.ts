import { describe, expect, it } from 'vitest';
import { allowedRootOf, contains, isNormalPath, storeRoot } from '../../src/api/paths.ts';

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
    expect([storeRoot('/h', 'Rootfs'), storeRoot('/h', 'Layers')]).toEqual(['/h/cache/rootfs', '/h/cache/layers']);
  });
});
