import { setTimeout as sleep } from 'node:timers/promises';
import type { FilesystemGroup } from '../cache/free-space.ts';
import { byFilesystem, isShort, planTogether, SpaceKeeper } from '../cache/free-space.ts';
import type { Log } from '../observe/log.ts';
import { isWithinCapacity, limitsFreeSpace } from '../policy/filesystem.ts';
import { beyondCapacityText } from '../policy/node-report.ts';
import type { CacheWorker } from './cache-worker.ts';
import { noFindings } from './look.ts';

/** How often the filesystems are asked how much is free; one statfs each. */
const defaultEveryMs = 5_000;

/** Where nothing may be evicted it is enough to plan once a minute what would be. */
const planAgainMs = 60_000;

export interface FreeSpaceWatchOptions {
  readonly log: Log;
  readonly everyMs?: number | undefined;
}

/** Sees to it that the filesystems of a policy's caches have the space left that the policy wants: one keeper each, acting at once. */
export class FreeSpaceWatch {
  readonly #workers: readonly CacheWorker[];
  readonly #options: FreeSpaceWatchOptions;
  readonly #keepers = new Map<string, SpaceKeeper<CacheWorker>>();
  /** The filesystems that a tick works on. */
  readonly #underway = new Set<string>();
  /** By filesystem, where nothing may be evicted. */
  readonly #nextPlansAtMs = new Map<string, number>();

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
    const ticks = new Set<Promise<void>>();
    const broken = new AbortController();
    const until = AbortSignal.any([signal, broken.signal]);
    while (!until.aborted && this.#workers.length > 0) {
      const tick: Promise<void> = this.tick(signal, onChange).then(() => void ticks.delete(tick));
      tick.catch(() => broken.abort());
      ticks.add(tick);
      // No race with a promise that stands as long as the agent does: each would leave its memory there.
      await sleep(everyMs, undefined, { signal: until }).catch(() => undefined);
    }
    await Promise.all(ticks);
  }

  /** Each filesystem once, but for those that an earlier tick still works on. @returns true where the state of a worker may have changed */
  async tick(signal: AbortSignal, onChange: () => void = () => undefined): Promise<boolean> {
    const changes = await Promise.all(this.#groups().map(async (group) => {
      const { device } = group.filesystem;
      if (this.#underway.has(device)) return false;
      this.#underway.add(device);
      try {
        const hasChanged = await this.#attend(group, signal);
        if (hasChanged) onChange();
        return hasChanged;
      } finally {
        this.#underway.delete(device);
      }
    }));
    return changes.includes(true);
  }

  #groups(): readonly FilesystemGroup<CacheWorker>[] {
    // A worker that has not looked yet has not read what was enforced before it.
    return byFilesystem(this.#workers.filter((worker) => worker.hasLooked));
  }

  async #attend(group: FilesystemGroup<CacheWorker>, signal: AbortSignal): Promise<boolean> {
    const enforced = group.caches.filter((worker) => worker.isEnforced);
    return enforced.length > 0 ? await this.#keep({ ...group, caches: enforced }, signal) : await this.#plan(group, signal);
  }

  async #keep(group: FilesystemGroup<CacheWorker>, signal: AbortSignal): Promise<boolean> {
    const { filesystem: { device }, caches: workers } = group;
    const keeper = this.#keepers.get(device) ?? new SpaceKeeper<CacheWorker>();
    this.#keepers.set(device, keeper);
    const isDue = isShort(group) ? keeper.isDue(Date.now()) : !keeper.isAtRest;
    // Also then, for what was reported before this keeper began: while nothing might be evicted yet, or by the keeper of another filesystem.
    if (!isDue) return this.#reportAll(workers, keeper);
    let wasShort: boolean;
    try {
      wasShort = await keeper.round(workers, Date.now, signal);
    } catch (error) {
      if (signal.aborted) return false;
      throw error;
    }
    return this.#reportAll(workers, keeper) || wasShort;
  }

  #reportAll(workers: readonly CacheWorker[], keeper: SpaceKeeper<CacheWorker>): boolean {
    return workers.map((worker) => this.#report(worker, keeper)).includes(true);
  }

  /** Logged once: what stays short is in the status as long as it does. @returns whether it is news */
  #report(worker: CacheWorker, keeper: SpaceKeeper<CacheWorker>): boolean {
    const unmet = keeper.unmetOf(worker);
    if (!worker.reportFreeSpace({ ...noFindings, unmet })) return false;
    const { log } = this.#options;
    if (unmet.length === 0) log.info({ cache: worker.name }, 'the filesystem can be kept within its limits again');
    for (const each of unmet) log.warn({ cache: worker.name, limit: each.limit, wanted: each.allowed, free: each.remaining }, isWithinCapacity(each) ? 'nothing more may go, and the filesystem has less free than it has to' : beyondCapacityText(each));
    return true;
  }

  /** What would be evicted, where nothing may be. */
  async #plan(group: FilesystemGroup<CacheWorker>, signal: AbortSignal): Promise<boolean> {
    const { filesystem: { device }, caches: workers } = group;
    if (!isShort(group)) {
      this.#nextPlansAtMs.delete(device);
      return workers.map((worker) => worker.reportFreeSpace(noFindings)).includes(true);
    }
    if (Date.now() < (this.#nextPlansAtMs.get(device) ?? 0)) return false;
    this.#nextPlansAtMs.set(device, Date.now() + planAgainMs);
    try {
      const { shares } = await planTogether(group, { signal });
      return workers.map((worker) => worker.reportFreeSpace(shares.get(worker) ?? noFindings)).includes(true);
    } catch (error) {
      if (signal.aborted) return false;
      throw error;
    }
  }
}
