import { setTimeout as sleep } from 'node:timers/promises';
import type { Household } from '../cache/free-space.ts';
import { byFilesystem, isShort, shortageOf, SpaceKeeper } from '../cache/free-space.ts';
import type { Log } from '../observe/log.ts';
import { isWithinCapacity, limitsFreeSpace } from '../policy/free-space.ts';
import { beyondCapacityText } from '../policy/node-report.ts';
import type { CacheWorker } from './cache-worker.ts';

/** How often the filesystems are asked how much is free; one statfs each. */
const defaultEveryMs = 5_000;

/** Where nothing may be evicted it is enough to say once a minute what would be. */
const lookAgainMs = 60_000;

export interface FreeSpaceWatchOptions {
  readonly log: Log;
  readonly everyMs?: number | undefined;
}

/** Sees to it that the filesystems of a policy's caches have the space left that the policy wants: one keeper each, acting at once. */
export class FreeSpaceWatch {
  readonly #workers: readonly CacheWorker[];
  readonly #options: FreeSpaceWatchOptions;
  readonly #keepers = new Map<string, SpaceKeeper<CacheWorker>>();
  /** By filesystem, where nothing may be evicted. */
  readonly #nextLooksAtMs = new Map<string, number>();

  constructor(workers: readonly CacheWorker[], options: FreeSpaceWatchOptions) {
    this.#workers = workers.filter(({ limits }) => limitsFreeSpace(limits));
    this.#options = options;
  }

  /**
   * Works until the signal comes; returns at once where no cache wants free space. No filesystem waits for another: one may take minutes to
   * delete what fills it.
   * @param onChange called after everything that may have changed a worker's state
   */
  async run(signal: AbortSignal, onChange: () => void): Promise<void> {
    const { everyMs = defaultEveryMs } = this.#options;
    const underway = new Map<string, Promise<void>>();
    const broken = new AbortController();
    const until = AbortSignal.any([signal, broken.signal]);
    while (!until.aborted && this.#workers.length > 0) {
      for (const household of this.#households()) {
        const { device } = household.filesystem;
        if (underway.has(device)) continue;
        const attending = this.#attend(household, signal).then((changed) => {
          underway.delete(device);
          if (changed) onChange();
        });
        attending.catch(() => broken.abort());
        underway.set(device, attending);
      }
      // No race with a promise that stands as long as the agent does: each would leave its memory there.
      await sleep(everyMs, undefined, { signal: until }).catch(() => undefined);
    }
    await Promise.all(underway.values());
  }

  /** Each filesystem once. @returns true where the state of a worker may have changed */
  async tick(signal: AbortSignal): Promise<boolean> {
    const changes = await Promise.all(this.#households().map((household) => this.#attend(household, signal)));
    return changes.includes(true);
  }

  #households(): readonly Household<CacheWorker>[] {
    // A worker that has not looked yet has not read what was enforced before it.
    return byFilesystem(this.#workers.filter((worker) => worker.hasLooked));
  }

  async #attend(household: Household<CacheWorker>, signal: AbortSignal): Promise<boolean> {
    const enforced = household.tenants.filter((worker) => worker.isEnforced);
    return enforced.length > 0 ? await this.#keep({ ...household, tenants: enforced }, signal) : await this.#look(household);
  }

  async #keep(household: Household<CacheWorker>, signal: AbortSignal): Promise<boolean> {
    const { filesystem: { device }, tenants: workers } = household;
    const keeper = this.#keepers.get(device) ?? new SpaceKeeper<CacheWorker>();
    this.#keepers.set(device, keeper);
    const isDue = isShort(household) ? keeper.isDue(Date.now()) : !keeper.isAtRest;
    // Also then, for what was told before this keeper looked: while nothing might be evicted yet, or by the keeper of another filesystem.
    if (!isDue) return this.#tellAll(workers, keeper);
    let wasShort: boolean;
    try {
      wasShort = await keeper.round(workers, Date.now, signal);
    } catch (error) {
      if (signal.aborted) return false;
      throw error;
    }
    return this.#tellAll(workers, keeper) || wasShort;
  }

  #tellAll(workers: readonly CacheWorker[], keeper: SpaceKeeper<CacheWorker>): boolean {
    return workers.map((worker) => this.#tell(worker, keeper)).includes(true);
  }

  /** Said once: what stays short stands in the status as long as it does. @returns whether it is news */
  #tell(worker: CacheWorker, keeper: SpaceKeeper<CacheWorker>): boolean {
    const standing = keeper.unmetOf(worker);
    if (!worker.expectDemand(standing)) return false;
    const { log } = this.#options;
    if (standing === undefined) log.info({ cache: worker.name }, 'the filesystem can be kept within its limits again');
    for (const each of standing?.unmet ?? []) log.warn({ cache: worker.name, limit: each.limit, wanted: each.allowed, free: each.remaining }, isWithinCapacity(each) ? 'nothing more may go, and the filesystem has less free than it has to' : beyondCapacityText(each));
    return true;
  }

  /** What would go, where nothing may. */
  async #look(household: Household<CacheWorker>): Promise<boolean> {
    const { device } = household.filesystem;
    if (!isShort(household)) this.#nextLooksAtMs.delete(device);
    else if (Date.now() < (this.#nextLooksAtMs.get(device) ?? 0)) return false;
    else this.#nextLooksAtMs.set(device, Date.now() + lookAgainMs);
    const shortage = isShort(household) ? await shortageOf(household.tenants, Date.now()) : undefined;
    return household.tenants.map((worker) => worker.expectDemand(shortage?.demands.get(worker))).includes(true);
  }
}
