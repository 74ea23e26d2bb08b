import { Slices } from '../disk/slices.ts';
import { diskError, errno } from '../disk/disk-error.ts';
import { isReadOnly } from '../disk/move-tree.ts';
import type { Stat } from '../disk/stat.ts';
import { OperatorError } from '../errors.ts';
import type { Hold, Holds } from '../policy/holds.ts';
import { holdOf } from '../policy/holds.ts';
import type { Entry, EntryName } from '../policy/snapshot.ts';
import type { Eviction as Planned } from '../policy/verdicts.ts';
import { isAsPlanned, isSameStamp } from './as-planned.ts';
import type { EvictionStep } from './formats/format.ts';
import { hasMetadata } from './metadata-file.ts';
import { ownMode } from './own-search.ts';
import { drop, moveTreeIn } from './recover.ts';
import type { PassError } from './report.ts';
import { restore } from './restore.ts';
import type { Site } from './site.ts';
import { atTree, holdOnTree, lockEntry, note, readHolds } from './site.ts';
import type { ItemId } from './trash.ts';
import { asideName, asideOf, holdsTree, isEvictionLink, itemInode, itemMetadata, itemMode, newItemId } from './trash.ts';
import { noteUse } from './uses.ts';

export interface Victim {
  readonly name: EntryName;
  /** The entry as it was planned; undefined for a directory without metadata, which leaves the same way. */
  readonly entry: Entry | undefined;
  /** Why a plan wants it gone. */
  readonly verdict?: Pick<Planned, 'reason' | 'detail'>;
}

export interface EvictionResult {
  readonly gone: readonly Victim[];
  /** Every item that was made, by name; what came back has left its own. */
  readonly items: readonly string[];
  /** Taken out, then found wanted, and put back. Not what came back because of a stop or a failure. */
  readonly revived: number;
  /** Found changed or locked before anything was taken out, and left alone. */
  readonly raced: number;
  /** Could not be taken out, and why. */
  readonly failed: ReadonlyMap<EntryName, PassError>;
}

interface Leaving {
  readonly victim: Victim;
  readonly item: ItemId;
}

/**
 * Takes entries out of the runtime's sight and into the trash, all of them in the steps that the format orders, waiting for the
 * whole batch at once. To be called under the pass lock, after the holds were read and the plan was made from them.
 *
 * It may stop anywhere: after every step each entry is whole, and either served or a miss; `recover` goes on from there. Order on
 * the disk is the order of these calls, because journaling filesystems write renames in order; so no step waits for the disk.
 *
 * An aborted signal brings back what has not left yet.
 */
export async function evict(site: Site, victims: readonly Victim[]): Promise<EvictionResult> {
  const eviction = new Eviction(site, victims);
  for (const step of site.format.evictionOrder) await eviction.steps[step]();
  return eviction;
}

class Eviction implements EvictionResult {
  readonly gone: Victim[] = [];
  readonly items: string[] = [];
  revived = 0;
  raced = 0;
  readonly failed = new Map<EntryName, PassError>();
  readonly #site: Site;
  readonly #victims: readonly Victim[];
  readonly #total: number;
  readonly #slices = new Slices();
  #leaving: Leaving[] = [];

  readonly steps: Readonly<Record<EvictionStep, () => Promise<void>>> = {
    MoveMetadata: () => this.#beginAll(),
    // The same for entries that have no metadata to move: whatever is not as planned any more is left alone.
    LookAgain: () => this.#beginAll(),
    Settle: () => this.#settle(),
    ExchangeForLink: () => this.#forEachUnwanted((leaving) => this.#exchangeForLink(leaving)),
    RemoveLink: () => this.#forEachUnwanted((leaving) => this.#removeLink(leaving)),
    AskAgain: () => this.#askAgain(),
    MoveTree: () => this.#moveTrees(),
  };

  constructor(site: Site, victims: readonly Victim[]) {
    this.#site = site;
    this.#victims = victims;
    this.#total = victims.length;
  }

