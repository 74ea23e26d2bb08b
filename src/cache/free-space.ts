import { Slices } from '../disk/slices.ts';
import { OperatorError } from '../errors.ts';
import type { Filesystem } from '../policy/filesystem.ts';
import { isWithinCapacity, limitsFreeSpace, shortLimits } from '../policy/filesystem.ts';
import type { FreeSpaceShare, InodeStep } from '../policy/free-space.ts';
import { planFreeSpace } from '../policy/free-space.ts';
import type { Limits, UnreachableLimit } from '../policy/limits.ts';
import type { Plan, Tally } from '../policy/plan.ts';
import type { Tries } from '../policy/tries.ts';
import { afterTry, isInVain, noTries } from '../policy/tries.ts';
import type { Draft } from './draft.ts';
import { planUnused } from './holds/plan-unused.ts';
import type { Outlook } from './outlook.ts';

export type FilesystemView = Filesystem & { readonly device: string };

/** A cache that can be planned together with others. What it throws is reported by itself. */
export interface CacheOnFilesystem {
  readonly limits: Limits;
  filesystem(): FilesystemView;
  draft(options: { readonly signal?: AbortSignal | undefined }): Promise<Draft>;
  /** Bytes of what was evicted before, and that a purge will delete. */
  restingBytes(): Promise<number>;
}

/** A cache whose entries are evicted for free space. */
export interface FreeSpaceCache extends CacheOnFilesystem {
  /** Evicts what is planned, or as much of it as one pass takes out, and deletes it. @returns what was evicted */
  evict(planned: Outlook, signal?: AbortSignal): Promise<Tally>;
  /** Deletes what was evicted before, without a grace period. */
  purge(signal?: AbortSignal): Promise<void>;
}

/** The caches of one filesystem that ask for free space, and the filesystem as it was a moment ago. */
export interface FilesystemGroup<T extends CacheOnFilesystem> {
  readonly filesystem: FilesystemView;
  readonly caches: readonly T[];
}

/** Caches by the filesystem they lie on; those that ask for no free space, or cannot be opened, are left out. */
export function byFilesystem<T extends CacheOnFilesystem>(caches: readonly T[]): readonly FilesystemGroup<T>[] {
  const groups = new Map<string, FilesystemGroup<T>>();
  for (const cache of caches) {
    const filesystem = limitsFreeSpace(cache.limits) ? viewOf(cache) : undefined;
    if (filesystem === undefined) continue;
    groups.set(filesystem.device, { filesystem, caches: [...(groups.get(filesystem.device)?.caches ?? []), cache] });
  }
  return [...groups.values()];
}

/** Whether one of the caches wants more to be free. */
export function isShort({ filesystem, caches }: FilesystemGroup<CacheOnFilesystem>): boolean {
  return caches.some(({ limits }) => shortLimits(limits, filesystem).length > 0);
}

/** Whether the filesystem is large enough for something of what it is short of: else everything would be evicted in vain. */
function canHelp({ filesystem, caches }: FilesystemGroup<CacheOnFilesystem>): boolean {
  return caches.some(({ limits }) => shortLimits(limits, filesystem).some(isWithinCapacity));
}

/** Undefined where the cache cannot be opened. */
function viewOf(cache: CacheOnFilesystem): FilesystemView | undefined {
  try {
    return cache.filesystem();
  } catch (error) {
    if (!(error instanceof OperatorError)) throw error;
    return undefined;
  }
}

/** The filesystem as it is now; undefined where none of the caches can be opened. */
function groupNow<T extends CacheOnFilesystem>(caches: readonly T[]): FilesystemGroup<T> | undefined {
  const filesystem = caches.map(viewOf).find((view) => view !== undefined);
  return filesystem && { filesystem, caches };
}

/** What is planned for one cache. */
export interface PlannedShare extends Omit<FreeSpaceShare, 'plan'> {
  readonly outlook: Outlook;
}

/** Of the caches that could be read. */
export interface FilesystemPlan<T extends CacheOnFilesystem> {
  readonly shares: ReadonlyMap<T, PlannedShare>;
  readonly failed: ReadonlyMap<T, OperatorError>;
  /** When time alone lets another entry be evicted; null where it never does. */
  readonly nextFreeAtMs: number | null;
}

/** Plans the caches of one filesystem: each by its own limits, and by what its draft leaves, all together for free space. Reads only. */
export async function planTogether<T extends CacheOnFilesystem>({ filesystem, caches }: FilesystemGroup<T>, { before, signal }: { before?: InodeStep | undefined; signal?: AbortSignal | undefined } = {}): Promise<FilesystemPlan<T>> {
  using scope = new DisposableStack();
  const failed = new Map<T, OperatorError>();
  const drafted: { readonly cache: T; readonly draft: Draft; readonly trashBytes: number }[] = [];
  for (const cache of caches) {
    try {
      const draft = scope.use(await cache.draft({ signal }));
      // Where it is unknown, it might be all that is missing: nothing of the cache is evicted.
      drafted.push({ cache, draft, trashBytes: await cache.restingBytes() });
    } catch (error) {
      if (!(error instanceof OperatorError)) throw error;
      failed.set(cache, error);
    }
  }
  let shares: readonly FreeSpaceShare[] = [];
  const together = (plans: readonly Plan[]) => {
    shares = planFreeSpace(filesystem, plans.map((plan, i) => ({ limits: drafted[i]!.cache.limits, plan, trashBytes: drafted[i]!.trashBytes })), before);
    return shares.map(({ plan }) => plan);
  };
  const planned = await planUnused(drafted.map(({ draft }) => draft), new Slices(signal), together);
  const times = planned.map(({ plan }) => plan.nextFreeAtMs).filter((time) => time !== null);
  return {
    shares: new Map(drafted.map(({ cache, draft }, i) => [cache, { ...shares[i]!, outlook: draft.outlook(planned[i]!) }])),
    failed,
    nextFreeAtMs: times.length === 0 ? null : Math.min(...times),
  };
}

