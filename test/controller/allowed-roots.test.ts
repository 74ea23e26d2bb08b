import { describe, expect, it } from 'vitest';
import { parseAllowedRoots } from '../../src/controller/allowed-roots.ts';

const parsed = (roots: string) => parseAllowedRoots({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'cachepolicy-allowed-roots' }, data: { roots } });

describe('the allowed roots', () => {
  it('stand one a line, in the order of the file', () => {
    expect(parsed('/var/lib/a3s-box\n/var/cache\n')).toEqual(['/var/lib/a3s-box', '/var/cache']);
  });

  it('may have blanks around them and empty lines between', () => {
    expect(parsed('\n  /srv  \r\n\n\t/var/cache')).toEqual(['/srv', '/var/cache']);
  });

  it('are none where nobody named any', () => {
    expect(parseAllowedRoots(undefined)).toEqual([]);
    expect(parseAllowedRoots({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'x' } })).toEqual([]);
    expect(parsed('')).toEqual([]);
  });

  it.each(['/', 'var/cache', '/var/../etc', '/var/./cache', '//var/cache', '/var//cache', '/var/cache/', '/var/ca che', '/var/cache\0', '# /var/cache', '*', '..', '/vаr'])(
    'leave out a line that is no plain path: %j',
    (line) => {
      expect(parsed(`${line}\n/srv`)).toEqual(['/srv']);
    },
  );
});