  async #beginAll(): Promise<void> {
    for (const victim of this.#victims) {
      if (this.#slices.over) await this.#slices.yield();
      if (this.#site.signal?.aborted) return;
      try {
        const item = await this.#begin(victim);
        if (item === undefined) this.raced += 1;
        else this.#leaving.push({ victim, item });
      } catch (error) {
        if (!(error instanceof OperatorError) || error.code !== 'ERR_DISK_FULL') {
          this.#fail(victim, error);
          continue;
        }
        // No room for one more: those that are on their way make some.
        note(this.#site.errors, error, victim.name);
        return;
      }
    }
  }

  /** From here on the runtime sees a miss; a put may adopt the directory, and nothing is lost. @returns undefined where the entry is not as planned */
  async #begin({ name, entry }: Victim): Promise<ItemId | undefined> {
    const { root, trash, format } = this.#site;
    using lock = lockEntry(this.#site, name);
    if (lock === undefined) return undefined;
    const tree = root.statOf(name);
    if (tree === undefined || !format.isTree(tree.kind)) return undefined;
    if (tree.mountId !== root.stat().mountId) throw diskError(`evict ${root.pathOf(name)}`, -errno.EXDEV);
    if (!(await isAsPlanned(this.#site, { name, entry }, this.#slices))) return undefined;
    const item = this.#makeItem(name, tree);
    using dir = trash.openDir(item.id);
    // A crash after it: metadata in the trash, directory in the root; put back.
    if (entry !== undefined && format.kind === 'Store') root.rename(format.metadataName(name), dir, itemMetadata);
    return item;
  }

  /** With all that the later steps need: on a full disk none of them must ask for more. */
  #makeItem(name: EntryName, { inode, kind, mode }: Stat): ItemId {
    const { root, trash } = this.#site;
    const item = newItemId(name);
    const aside = asideName(item);
    // A crash after it: an empty item, dropped.
    trash.mkdir(item.id, ownMode);
    using dir = trash.openDir(item.id);
    try {
      dir.symlink(String(inode), itemInode);
      if (kind === 'Directory' && isReadOnly({ mode })) dir.symlink(mode.toString(8), itemMode);
      // A crash after it: a link aside that the item names, and that goes with it.
      root.symlink(aside, aside);
    } catch (error) {
      if (error instanceof OperatorError) {
        for (const link of [itemInode, itemMode]) dir.unlink(link);
        trash.rmdir(item.id);
      }
      throw error;
    }
    this.items.push(item.id);
    return item;
  }

  /** Whoever looked at the entry just before has the time to show it: by metadata, or by a marker. */
  async #settle(): Promise<void> {
    if (this.#leaving.length === 0) return;
    const { clock, settleMs, signal, onProgress } = this.#site;
    onProgress({ step: 'Settle', done: this.#total - this.#leaving.length, total: this.#total, waitMs: settleMs });
    await clock.sleep(settleMs, signal);
  }

  /** Gives back what is wanted after all, and takes the rest a step further. */
  async #forEachUnwanted(act: (leaving: Leaving) => boolean): Promise<void> {
    if (this.#leaving.length === 0) return;
    const batch = this.#leaving;
    this.#leaving = [];
    const holds = readHolds(this.#site);
    for (const leaving of batch) {
      if (this.#slices.over) await this.#slices.yield();
      this.#site.onProgress({ step: 'Evict', done: this.gone.length, total: this.#total });
      try {
        const hold = await this.#holdOn(leaving, holds);
        const isWanted = hold !== undefined || (await this.#isWritten(leaving));
        if (!isWanted && this.#actUnderLock(leaving, act)) this.#leaving.push(leaving);
        else await this.#giveBack(leaving, hold);
      } catch (error) {
        this.#fail(leaving.victim, error);
        // Half way out is no place to stay. What cannot be given back now is given back by the next pass.
        await this.#giveBack(leaving).catch((again: unknown) => note(this.#site.errors, again, leaving.victim.name));
      }
    }
  }

  #fail({ name }: Victim, error: unknown): void {
    this.failed.set(name, note(this.#site.errors, error, name));
  }

  async #holdOn({ victim: { name, entry }, item }: Leaving, holds: Holds): Promise<Hold | undefined> {
    return holdOf(holds, { name, description: entry?.description }) ?? (await holdOnTree(this.#site, item, this.#slices));
  }

  /** Where there is no metadata to tell, somebody wrote in the tree itself since it was planned. */
  async #isWritten({ victim: { entry }, item }: Leaving): Promise<boolean> {
    const { format } = this.#site;
    if (entry === undefined || format.kind === 'Store') return false;
    const { name, stamp } = entry;
    const row = await atTree(this.#site, item, (tree) => format.look(tree, name, this.#slices));
    return row === undefined || !isSameStamp(row.stamp, stamp);
  }

  /** Under the entry's lock no metadata is written between the look and the act. @returns false where the entry is wanted */
  #actUnderLock({ victim, item }: Leaving, act: (leaving: Leaving) => boolean): boolean {
    const { root, format, signal } = this.#site;
    using lock = lockEntry(this.#site, victim.name);
    // Somebody writes the metadata at this moment.
    if (lock === undefined) return false;
    const wanted = hasMetadata(root, format, victim.name);
    return !wanted && signal?.aborted !== true && act({ victim, item });
  }

  /** @param hold who was seen using it; where nobody was, it keeps the last use that it had */
  async #giveBack({ item }: Leaving, hold?: Hold): Promise<void> {
    const { root, trash, format, clock, signal } = this.#site;
    // Something else has taken the directory away: the runtime's own prune.
    if (root.statOf(item.name) === undefined && !holdsTree(trash, item) && asideOf(this.#site, item) !== 'Tree') {
      drop(this.#site, item);
      this.raced += 1;
      return;
    }
    const isBack = await restore(this.#site, item);
    if (isBack) noteUse(format, item.name, { hold, nowMs: clock.now() });
    const isReported = signal?.aborted === true || this.failed.has(item.name) || hold?.unknown === true;
    if (isBack && !isReported) this.revived += 1;
    // Something newer has the name: only the older one leaves.
    if (!isBack && asideOf(this.#site, item) === 'Tree') moveTreeIn(this.#site, item);
  }

  /** A put can adopt the directory no more, while every path and mount still reaches the whole tree. @returns false where it is no entry any more */
  #exchangeForLink({ item }: Leaving): boolean {
    const { root, format } = this.#site;
    const tree = root.statOf(item.name);
    if (tree === undefined || !format.isTree(tree.kind)) return false;
    // A crash after it: link under the name, tree aside; exchanged back, and the metadata put back.
    if (!root.exchange(item.name, root, asideName(item))) return false;
    if (asideOf(this.#site, item) === 'Tree') return true;
    // Swapped for another since it was looked at: that one was not asked.
    root.exchange(item.name, root, asideName(item));
    return false;
  }

  /** A crash after it: a tree aside without a link; put back like the one before. */
  #removeLink({ item }: Leaving): boolean {
    const { root } = this.#site;
    // Somebody may have removed it, and put a new entry in its place.
    if (isEvictionLink(root, item.name, item)) root.unlink(item.name);
    return true;
  }

  /** For who came through the link at the last moment: the path leads nowhere by now, and the tree is still beside it. */
  async #askAgain(): Promise<void> {
    if (this.#leaving.length === 0) return;
    const batch = this.#leaving;
    this.#leaving = [];
    const holds = readHolds(this.#site);
    for (const leaving of batch) {
      if (this.#slices.over) await this.#slices.yield();
      try {
        const hold = await this.#holdOn(leaving, holds);
        if (hold !== undefined || (await this.#isWritten(leaving))) await this.#giveBack(leaving, hold);
        else this.#leaving.push(leaving);
      } catch (error) {
        this.#fail(leaving.victim, error);
      }
    }
  }

  /** Nobody is to reach it by a path any more. A crash after it: an item at rest, evicted. */
  async #moveTrees(): Promise<void> {
    const { root, trash, clock, onProgress } = this.#site;
    for (const leaving of this.#leaving) {
      if (this.#slices.over) await this.#slices.yield();
      onProgress({ step: 'Evict', done: this.gone.length, total: this.#total });
      const { victim, item } = leaving;
      try {
        moveTreeIn({ root, trash }, item);
        // From here on it rests, however long ago the exchange was: who came through the link at the last moment has the whole rest to show it.
        trash.touch(item.id, clock.now());
        this.gone.push(victim);
      } catch (error) {
        this.#fail(victim, error);
        await this.#giveBack(leaving).catch((again: unknown) => note(this.#site.errors, again, victim.name));
      }
    }
  }
}
