import { OperatorError } from '../errors.ts';
import type { A3sStore, Territory } from './paths.ts';
import { territoryOf } from './paths.ts';

/** What a cache of a policy governs; the schema lets exactly one of the two through. */
export interface CacheSource {
  readonly a3sBox?: A3sStore;
  readonly directory?: { readonly path: string };
}

export interface CachePlace extends Territory {
  /** Every path that the policy names for it, by its field below the cache: each has to be allowed. */
  readonly paths: Readonly<Record<string, string>>;
  /** The field that decides where the root is. */
  readonly rootField: readonly [string, string];
}

/** Where a cache of a policy lies, and which fields say so. @throws ERR_BUG where it names none or both, which the schema refuses */
export function placeOf({ a3sBox, directory }: CacheSource): CachePlace {
  if ((a3sBox === undefined) === (directory === undefined)) throw new OperatorError('ERR_BUG', 'a cache names not exactly one of a3sBox and directory');
  if (directory !== undefined) {
    return { root: directory.path, home: null, paths: { 'directory.path': directory.path }, rootField: ['directory', 'path'] };
  }
  const store = a3sBox as A3sStore;
  const { home, cacheDir } = store;
  return {
    ...territoryOf(store),
    paths: { 'a3sBox.home': home, ...(cacheDir !== undefined && { 'a3sBox.cacheDir': cacheDir }) },
    rootField: ['a3sBox', cacheDir === undefined ? 'home' : 'cacheDir'],
  };
}
