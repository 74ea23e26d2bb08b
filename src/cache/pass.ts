import type { Dir } from '../disk/dir.ts';
import { filesystemOf, identityOf } from '../disk/pinned-root.ts';
import { Slices } from '../disk/slices.ts';
import { OperatorError } from '../errors.ts';
import type { CompiledCache } from '../policy/compiled.ts';
import type { Filesystem } from '../policy/filesystem.ts';
import type { Limits } from '../policy/limits.ts';
import type { EntryName, Snapshot } from '../policy/snapshot.ts';
import { evictedOf, outcomeOf, plannedVictims } from './aftermath.ts';
import { Backoff } from './backoff.ts';
import { Backlog } from './backlog.ts';
import { CacheIndex, savedScan } from './cache-index.ts';
import { ClockWatch } from './clock-watch.ts';
import { CacheDraft, planAlone } from './draft.ts';
import { evict } from './evict.ts';
import { EvictionMemory } from './eviction-memory.ts';
import { enforceOnAnyDisk } from './full-disk.ts';
import type { Format } from './formats/format.ts';
import { openFormat } from './formats/registry.ts';
import type { Holders } from './holds/holders.ts';
import { holdersOf } from './holds/holders.ts';
import { tellEvicted, writeBacklog } from './journal.ts';
import { abandonedDirectories, removeLeftovers } from './leftovers.ts';
import { hasMetadata } from './metadata-file.ts';
import { openCacheRoot } from './cache-root.ts';
import { takeOver } from './old-places.ts';
import type { OwnDirs } from './own-folder.ts';
import { findTrash, lockPasses, openLocked, waitForLocked } from './own-folder.ts';
import { findOwn } from './own-search.ts';
import type { Outlook, PassOutcome } from './outlook.ts';
import type { CacheOptions, PassOptions, PlanOptions, PurgeOptions, WorkOptions } from './pass-options.ts';
import { freeSpaceOnly, lookedAt } from './outlook.ts';
import type { Rest } from './purge.ts';
import { defaultRestMs, doomItems, purgeDueAtMs, purgeInTurns, restingBytes } from './purge.ts';
import { KnownRoot } from './known-root.ts';
import { recover } from './recover.ts';
import { Reserve } from './reserve.ts';
import { removeEntry } from './remove-entry.ts';
import type { PassReport, PurgeReport } from './report.ts';
import type { Ground, Site } from './site.ts';
import { systemClock } from './site.ts';
import { ExchangeProof } from './trash.ts';
import { saveUses, withUsesSeen, writeUses } from './uses.ts';

export const defaultSettleMs = 2_000;
const defaultLeftoverAgeMs = 86_400_000;

/**
 * One cache of a policy, for as long as its spec stands. Nothing but a watch of the root is open between two calls, and that only where
 * `remembers` is set; what is kept is which directory the last pass worked in, and what could not be evicted or deleted.
 *
 * Every method throws OperatorError where the whole cache fails: ERR_PATH_NOT_ALLOWED, ERR_ROOT_*, ERR_LOCK_BUSY, ERR_DISK_*.
 * What fails for single entries is reported, and the rest goes on.
 */
export class Cache implements Disposable {
  readonly #spec: CompiledCache;
  readonly #options: Required<Omit<CacheOptions, 'fault' | 'room' | 'onMeasured'>> & Pick<CacheOptions, 'fault' | 'room' | 'onMeasured'>;
  readonly #format: Format;
  readonly #clockWatch: ClockWatch;
  readonly #backoff = new Backoff();
  readonly #evictions = new EvictionMemory();
  readonly #knownRoot = new KnownRoot();
  /** What is remembered between two scans; undefined where nothing is. */
  readonly index: CacheIndex | undefined;
  readonly #exchange = new ExchangeProof();
  readonly #reserve = new Reserve();
  readonly #backlog = new Backlog();

  constructor(spec: CompiledCache, options: CacheOptions) {
    this.#spec = spec;
    this.#options = { settleMs: defaultSettleMs, restMs: defaultRestMs, leftoverAgeMs: defaultLeftoverAgeMs, mostAtOnce: Infinity, clock: systemClock, remembers: false, ...options };
    this.#format = openFormat(spec.format, { inTurns: this.#options.remembers });
    this.#clockWatch = new ClockWatch(this.#options.clock, { ...options, root: spec.root, format: spec.format });
    // A plain format remembers by itself, and not only until its root changes.
    this.index = this.#options.remembers && this.#format.kind === 'Store' ? new CacheIndex(this.#format, this.#options.clock) : undefined;
  }

