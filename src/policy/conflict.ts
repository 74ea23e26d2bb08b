import { isDeepStrictEqual } from 'node:util';
import type { Territory } from '../api/paths.ts';
import { ClaimIndex, claimedPathsOf } from './claim-index.ts';
import type { ClaimedPaths } from './claim-index.ts';
import { lowerBound } from './lower-bound.ts';
import type { Steps } from './steps.ts';

/** What a policy lays claim to, from its spec alone. */
export interface Claim {
  readonly name: string;
  /** RFC 3339 as Kubernetes writes it, in whole seconds of UTC: older sorts first. */
  readonly creationTimestamp: string;
  readonly nodeSelector: Readonly<Record<string, string>>;
  readonly territories: readonly Territory[];
}

interface Ranked {
  readonly claim: Claim;
  readonly paths: ClaimedPaths;
  /** Sorts by age, then by name. */
  readonly rank: string;
  /** Who governs in its place: null where it governs itself, undefined before the first decision. */
  winner: Ranked | null | undefined;
}

/**
 * Which policies govern. Of policies that meet, the older wins whole (ties by name); a policy that has lost stands in no other's way. Two policies meet
 * where one directory could be under both on one node, or where one evicts what the other's runtime needs.
 *
 * The decision is kept up to date: an edit costs a lookup of the paths that it names, and one more for each policy whose outcome depends on it.
 */
export class Conflicts {
  /** Edits since the last `resolve`; undefined deletes. */
  #edits = new Map<string, Claim | undefined>();
  readonly #byName = new Map<string, Ranked>();
  /** By rank. */
  readonly #ranked: Ranked[] = [];
  readonly #claims = new ClaimIndex<Ranked>();
  readonly #governing = new ClaimIndex<Ranked>();
  readonly #undecided = new Set<Ranked>();

  /** Takes part from the next `resolve` on, in the place of an earlier claim of the same name. */
  set(claim: Claim): void {
    this.#edits.set(claim.name, claim);
  }

  delete(name: string): void {
    this.#edits.set(name, undefined);
  }

  /** The name of the policy that governs in the place of this one, as of the last `resolve`; undefined where none does. */
  winnerOver(name: string): string | undefined {
    return this.#byName.get(name)?.winner?.claim.name;
  }

  /**
   * Decides for all edits so far. Edits between two steps wait for the next call; one call must end before the next begins.
   * @returns the names of those whose outcome is another than before, or whose winner has another claim
   */
  *resolve(): Steps<ReadonlySet<string>> {
    const edits = this.#edits;
    this.#edits = new Map();
    for (const [name, claim] of edits) yield* this.#apply(name, claim);
    const changed = new Set<string>();
    // From the oldest on: a decision depends on older policies alone, so each is made once.
    for (const [i, one] of this.#ranked.entries()) {
      if (this.#undecided.size === 0) break;
      if (!this.#undecided.delete(one)) continue;
      const governed = one.winner === null;
      const winner = (yield* this.#oldestAgainst(one)) ?? null;
      if (winner !== one.winner) changed.add(one.claim.name);
      one.winner = winner;
      if (governed === (winner === null)) continue;
      if (governed) this.#governing.delete(one, one.paths);
      else this.#governing.add(one, one.paths);
      const allYoungerUndecided = this.#undecided.size === this.#ranked.length - i - 1;
      if (!allYoungerUndecided) yield* this.#doubtYounger(one);
    }
    return changed;
  }

  *#apply(name: string, claim: Claim | undefined): Steps<void> {
    const before = this.#byName.get(name);
    if (claim !== undefined && before !== undefined && isDeepStrictEqual(claim, before.claim)) return;
    if (before !== undefined) {
      this.#byName.delete(name);
      this.#undecided.delete(before);
      this.#ranked.splice(this.#placeOf(before.rank), 1);
      this.#claims.delete(before, before.paths);
      if (before.winner === null) {
        this.#governing.delete(before, before.paths);
        yield* this.#doubtYounger(before);
      }
    }
    if (claim === undefined) return;
    const now: Ranked = { claim, paths: claimedPathsOf(claim.territories), rank: `${claim.creationTimestamp}\0${name}`, winner: undefined };
    this.#byName.set(name, now);
    this.#ranked.splice(this.#placeOf(now.rank), 0, now);
    this.#claims.add(now, now.paths);
    this.#undecided.add(now);
    yield;
  }

  /** The oldest that governs, is older than this one, and meets it. */
  *#oldestAgainst(one: Ranked): Steps<Ranked | undefined> {
    let oldest: Ranked | undefined;
    for (const others of this.#governing.overlapping(one.paths)) {
      for (const other of others) {
        if (other.rank < (oldest ?? one).rank && mayShareNode(one, other)) oldest = other;
      }
      yield;
    }
    return oldest;
  }

  *#doubtYounger(one: Ranked): Steps<void> {
    for (const others of this.#claims.overlapping(one.paths)) {
      for (const other of others) {
        if (other.rank > one.rank && !this.#undecided.has(other) && mayShareNode(one, other)) this.#undecided.add(other);
      }
      yield;
    }
  }

  #placeOf(rank: string): number {
    return lowerBound(this.#ranked.length, (i) => (this.#ranked[i]?.rank ?? '') < rank);
  }
}

function mayShareNode({ claim: { nodeSelector: a } }: Ranked, { claim: { nodeSelector: b } }: Ranked): boolean {
  for (const label of Object.keys(a)) {
    if (Object.hasOwn(b, label) && b[label] !== a[label]) return false;
  }
  return true;
}
