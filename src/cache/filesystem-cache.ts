import { copyTree, openSource } from '../disk/copy-tree.ts';
import { deleteTree } from '../disk/delete-tree.ts';
import type { Dir } from '../disk/dir.ts';
import { shown } from '../disk/disk-error.ts';
import { waitForLock } from '../disk/lock.ts';
import { openRoot } from '../disk/pinned-root.ts';
import { Slices } from '../disk/slices.ts';
import type { Stat } from '../disk/stat.ts';
import { OperatorError } from '../errors.ts';
import type { CompiledCache, StoreFormatName } from '../policy/compiled.ts';
import { holdOf } from '../policy/holds.ts';
import type { CacheStats, EntryName, Snapshot } from '../policy/snapshot.ts';
import { statsOf } from '../policy/snapshot.ts';
import type { CacheBackend, CacheEntry } from './backend.ts';
import type { Metadata, StoreFormat } from './formats/format.ts';
import { storeFormats } from './formats/registry.ts';
import type { Holders } from './holds/holders.ts';
import { holdersOf } from './holds/holders.ts';
import { descriptionIn, readMetadata, writeMetadata } from './metadata-file.ts';
import { openOwn, openTrash, waitForPasses } from './own-folder.ts';
import type { CacheOptions } from './pass-options.ts';
import { Cache } from './pass.ts';
import type { PassError } from './report.ts';
import type { Clock } from './site.ts';
import { systemClock } from './site.ts';
import { isEvictionLink, itemMetadata, itemTree, newGarbageName, newItemId } from './trash.ts';
import { noLimits, noProtection } from '../policy/limits.ts';

/** Where a store of the A3S runtime lies. */
export interface Store extends Pick<CompiledCache, 'root' | 'home'> {
  readonly format: StoreFormatName;
}

/** How long to wait for one entry's metadata, which is written in a moment. */
const entryPatienceMs = 10_000;

/** The names in a staging directory: of the tree as the runtime has it, and of the metadata that is replaced. */
const stagedTree = itemTree;
const stagedMetadata = itemMetadata;


/**
 * The trait on the disk of the A3S runtime, for both of its stores: what one writes the other reads, at the same time, in the same
 * directories. A damaged entry is a miss.
 *
 * Every method throws OperatorError: ERR_ROOT_* and ERR_PATH_NOT_ALLOWED for the root, ERR_ENTRY_* for the entry, ERR_LOCK_BUSY
 * where another process stands in the way for too long, ERR_DISK_* for the rest.
 */
export class FilesystemCache implements CacheBackend {
  readonly #store: Store;
  readonly #options: CacheOptions;
  readonly #format: StoreFormat;
  readonly #clock: Clock;

  constructor(store: Store, options: CacheOptions) {
    this.#store = store;
    this.#options = options;
    this.#format = storeFormats[store.format];
    this.#clock = options.clock ?? systemClock;
  }