  /** Forgets the directory that was worked in. */
  [Symbol.dispose](): void {
    this.#knownRoot.forget();
    this.index?.[Symbol.dispose]();
  }

  /** Saves what is remembered, for the next one that starts here. @throws ERR_ROOT_*, ERR_LOCK_BUSY, ERR_DISK_*; then what was saved before stands */
  async save(options?: { least: number }): Promise<void> {
    const { allowedRoots, fault } = this.#options;
    // Without relief: the reserve of a full disk is there for what frees space.
    using root = openCacheRoot(this.#spec.root, this.#format, { allowedRoots, fault });
    this.#refuseOther(root, { isPass: false });
    using ours = openLocked(this.#placeOf(root));
    if (this.index?.isWorthSaving(options) === true) await this.index.save({ root, own: ours.own }, new Slices());
    writeUses(this.#format, ours.own, this.#options.clock.now());
    this.#clockWatch.save();
  }

  /** Whether anything is known by now that the next start would have to learn anew. */
  isWorthSaving(options?: { least: number }): boolean {
    return this.#format.kind === 'Plain' || this.index?.isWorthSaving(options) === true || this.#clockWatch.isSaveDue;
  }

  /** What lies there now. Reads only: takes no lock, writes nothing. */
  async scan(signal?: AbortSignal): Promise<Snapshot> {
    using root = this.#openRoot();
    const snapshot = await this.#scan(root, { signal, stamped: true });
    this.index?.lend();
    return snapshot;
  }

  /** What a pass would do now. Reads only, too. */
  async plan(options: Partial<PlanOptions> = {}): Promise<Outlook> {
    using draft = await this.draft(options);
    return await planAlone(draft, options.signal);
  }

  /** What a plan is made of, for the caches of one filesystem that are planned together. Reads only. To be disposed. */
  async draft(options: Partial<PlanOptions> = {}): Promise<CacheDraft> {
    using scope = new DisposableStack();
    const root = scope.use(this.#openRoot());
    const draft = await this.#draft(root, this.#holdersAt(root), { trigger: 'Manual', ...options });
    this.index?.lend();
    scope.move();
    return draft;
  }

  get limits(): Limits {
    return this.#spec.limits;
  }

  /** Bytes of what was evicted before, and that a purge will give because nobody wants it. Reads only. */
  async restingBytes(): Promise<number> {
    using root = this.#openRoot();
    using found = findTrash(this.#placeOf(root));
    return found === undefined ? 0 : await restingBytes(this.#siteAt(root, found, {}));
  }

  /** The filesystem as it is now. Reads only. */
  filesystem(): Filesystem & { readonly device: string } {
    using root = this.#openRoot();
    return { ...filesystemOf(root), device: String(identityOf(root).device) };
  }

  /**
   * Applies the limits: recover, scan, plan, evict, remove leftovers. Where something is evicted that takes two settles. What was
   * evicted rests in the trash then, for `purge` to delete once `purgeDueAtMs` has come. Without Enforce it ends with the plan.
   *
   * Aborting brings back what has not left yet; before anything has begun to leave it rejects with the signal's reason.
   */
  async pass({ mode, planned, ...work }: PassOptions): Promise<PassReport> {
    const startedAtMs = this.#options.clock.now();
    using root = this.#openRoot();
    this.#refuseOther(root, { isPass: true });
    const outcome = mode === 'Enforce' ? await this.#enforceOnAnyDisk(root, work, planned) : lookedAt(planned ?? (await planAlone(await this.#draft(root, this.#holdersAt(root), work), work.signal)));
    this.#knownRoot.sawEntries(outcome.before.entries.length);
    return {
      cacheName: this.#spec.name, root: this.#spec.root, trigger: work.trigger, mode, startedAtMs, finishedAtMs: this.#options.clock.now(),
      filesystem: filesystemOf(root), clockDoubt: this.#clockWatch.whyDoubted, ...outcome,
    };
  }

  /**
   * Deletes what has rested long enough, after one more look at what is in use. Off every lock as soon as that is decided, so that
   * passes may run meanwhile.
   */
  async purge({ now = false, ...work }: PurgeOptions = {}): Promise<PurgeReport> {
    using root = this.#openRoot();
    this.#refuseOther(root, { isPass: false });
    using found = findTrash(this.#placeOf(root));
    if (found === undefined) return { purgedEntries: 0, purgedBytes: 0, revived: 0, revivedNames: [], nextDueAtMs: null, errors: [] };
    const site = this.#siteAt(root, found, work);
    const rest = { ...this.#rest, isShort: now || this.#rest.isShort };
    const report = await purgeInTurns(site, () => this.#doom(site, rest), { ...this.#rest, backoff: this.#backoff });
    // Before the reserve, which takes all that there is.
    writeBacklog(site, () => lockPasses(site.own, root));
    if (this.#reserve.isShort) await this.#reserve.fill(site);
    if (report.purgedEntries > 0 && this.#format.kind === 'Plain') this.#format.sawPurge();
    return report;
  }

  /**
   * Takes one entry out because somebody asks for it. @returns false where there is none
   * @param options force: also an entry that is pinned, or in use; whoever uses it may fail
   * @throws ERR_ENTRY_NAME, ERR_ENTRY_PINNED, ERR_ENTRY_IN_USE, ERR_ENTRY_DAMAGED, ERR_LOCK_BUSY
   */
  async remove(key: string, { force }: { force: boolean }): Promise<boolean> {
    const name = this.#format.nameOf(key);
    if (name === undefined) throw new OperatorError('ERR_ENTRY_NAME', `${JSON.stringify(key)} is no key of ${this.#format.name}`);
    using root = this.#openRoot();
    if (root.statOf(name) === undefined && !hasMetadata(root, this.#format, name)) return false;
    using ours = await waitForLocked(this.#placeOf(root));
    return await removeEntry(this.#siteAt(root, ours, {}), name, { key, restMs: this.#options.restMs, pins: this.#spec.protect.keep, force });
  }

  async #enforceOnAnyDisk(root: Dir, work: Omit<PassOptions, 'mode' | 'planned'>, planned: Outlook | undefined): Promise<PassOutcome> {
    return await enforceOnAnyDisk(() => this.#enforce(root, work, planned), () => ({
      ground: this.#groundAt(root, work), plan: async ({ holders }) => planned ?? (await this.#planAlone(root, holders, work)),
      reserve: this.#reserve, mostAtOnce: this.#options.mostAtOnce, trigger: work.trigger,
    }));
  }

  async #enforce(root: Dir, work: Omit<PassOptions, 'mode' | 'planned'>, planned: Outlook | undefined): Promise<PassOutcome> {
    using ours = openLocked(this.#placeOf(root));
    const site = this.#siteAt(root, ours, work);
    await this.#reserve.fill(site);
    const revived = (await takeOver(site)) + (await recover(site, site.holders.read().holds));
    const outlook = planned ?? (await this.#planAlone(root, site.holders, work));
    const sweep = { ...outlook, leftoverAgeMs: this.#options.leftoverAgeMs };
    const isDue = (name: EntryName) => this.#evictions.isDue(site, name);
    const { mostAtOnce } = this.#options;
    const first = await plannedVictims(outlook.plan, { most: mostAtOnce, isDue });
    const victims = [...first, ...abandonedDirectories(site, sweep).filter(({ name }) => isDue(name)).slice(0, mostAtOnce - first.length)];
    if (victims.length > 0) this.#exchange.require(ours.trash);
    const result = await evict(site, victims);
    const failed = await this.#evictions.keep(result, { trash: ours.trash, nowMs: this.#options.clock.now() });
    const slices = new Slices();
    const evicted = await evictedOf(result, outlook.snapshot, slices);
    await slices.yield();
    tellEvicted(site, evicted, work.trigger);
    await slices.yield();
    const stopped = work.signal?.aborted === true;
    const removed = stopped ? [] : await removeLeftovers(site, sweep);
    saveUses(site);
    this.#clockWatch.saveWhereDue(site.errors);
    const dueAtMs = await purgeDueAtMs(site, { ...this.#rest, retryMs: 0, backoff: this.#backoff });
    // No purge will come that frees space for it.
    if (dueAtMs === null) writeBacklog(site);
    const unfinished = !stopped && first.length === mostAtOnce && outlook.plan.evict.length > mostAtOnce;
    return await outcomeOf(site, { outlook, result, evicted, removed, revived, failed, stopped, unfinished, purgeDueAtMs: dueAtMs }, slices);
  }

  get #rest(): Rest {
    return { restMs: this.#options.restMs, own: this.#evictions.own, isShort: this.#reserve.isShort };
  }

  async #doom(site: Site, rest: Rest) {
    using _lock = lockPasses(site.own, site.root);
    return await doomItems(site, { ...rest, most: this.#options.mostAtOnce });
  }

  async #planAlone(root: Dir, holders: Holders, work: PlanOptions): Promise<Outlook> {
    return await planAlone(await this.#draft(root, holders, { ...work, evicts: true }), work.signal);
  }

  async #draft(root: Dir, holders: Holders, { trigger, signal, evicts = false }: PlanOptions & { evicts?: boolean }): Promise<CacheDraft> {
    const { nowMs, limits, protect } = this.#clockWatch.terms(trigger === 'FreeSpace' ? 'FreeSpace' : evicts ? 'Pass' : 'Look', this.#spec);
    const snapshot = await this.#scan(root, { signal, stamped: evicts || trigger === 'FreeSpace' });
    const { holds: read, error } = holders.read();
    const holds = withUsesSeen(this.#format, read);
    const input = { snapshot, limits: trigger === 'FreeSpace' ? freeSpaceOnly(limits) : limits, protect, holds, nowMs };
    return new CacheDraft({ root, format: this.#format, holders, input, most: this.#options.mostAtOnce, error });
  }

  async #scan(root: Dir, { signal, stamped }: { readonly signal: AbortSignal | undefined; readonly stamped: boolean }): Promise<Snapshot> {
    const { clock, leftoverAgeMs, room, onMeasured } = this.#options;
    using own = findOwn(this.#placeOf(root));
    const options = { nowMs: clock.now(), leftoverAgeMs, room, own, slices: new Slices(signal) };
    if (this.index !== undefined) return await this.index.scan(root, options);
    if (this.#format.kind === 'Plain') return await this.#format.scan(root, { ...options, onMeasured });
    return await this.#format.scan(root, { ...options, stamped, previous: await savedScan(root, this.#format, { ...options, trustsRoot: !stamped }) });
  }

  #holdersAt(root: Dir): Holders {
    return holdersOf({ root, home: this.#spec.home, allowedRoots: this.#options.allowedRoots }, this.#format);
  }

  #openRoot(): Dir {
    const { allowedRoots, fault, room } = this.#options;
    try {
      const root = openCacheRoot(this.#spec.root, this.#format, { allowedRoots, fault, relief: () => this.#reserve.spend(() => findOwn(this.#placeOf(root))) });
      return root;
    } catch (error) {
      // What is still heard of the directory that was there is no reason to look again.
      this.index?.[Symbol.dispose]();
      // Of a plain format as much is remembered as before.
      if (this.#format.kind === 'Store') room?.giveBack(this.#spec.root);
      throw error;
    }
  }

  #refuseOther(root: Dir, by: { isPass: boolean }): void {
    try {
      this.#knownRoot.check(root, by);
    } catch (error) {
      this.#exchange.forget();
      throw error;
    }
  }

  #placeOf(root: Dir) {
    return { root, allowedRoots: this.#options.allowedRoots, format: this.#spec.format };
  }

  #siteAt(root: Dir, { own, trash }: OwnDirs, work: WorkOptions): Site {
    return { ...this.#groundAt(root, work), own, trash };
  }

  #groundAt(root: Dir, { signal, onProgress = () => {} }: WorkOptions): Ground {
    const { clock, settleMs } = this.#options;
    return { root, place: this.#placeOf(root), format: this.#format, clock, settleMs, holders: this.#holdersAt(root), signal, onProgress, backlog: this.#backlog, errors: [], longestLockMs: 0 };
  }
}
