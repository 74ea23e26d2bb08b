import { describe, expect, it } from 'vitest';
import type { Claim } from '../../src/policy/conflict.ts';
import { Conflicts } from '../../src/policy/conflict.ts';
import { atOnce } from '../../src/policy/steps.ts';

function claim(name: string, root: string, but: Partial<Claim> & { day?: number; roots?: string[]; home?: string | null } = {}): Claim {
  const { day = 1, roots = [root], home = `/home/of/${name}`, ...rest } = but;
  return { name, creationTimestamp: `2026-01-0${day}T00:00:00Z`, nodeSelector: {}, territories: roots.map((each) => ({ root: each, home })), ...rest };
}

function losers(...claims: Claim[]): Record<string, string> {
  const conflicts = new Conflicts();
  for (const each of claims) conflicts.set(each);
  atOnce(conflicts.resolve());
  return Object.fromEntries(claims.flatMap(({ name }) => [[name, conflicts.winnerOver(name)]]).filter(([, winner]) => winner !== undefined));
}

describe('of two policies', () => {
  it('the older wins where they name the same directory', () => {
    expect(losers(claim('new', '/c/x', { day: 2 }), claim('old', '/c/x'))).toEqual({ new: 'old' });
  });

  it('the first by name wins where they are of one age', () => {
    expect(losers(claim('b', '/c/x'), claim('a', '/c/x'))).toEqual({ b: 'a' });
  });

  it('one loses where a directory contains the other, whichever way round', () => {
    expect(losers(claim('outer', '/c'), claim('inner', '/c/x', { day: 2 }))).toEqual({ inner: 'outer' });
    expect(losers(claim('outer', '/c', { day: 2 }), claim('inner', '/c/x'))).toEqual({ outer: 'inner' });
  });

  it('one loses where a directory holds the home of the other\'s runtime', () => {
    expect(losers(claim('outer', '/c'), claim('inner', '/d', { home: '/c/x', day: 2 }))).toEqual({ inner: 'outer' });
    expect(losers(claim('outer', '/c'), claim('beside', '/d', { home: '/d-home', day: 2 }))).toEqual({});
  });

  it('neither loses where a name only begins alike', () => {
    expect(losers(claim('a', '/c/x'), claim('b', '/c/x-2', { day: 2 }))).toEqual({});
  });

  it('neither loses where a label keeps their nodes apart', () => {
    expect(losers(claim('a', '/c', { nodeSelector: { pool: 'x' } }), claim('b', '/c', { nodeSelector: { pool: 'y' } }))).toEqual({});
  });

  it('one loses where their selectors can choose the same node', () => {
    expect(losers(claim('a', '/c', { nodeSelector: { pool: 'x' } }), claim('b', '/c', { nodeSelector: { zone: 'y' }, day: 2 }))).toEqual({ b: 'a' });
    expect(losers(claim('a', '/c', { nodeSelector: { pool: 'x' } }), claim('b', '/c', { day: 2 }))).toEqual({ b: 'a' });
    expect(losers(claim('a', '/c', { nodeSelector: JSON.parse('{"constructor":"x"}') as Record<string, string> }), claim('b', '/c', { day: 2 }))).toEqual({ b: 'a' });
  });

  it('the loser loses whole: one shared directory of several is enough', () => {
    expect(losers(claim('a', '/c/x'), claim('b', '/c/z', { roots: ['/c/y', '/c/x'], day: 2 }))).toEqual({ b: 'a' });
  });
});

describe('of several policies', () => {
  it('one that has lost stands in nobody else’s way', () => {
    const chain = [claim('first', '/c/x'), claim('second', '/c', { day: 2 }), claim('third', '/c/y', { day: 3 })];
    expect(losers(...chain)).toEqual({ second: 'first' });
    expect(losers(...chain.slice(1))).toEqual({ third: 'second' });
  });

  it('the outcome does not depend on the order they are looked at', () => {
    const all = [claim('a', '/c/x'), claim('b', '/c', { day: 2 }), claim('c', '/c/y', { day: 3 }), claim('d', '/d')];
    expect(losers(...all.toReversed())).toEqual(losers(...all));
  });

  it('one loses where a directory of its own lies in the home of the other\'s runtime, or holds it', () => {
    const box = claim('box', '/c/home/cache/rootfs', { home: '/c/home' });
    expect(losers(box, claim('boxes', '/c/home/boxes', { day: 2, home: null }))).toEqual({ boxes: 'box' });
    expect(losers(box, claim('all', '/c', { day: 2, home: null }))).toEqual({ all: 'box' });
    expect(losers(box, claim('models', '/c/models', { day: 2, home: null }))).toEqual({});
    expect(losers(claim('one', '/c/models', { home: null }), claim('other', '/c/models/llama', { day: 2, home: null }))).toEqual({ other: 'one' });
  });
});