  async get(key: string): Promise<string | undefined> {
    const name = this.#nameOf(key);
    using root = this.#openRoot();
    if (!this.#isWhole(root, name)) return undefined;
    using _lock = await waitForLock(root, this.#format.lockName(name), { timeoutMs: entryPatienceMs });
    // Read under the lock, unlike the runtime: what was evicted a moment ago must not come back as metadata alone.
    const file = readMetadata(root, this.#format, name);
    if (file.outcome !== 'Read' || !this.#isWhole(root, name)) return undefined;
    try {
      writeMetadata(root, this.#format, name, { ...file.metadata, lastAccessedAtMs: this.#clock.now() });
    } catch (error) {
      // A full disk takes no new time; the entry can be used all the same, as with the runtime.
      if (!(error instanceof OperatorError) || error.code !== 'ERR_DISK_FULL') throw error;
    }
    return `${this.#store.root}/${name}`;
  }

  /**
   * Safe against a crash: the entry is the old one, the new one, or a miss. Against a power cut only as far as the kernel had
   * written the tree by then, as with the runtime.
   * @throws ERR_INPUT_UNREADABLE where the source cannot be read whole
   */
  async put(key: string, sourceDir: string, description: string): Promise<string> {
    const name = this.#nameOf(key);
    using root = this.#openRoot();
    await this.#refuseHeld(root, name, key);
    using source = openSource(sourceDir);
    // Before the disk fills up: what cannot be finished goes there.
    using own = openOwn({ root, allowedRoots: this.#options.allowedRoots, format: this.#store.format });
    using trash = openTrash(own);
    const stagingName = this.#format.stagingName();
    // A crash from here on leaves a staging directory, which a pass removes once it is a day old.
    root.mkdir(stagingName, 0o700);
    using staging = root.openDir(stagingName);
    try {
      const sizeBytes = await copyTree(source, staging, stagedTree);
      using _passes = await waitForPasses(own, root);
      using _lock = await waitForLock(root, this.#format.lockName(name), { timeoutMs: entryPatienceMs });
      await this.#refuseHeld(root, name, key);
      const nowMs = this.#clock.now();
      this.#publish(root, staging, name, { key, description, sizeBytes, cachedAtMs: nowMs, lastAccessedAtMs: nowMs });
      retire({ root, trash, staging }, stagingName, name);
    } catch (error) {
      if (error instanceof OperatorError) await abandon(root, trash, staging, stagingName);
      throw error;
    }
    return `${this.#store.root}/${name}`;
  }

  /** Takes two settles. @param options force: also an entry that is in use; whoever uses it may fail */
  async invalidate(key: string, { force = false }: { force?: boolean } = {}): Promise<void> {
    using cache = this.#cacheWith(noLimits);
    await cache.remove(key, { force });
  }

  /** What is evicted rests in the trash, and is deleted by the first prune that comes after that. Never evicts what a box uses; of layers nobody says who uses them. */
  async prune(maxEntries: number, maxBytes: number): Promise<number> {
    using cache = this.#cacheWith({ ...noLimits, maxEntries, maxBytes });
    const { evicted, errors } = await cache.pass({ mode: 'Enforce', trigger: 'Manual' });
    const purged = await cache.purge();
    throwFirst([...errors, ...purged.errors]);
    return evicted.length;
  }

  async list(): Promise<CacheEntry[]> {
    const { entries } = await this.#scan();
    return Array.from(entries, ({ key, description, sizeBytes, cachedAtMs, lastAccessedAtMs }) => ({ key, description, sizeBytes, cachedAtMs, lastAccessedAtMs }));
  }

  async stats(): Promise<CacheStats> {
    return statsOf(await this.#scan());
  }

  async #scan(): Promise<Snapshot> {
    using cache = this.#cacheWith(noLimits);
    return await cache.scan();
  }

  #cacheWith(limits: CompiledCache['limits']): Cache {
    return new Cache({ ...this.#store, name: this.#store.format, limits, protect: noProtection }, this.#options);
  }

  #openRoot(): Dir {
    const { allowedRoots, fault } = this.#options;
    return openRoot(this.#store.root, { allowedRoots, fault });
  }

  #nameOf(key: string): EntryName {
    const name = this.#format.nameOf(key);
    if (name === undefined) throw new OperatorError('ERR_ENTRY_NAME', `${JSON.stringify(key)} is no key of ${this.#format.name}`);
    return name;
  }

  #isWhole(root: Dir, name: EntryName): boolean {
    return root.statOf(name)?.kind === 'Directory' && root.statOf(this.#format.metadataName(name))?.kind === 'File';
  }

  #holdersAt(root: Dir): Holders {
    return holdersOf({ root, home: this.#store.home, allowedRoots: this.#options.allowedRoots }, this.#format);
  }

  /** What is not there can be in nobody's way, whatever marker names it. */
  async #refuseHeld(root: Dir, name: EntryName, key: string): Promise<void> {
    if (root.statOf(name) === undefined) return;
    const { read, probe } = this.#holdersAt(root);
    const byReading = holdOf(read().holds, { name, description: descriptionIn(root, this.#format, name) });
    const hold = byReading ?? (await probe({ parent: root, name }, new Slices())).hold;
    if (hold !== undefined) throw new OperatorError('ERR_ENTRY_IN_USE', `${shown(key)} is in use: ${hold.detail}`);
  }

  /**
   * Under both locks. Metadata goes first: at no moment does it stand beside a tree of another size. What fails brings the old entry
   * back, for its path may have been handed out a moment ago.
   */
  #publish(root: Dir, staging: Dir, name: EntryName, metadata: Metadata): void {
    // Left by an eviction that was stopped, for none goes on now. What it leads to is replaced like any other, and rests already.
    if (isEvictionLink(root, name)) root.unlink(name);
    const before = root.statOf(name);
    if (before !== undefined && before.kind !== 'Directory') throw new OperatorError('ERR_ENTRY_DAMAGED', `${root.pathOf(name)} is no directory`);
    // A crash after it: the old directory without metadata, which is a miss.
    if (before === undefined) root.unlink(this.#format.metadataName(name));
    else root.rename(this.#format.metadataName(name), staging, stagedMetadata);
    try {
      if (before === undefined) staging.rename(stagedTree, root, name);
      else root.exchange(name, staging, stagedTree);
      // A crash before it: a directory without metadata, which is a miss.
      writeMetadata(root, this.#format, name, metadata);
    } catch (error) {
      if (before !== undefined && error instanceof OperatorError) this.#takeBack(root, staging, name, before);
      throw error;
    }
  }

  #takeBack(root: Dir, staging: Dir, name: EntryName, before: Stat): void {
    // Written, and then the disk failed.
    root.unlink(this.#format.metadataName(name));
    if (root.statOf(name)?.inode !== before.inode) root.exchange(name, staging, stagedTree);
    staging.rename(stagedMetadata, root, this.#format.metadataName(name));
  }
}

/**
 * A replaced tree rests like an evicted one: somebody may have got its path a moment ago. The staging directory is laid out as an item.
 * Where it cannot be moved it rests as what it is, until a pass finds it a day old; the put has succeeded all the same.
 */
function retire({ root, trash, staging }: { root: Dir; trash: Dir; staging: Dir }, stagingName: string, name: EntryName): void {
  try {
    staging.unlink(stagedMetadata);
    if (!root.rmdir(stagingName)) root.rename(stagingName, trash, newItemId(name).id);
  } catch (error) {
    if (!(error instanceof OperatorError)) throw error;
  }
}

/** What could neither be published nor taken back holds the old entry: it stays until it is a day old, like after a crash. */
async function abandon(root: Dir, trash: Dir, staging: Dir, stagingName: string): Promise<void> {
  if (staging.statOf(stagedMetadata) !== undefined) return;
  const garbage = newGarbageName();
  if (root.rename(stagingName, trash, garbage) === 'Moved') await deleteTree(trash, garbage);
}

function throwFirst(errors: readonly PassError[]): void {
  const [first] = errors;
  if (first !== undefined) throw new OperatorError(first.code, first.message);
}
