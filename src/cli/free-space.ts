import type { FilesystemView, Tenant } from '../cache/free-space.ts';
import { byFilesystem, shortageOf } from '../cache/free-space.ts';
import type { Outlook } from '../cache/outlook.ts';
import { Cache } from '../cache/pass.ts';
import type { Demand } from '../policy/free-space.ts';
import type { Limits } from '../policy/limits.ts';
import type { Tally } from '../policy/plan.ts';
import type { CacheSettings } from './passes.ts';
import type { Target } from './targets.ts';

/** What free space wants of each cache, as it would be enforced now. Reads only. */
export async function demandsOn(targets: readonly Target[], settings: CacheSettings): Promise<ReadonlyMap<Target, Demand>> {
  using scope = new DisposableStack();
  const onlookers = targets.map((target) => new Onlooker(target, scope.use(new Cache(target.cache, settings))));
  const demands = new Map<Target, Demand>();
  for (const { tenants: together } of byFilesystem(onlookers)) {
    const shortage = await shortageOf(together, Date.now());
    for (const [{ target }, demand] of shortage?.demands ?? []) demands.set(target, demand);
  }
  return demands;
}

/** A cache that is looked at. */
class Onlooker implements Tenant {
  readonly target: Target;
  readonly #cache: Cache;

  constructor(target: Target, cache: Cache) {
    this.target = target;
    this.#cache = cache;
  }

  get limits(): Limits {
    return this.target.cache.limits;
  }

  filesystem(): FilesystemView {
    return this.#cache.filesystem();
  }

  outlook(): Promise<Outlook> {
    return this.#cache.plan();
  }

  restingBytes(): Promise<number> {
    return this.#cache.restingBytes();
  }

  free(_demand: Demand): Promise<Tally> {
    return Promise.resolve({ entries: 0, bytes: 0 });
  }

  purge(): Promise<void> {
    return Promise.resolve();
  }
}
