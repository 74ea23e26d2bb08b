import type { A3sStore } from '../api/paths.ts';
import { territoryOf } from '../api/paths.ts';
import { formatOf } from '../policy/compile.ts';
import type { CompiledCache } from '../policy/compiled.ts';
import { InputError } from './exit.ts';
import { openTargets, problemOfPath } from './targets.ts';
import { noLimits, noProtection } from '../policy/limits.ts';

export interface EntryOptions {
  readonly file?: readonly string[];
  readonly cache?: string;
  readonly home?: string;
  readonly store?: 'rootfs' | 'layers';
  readonly cacheDir?: string;
  readonly allowedRoot: readonly string[];
}

/** The one cache that an `entry` command means: named directly, or one of a policy's. @throws InputError */
export async function entryTarget(options: EntryOptions): Promise<CompiledCache> {
  const { file, home, store, cacheDir } = options;
  if (file !== undefined) return await fromPolicies({ ...options, file });
  if (home !== undefined && store !== undefined) return named({ home, store: store === 'rootfs' ? 'Rootfs' : 'Layers', ...(cacheDir !== undefined && { cacheDir }) }, options.allowedRoot);
  throw new InputError(['entry: name the cache with -f FILE (and --cache NAME), or with --home DIR and --store rootfs or layers']);
}

async function fromPolicies({ file, cache, allowedRoot }: EntryOptions & { file: readonly string[] }): Promise<CompiledCache> {
  const caches = (await openTargets({ file, allowedRoot })).targets.map((target) => target.cache);
  const matching = cache === undefined ? caches : caches.filter(({ name }) => name === cache);
  const [only, ...more] = matching;
  const names = [...new Set(caches.map(({ name }) => name))].join(', ');
  if (only === undefined) throw new InputError([`--cache: there is no cache "${cache ?? ''}"; there are ${names}`]);
  if (more.length > 0) throw new InputError([`--cache: say which of ${names} is meant${cache === undefined ? '' : '; several policies have one of that name'}`]);
  return only;
}

function named(store: A3sStore, allowedRoots: readonly string[]): CompiledCache {
  const territory = territoryOf(store);
  const problem = problemOfPath({ root: territory.root, format: formatOf(store.store) }, allowedRoots);
  if (problem !== undefined) throw new InputError([`--${store.cacheDir === undefined ? 'home' : 'cache-dir'}: ${problem}`]);
  return { name: store.store.toLowerCase(), format: formatOf(store.store), ...territory, limits: noLimits, protect: noProtection };
}
