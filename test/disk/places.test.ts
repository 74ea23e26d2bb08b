import { describe, expect, test } from 'vitest';
import { parseMounts } from '../../src/disk/mounts.ts';
import { componentsBelow, overlayLayers, placeFinder } from '../../src/disk/places.ts';

const mounts = parseMounts([
  '20 1 8:1 / / rw - ext4 /dev/a rw',
  '30 20 8:2 / /var rw - xfs /dev/b rw',
  '31 30 8:1 /data/cache /var/cache rw - ext4 /dev/a rw',
  '32 30 0:9 / /var/hidden rw - tmpfs t rw',
  '33 32 8:3 /@ /var/hidden rw - btrfs /dev/c rw',
].join('\n'));

describe('the place of a path', () => {
  test.each([
    ['/', '8:1', ''],
    ['/etc', '8:1', '/etc'],
    ['/variant', '8:1', '/variant'],
    ['/var', '8:2', ''],
    ['/var/lib/x', '8:2', '/lib/x'],
    ['/var/cache', '8:1', '/data/cache'],
    ['/var/cache/x/y', '8:1', '/data/cache/x/y'],
    ['/var/hidden/x', '8:3', '/@/x'],
  ])('%s lies on %s at "%s"', (path, device, at) => {
    expect(placeFinder(mounts)(path)).toEqual({ device, path: at });
  });

  test('is not known where no mount is seen above it', () => {
    expect(placeFinder(mounts.slice(1))('/etc')).toBeUndefined();
    expect(placeFinder(mounts)('relative/path')).toBeUndefined();
  });
});

test.each([
  ['the same directory', '8:1', '/a/b', undefined],
  ['a child', '8:1', '/a/b/c', ['c']],
  ['further down', '8:1', '/a/b/c/d', ['c', 'd']],
  ['a name that begins the same', '8:1', '/a/bc', undefined],
  ['another device', '8:2', '/a/b/c', undefined],
  ['above', '8:1', '/a', undefined],
])('below a place is %s: %s', (_, device, path, expected) => {
  expect(componentsBelow({ device: '8:1', path: '/a/b' }, { device, path })).toEqual(expected);
});

describe('the layers of an overlay', () => {
  const overlay = (options: string, type = 'overlay') => overlayLayers(parseMounts(`7 1 0:1 / /m rw shared:1 master:2 - ${type} overlay ${options}`)[0]!);

  test.each([
    ['one lower', 'rw,lowerdir=/c/a,upperdir=/b/u,workdir=/b/w,xino=off', ['/c/a']],
    ['several lowers', 'rw,lowerdir=/c/a:/c/b', ['/c/a', '/c/b']],
    ['data only lowers', 'rw,lowerdir=/c/a:/c/b::/c/d', ['/c/a', '/c/b', '/c/d']],
    ['a colon, a backslash, a comma and an equals sign in a name', 'rw,lowerdir=/c/\\134:a\\134\\134b:/c/x\\054y\\075z', ['/c/:a\\b', '/c/x,y=z']],
    ['an option each, as newer kernels show it', 'rw,lowerdir+=/c/a:1,datadir+=/c/b,upperdir=/u', ['/c/a:1', '/c/b']],
    ['none', 'rw', []],
  ])('%s', (_, options, layers) => {
    expect(overlay(options)).toEqual(layers);
  });

  test('are none of another filesystem that has an option of the name', () => {
    expect(overlay('rw,lowerdir=/c/a', 'fuse')).toEqual([]);
  });
});