/**
 * Keeps one filesystem as free as its caches want it. What is planned are bytes as metadata says them, so the filesystem itself is asked
 * again after each round.
 */
export class SpaceKeeper<T extends FreeSpaceCache> {
  #tries: Tries = noTries;
  #inodeStep: InodeStep | undefined;
  #unmet: ReadonlyMap<T, readonly UnreachableLimit[]> = new Map();

  /** The limits of a cache that stay short whatever is evicted, as far as the last round could see. */
  unmetOf(cache: T): readonly UnreachableLimit[] {
    return this.#unmet.get(cache) ?? [];
  }

  /** False while another round would do no good. */
  isDue(nowMs: number): boolean {
    return nowMs >= this.#tries.nextAtMs;
  }

  /** Nothing was short in the last round. */
  get isAtRest(): boolean {
    return this.#tries === noTries && this.#unmet.size === 0;
  }

  /** Round after round, as long as they gain something. @param now the wall clock, ms */
  async run(caches: readonly T[], now: () => number, signal?: AbortSignal): Promise<void> {
    while (await this.round(caches, now, signal)) if (!this.isDue(now())) return;
  }

  /**
   * One round: delete what rests in the trash, plan, evict, delete that, and ask the filesystem what came of it.
   * @param now the wall clock, ms
   * @returns whether anything was short
   */
  async round(caches: readonly T[], now: () => number, signal?: AbortSignal): Promise<boolean> {
    const before = groupNow(caches);
    if (before === undefined || !canHelp(before)) return this.#rest(before);
    for (const cache of caches) await unlessFailing(() => cache.purge(signal));
    const group = groupNow(caches);
    if (group === undefined || !isShort(group)) return this.#rest(group);
    const { shares, nextFreeAtMs } = await planTogether(group, { before: this.#inodeStep, signal });
    signal?.throwIfAborted();
    const { gain, after } = await this.#evict(group, shares, signal);
    this.#tries = afterTry(this.#tries, { gain, nowMs: now(), expiresAtMs: nextFreeAtMs });
    this.#unmet = unmetIn(after, (each, cache) => {
      if (!shares.has(cache)) return [];
      if (!isWithinCapacity(each) || shares.get(cache)?.unmet.some(({ limit }) => limit === each.limit)) return [each];
      // After tries in vain all that is short counts as out of reach.
      return isInVain(this.#tries) ? [{ ...each, because: 'NotReclaimable' }] : [];
    });
    return true;
  }

  /** Nothing is to be done; what is beyond the capacity is short all the same. */
  #rest(group: FilesystemGroup<T> | undefined): false {
    this.#tries = noTries;
    this.#inodeStep = undefined;
    this.#unmet = group === undefined ? new Map() : unmetIn(group, (each) => (isWithinCapacity(each) ? [] : [each]));
    return false;
  }

  /** @returns what was gained, as a part of what was planned and evicted; undefined where nothing could be planned */
  async #evict(group: FilesystemGroup<T>, shares: ReadonlyMap<T, PlannedShare>, signal: AbortSignal | undefined): Promise<{ readonly gain: number | undefined; readonly after: FilesystemGroup<T> }> {
    const planned = (of: (share: PlannedShare) => number) => [...shares.values()].reduce((sum, share) => sum + of(share), 0);
    const [forBytes, forInodes] = [planned((share) => share.forBytes), planned((share) => share.forInodes)];
    if (forBytes === 0 && forInodes === 0) return { gain: undefined, after: group };
    let [goneEntries, goneBytes] = [0, 0];
    for (const [cache, share] of shares) {
      if (share.forBytes === 0 && share.forInodes === 0) continue;
      const { entries, bytes } = (await unlessFailing(() => cache.evict(share.outlook, signal))) ?? { entries: 0, bytes: 0 };
      goneEntries += entries;
      goneBytes += bytes;
      signal?.throwIfAborted();
    }
    const after = groupNow(group.caches);
    if (after === undefined || goneEntries === 0) return { gain: 0, after: after ?? group };
    const gainedInodes = (after.filesystem.inodesFree ?? 0) - (group.filesystem.inodesFree ?? 0);
    // Of a plan for 100,000 entries one pass takes out a small part, and the next goes on.
    const bytes = forBytes === 0 ? 0 : (after.filesystem.availableBytes - group.filesystem.availableBytes) / Math.max(1, goneBytes);
    const inodes = forInodes === 0 ? 0 : gainedInodes / (goneEntries * (this.#inodeStep?.perEntry ?? 1));
    if (forInodes > 0) this.#inodeStep = { perEntry: Math.max(1, gainedInodes / goneEntries), entries: goneEntries };
    return { gain: Math.max(bytes, inodes), after };
  }
}

/** Of the limits that are short now those that stay so, as `stays` decides it. */
function unmetIn<T extends CacheOnFilesystem>({ filesystem, caches }: FilesystemGroup<T>, stays: (short: UnreachableLimit, cache: T) => readonly UnreachableLimit[]): ReadonlyMap<T, readonly UnreachableLimit[]> {
  return new Map(caches.flatMap((cache) => {
    const unmet = shortLimits(cache.limits, filesystem).flatMap((each) => stays(each, cache));
    return unmet.length === 0 ? [] : [[cache, unmet] as const];
  }));
}

async function unlessFailing<R>(act: () => Promise<R>): Promise<R | undefined> {
  try {
    return await act();
  } catch (error) {
    if (!(error instanceof OperatorError)) throw error;
    return undefined;
  }
}
