import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Claim } from '../../src/policy/conflict.ts';
import { Conflicts } from '../../src/policy/conflict.ts';
import { atOnce } from '../../src/policy/steps.ts';
import { pairwiseConflicts } from './pairwise-conflicts.ts';

/** Few names and short paths, so that ties, nesting and names that only begin alike come often. */
const names = fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h');
const paths = fc.array(fc.constantFrom('x', 'y', 'x-', 'x0', 'x.'), { minLength: 1, maxLength: 4 }).map((parts) => `/${parts.join('/')}`);
const territories = fc.array(fc.record({ root: paths, home: fc.option(paths) }), { minLength: 1, maxLength: 3 });
const nodeSelectors = fc.dictionary(fc.constantFrom('pool', 'zone', 'constructor'), fc.constantFrom('1', '2'), { maxKeys: 2 });
const claims: fc.Arbitrary<Claim> = fc.record({
  name: names,
  creationTimestamp: fc.constantFrom('', '2026-01-01T00:00:00Z', '2026-01-02T00:00:00Z', '2026-01-03T00:00:00Z'),
  nodeSelector: nodeSelectors,
  territories,
});

/** A policy that comes or changes, one that goes, and the moment in which a decision is asked for, or is let go on by so many steps. */
type Edit = { readonly set: Claim } | { readonly delete: string } | { readonly steps: number };
const edits: fc.Arbitrary<Edit[]> = fc.array(
  fc.oneof({ weight: 5, arbitrary: claims.map((set) => ({ set })) }, { weight: 2, arbitrary: names.map((name) => ({ delete: name })) }, { weight: 3, arbitrary: fc.integer({ min: 1, max: 30 }).map((steps) => ({ steps })) }),
  { maxLength: 40 },
);

/** What the decision says, and the claims that it had to decide about. */
class Rig {
  readonly #conflicts = new Conflicts();
  readonly #claims = new Map<string, Claim>();
  #running: { readonly steps: ReturnType<Conflicts['resolve']>; readonly about: readonly Claim[]; readonly before: ReadonlyMap<string, string | undefined> } | undefined;

  edit(edit: Edit): void {
    if ('set' in edit) {
      this.#claims.set(edit.set.name, edit.set);
      this.#conflicts.set(edit.set);
    } else if ('delete' in edit) {
      this.#claims.delete(edit.delete);
      this.#conflicts.delete(edit.delete);
    } else this.#goOn(edit.steps);
  }

  end(): void {
    this.#goOn(Infinity);
    this.#goOn(Infinity);
  }

  #goOn(steps: number): void {
    this.#running ??= { steps: this.#conflicts.resolve(), about: [...this.#claims.values()], before: this.#outcome() };
    for (let step = 0; step < steps; step++) {
      const { done, value } = this.#running.steps.next();
      if (done !== true) continue;
      this.#check(this.#running, value);
      this.#running = undefined;
      return;
    }
  }

  #check({ about, before }: { readonly about: readonly Claim[]; readonly before: ReadonlyMap<string, string | undefined> }, changed: ReadonlySet<string>): void {
    const expected = pairwiseConflicts(about);
    const outcome = this.#outcome();
    for (const { name } of about) {
      expect(outcome.get(name)).toBe(expected.get(name));
      if (before.get(name) !== outcome.get(name)) expect([...changed]).toContain(name);
    }
  }

  #outcome(): ReadonlyMap<string, string | undefined> {
    return new Map(['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'].map((name) => [name, this.#conflicts.winnerOver(name)]));
  }
}

describe('for every set of policies and every edit of it', () => {
  it('the decision that is kept up to date is the one that a comparison of all pairs gives, and names whose outcome changed', () => {
    fc.assert(fc.property(edits, (all) => {
      const rig = new Rig();
      for (const edit of all) rig.edit(edit);
      rig.end();
    }), { numRuns: 2_000 });
  });
});

describe('a thousand policies of sixteen caches', () => {
  const day = (n: number) => new Date(Date.UTC(2026, 0, 1) + n * 1_000).toISOString();
  const policy = (n: number, path: (cache: number) => string, but: Partial<Claim> & { home?: string | null } = {}): Claim => {
    const { home = null, ...rest } = but;
    return { name: `p${n}`, creationTimestamp: day(n), nodeSelector: {}, territories: Array.from({ length: 16 }, (_, i) => ({ root: path(i), home })), ...rest };
  };
  const deep = (n: number) => Array.from({ length: 250 }, (_, level) => (level < n ? 'a' : 'b')).join('/');

  it.each<[string, (n: number) => Claim]>([
    ['with paths of their own', (n) => policy(n, (i) => `/var/cache/p${n}/c${i}`)],
    ['all on the same paths', (n) => policy(n, (i) => `/var/cache/c${i}`)],
    ['all on the same paths of nodes of their own', (n) => policy(n, (i) => `/var/cache/c${i}`, { nodeSelector: { node: String(n) } })],
    ['of which each lies within the one before', (n) => policy(n, (i) => `/var/cache/${'a/'.repeat(n % 200)}c${i}`)],
    ['250 levels deep', (n) => policy(n, (i) => `/c${i}/${deep(n % 250)}`)],
    ['of which half hold the others', (n) => policy(n, (i) => (n < 500 ? `/var/cache/x/p${n}/c${i}` : `/var/cache/x/p${n - 500}`))],
    ['in the homes of each other', (n) => policy(n, (i) => `/var/cache/h${n}/d${i}/rootfs`, { home: `/var/cache/h${(n * 7) % 1_000}` })],
  ])('%s are decided as a comparison of all pairs does, and again after the oldest has gone and come back', (_, make) => {
    // All pairs of a thousand take 15 s: every fourth is enough to compare, and all of them are decided.
    const all = Array.from({ length: 1_000 }, (_each, n) => make(n));
    const some = all.filter((_each, n) => n % 25 === 0);
    for (const set of [some, all]) {
      const conflicts = new Conflicts();
      const outcome = () => Object.fromEntries(set.map(({ name }) => [name, conflicts.winnerOver(name)]));
      for (const claim of set) conflicts.set(claim);
      atOnce(conflicts.resolve());
      const first = outcome();
      if (set === some) expect(new Map(Object.entries(first).filter(([, winner]) => winner !== undefined))).toEqual(pairwiseConflicts(set));
      conflicts.delete('p0');
      atOnce(conflicts.resolve());
      if (set === some) expect(new Map(Object.entries(outcome()).filter(([, winner]) => winner !== undefined))).toEqual(pairwiseConflicts(set.slice(1)));
      conflicts.set(set[0]!);
      atOnce(conflicts.resolve());
      expect(outcome()).toEqual(first);
    }
  });
});
