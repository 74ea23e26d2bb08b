import type { Territory } from '../api/paths.ts';
import { lowerBound } from './lower-bound.ts';

/** The paths of several territories, each once. */
export interface ClaimedPaths {
  readonly roots: ReadonlySet<string>;
  /** Those of `roots` that belong to no runtime. */
  readonly strays: ReadonlySet<string>;
  readonly homes: ReadonlySet<string>;
}

export function claimedPathsOf(territories: readonly Territory[]): ClaimedPaths {
  return {
    roots: new Set(territories.map(({ root }) => root)),
    strays: new Set(territories.filter(({ home }) => home === null).map(({ root }) => root)),
    homes: new Set(territories.map(({ home }) => home).filter((home) => home !== null)),
  };
}

/** Who claims which paths, found by path. */
export class ClaimIndex<T> {
  readonly #roots = new PathIndex<T>();
  readonly #strays = new PathIndex<T>();
  readonly #homes = new PathIndex<T>();

  add(claimant: T, { roots, strays, homes }: ClaimedPaths): void {
    for (const path of roots) this.#roots.add(path, claimant);
    for (const path of strays) this.#strays.add(path, claimant);
    for (const path of homes) this.#homes.add(path, claimant);
  }

  delete(claimant: T, { roots, strays, homes }: ClaimedPaths): void {
    for (const path of roots) this.#roots.delete(path, claimant);
    for (const path of strays) this.#strays.delete(path, claimant);
    for (const path of homes) this.#homes.delete(path, claimant);
  }

  /**
   * All with a territory that overlaps one of these, in the sense of `overlap` in api/paths.ts; one claimant may come several times, and be the asking one itself.
   * Empty sets mark the time that it takes to find none.
   */
  *overlapping({ roots, strays, homes }: ClaimedPaths): Generator<ReadonlySet<T>, void, void> {
    for (const root of roots) {
      yield* this.#roots.atOrAbove(root);
      yield* this.#roots.below(root);
      yield* this.#homes.atOrBelow(root);
      yield none;
    }
    for (const stray of strays) {
      yield* this.#homes.atOrAbove(stray);
      yield none;
    }
    for (const home of homes) {
      yield* this.#roots.atOrAbove(home);
      yield* this.#strays.atOrBelow(home);
      yield none;
    }
  }
}

const none: ReadonlySet<never> = new Set<never>();

/**
 * Claimants by path, in order of the paths: what lies below a path is one run, and its ancestors are found from its neighbour. A tree of components would
 * cost a node for each of up to 256 levels of a path.
 */
class PathIndex<T> {
  readonly #claimants = new Map<string, Set<T>>();
  /** The keys of `#claimants`. */
  readonly #sorted: string[] = [];

  add(path: string, claimant: T): void {
    const known = this.#claimants.get(path);
    if (known !== undefined) return void known.add(claimant);
    this.#claimants.set(path, new Set([claimant]));
    this.#sorted.splice(this.#placeOf(path), 0, path);
  }

  delete(path: string, claimant: T): void {
    const known = this.#claimants.get(path);
    if (known?.delete(claimant) !== true || known.size > 0) return;
    this.#claimants.delete(path);
    this.#sorted.splice(this.#placeOf(path), 1);
  }

  /** Every ancestor sorts before the path, and is a prefix of all between the two: so it is one of what the path has in common with its neighbour. */
  *atOrAbove(path: string): Generator<ReadonlySet<T>, void, void> {
    for (let rest = path; rest !== '';) {
      const claimants = this.#claimants.get(rest);
      if (claimants !== undefined) yield claimants;
      const neighbour = this.#sorted[this.#placeOf(rest) - 1];
      rest = neighbour === undefined ? '' : rest.slice(0, rest.lastIndexOf('/', commonLength(rest, neighbour)));
    }
  }

  *atOrBelow(path: string): Generator<ReadonlySet<T>, void, void> {
    const claimants = this.#claimants.get(path);
    if (claimants !== undefined) yield claimants;
    yield* this.below(path);
  }

  *below(path: string): Generator<ReadonlySet<T>, void, void> {
    const prefix = `${path}/`;
    for (let i = this.#placeOf(prefix); this.#sorted[i]?.startsWith(prefix) === true; i++) {
      const claimants = this.#claimants.get(this.#sorted[i] ?? '');
      if (claimants !== undefined) yield claimants;
    }
  }

  #placeOf(path: string): number {
    return lowerBound(this.#sorted.length, (i) => (this.#sorted[i] ?? '') < path);
  }
}

/** How many characters two texts begin with in common. */
function commonLength(a: string, b: string): number {
  const most = Math.min(a.length, b.length);
  let length = 0;
  while (length < most && a.charCodeAt(length) === b.charCodeAt(length)) length += 1;
  return length;
}
