import { isUtf8 } from 'node:buffer';
import { batchesOf } from '../../disk/dir-entries.ts';
import type { Dir } from '../../disk/dir.ts';
import { asDiskError, diskError, errno, shown } from '../../disk/disk-error.ts';
import { nameText } from '../../disk/name-text.ts';
import type { Measure } from '../../disk/measure-tree.ts';
import { measureTree } from '../../disk/measure-tree.ts';
import type { FileKind, Stat } from '../../disk/stat.ts';
import { birthNsAt, statAt } from '../../disk/stat.ts';
import { OperatorError } from '../../errors.ts';
import type { EntryRow } from '../../policy/entry-table.ts';
import { EntryTableBuilder } from '../../policy/entry-table.ts';
import type { Hold } from '../../policy/holds.ts';
import type { Damaged, EntryName, Snapshot } from '../../policy/snapshot.ts';
import { detailOf } from '../holds/lease.ts';
import { isEvictionLink } from '../trash.ts';
import type { DirectoryMemory, Remembered } from './directory-memory.ts';
import type { ScanOptions } from './format.ts';
import { nearHome } from './home-nearby.ts';
import type { LinkedMemory } from './linked-memory.ts';

/** An item of the trash carries the name behind 13 bytes of its own, and a name has at most 255. */
const maxNameBytes = 255 - 13;

/**
 * Entries that nothing seems to have changed are looked through again, those first that were not for longest, until so many files and
 * folders have been met in one look: that finds what grew or shrank inside, and what is open. A look comes at least every minute, and
 * the agent takes one or two tenths of a second for it: 0.3 % of a core.
 */
export const defaultNamesInTurn = 5_000;

/** What a measured tree is besides its figures, as bits. */
const isShared = 1;
const holdsHome = 2;
const holdsStaging = 4;

export function isEntryName(name: string): name is EntryName {
  return name !== '' && !name.startsWith('.') && !/[\0/]/.test(name) && name.isWellFormed() && Buffer.byteLength(name) <= maxNameBytes;
}

export function isTree(kind: FileKind): boolean {
  return kind === 'Directory' || kind === 'File';
}

interface LookOptions extends ScanOptions {
  readonly namesInTurn: number;
  readonly linked: LinkedMemory;
  /** Entries were deleted since the scan before: then files that they shared with others count more there. */
  readonly isAfterPurge: boolean;
}

/** One scan of a directory whose children are the entries. */
export class DirectoryLook {
  readonly usesSeen = new Map<EntryName, Hold>();
  readonly #root: Dir;
  readonly #memory: DirectoryMemory;
  readonly #options: LookOptions;
  readonly #found = new Set<string>();
  /** Names that are there and cannot be looked at now. */
  readonly #hidden = new Set<string>();
  readonly #measured = new Set<string>();
  readonly #damaged: Damaged[] = [];
  readonly #unrecognised: string[] = [];
  #namesMet = 0;
  #toMeasure = 0;
  #measuredSinceMs = Infinity;

  constructor(root: Dir, memory: DirectoryMemory, options: LookOptions) {
    this.#root = root;
    this.#memory = memory;
    this.#options = options;
  }

  /** @throws ERR_ROOT_UNREADABLE; ERR_ROOT_NEAR_HOME where an entry is the home of a runtime */
  async run(): Promise<Omit<Snapshot, 'leftovers'>> {
    const { nowMs, slices } = this.#options;
    const changed = await this.#sort();
    const mayHaveFreedLinks = this.#forgetGone() || this.#options.isAfterPurge;
    this.#toMeasure = changed.length + this.#unmeasured(changed);
    for (const name of changed) {
      await this.#measure(name);
      if (slices.over) await slices.yield();
    }
    await this.#measureInTurn(mayHaveFreedLinks);
    const entries = new EntryTableBuilder();
    for (const name of this.#found) {
      const known = this.#memory.get(name);
      if (known !== undefined) {
        this.#tell(entries, name as EntryName, known);
        this.#measuredSinceMs = Math.min(this.#measuredSinceMs, known.measuredAtMs);
      }
      if (slices.over) await slices.yield();
    }
    this.#options.room?.take(this.#root.path, this.#foundSoFar);
    this.#damaged.sort((a, b) => (a.name < b.name ? -1 : 1));
    return { takenAtMs: nowMs, measuredSinceMs: Math.min(this.#measuredSinceMs, nowMs), entries: entries.build(nowMs), damaged: this.#damaged, unrecognised: this.#unrecognised.toSorted(), filesRead: this.#namesMet, linked: this.#options.linked.only(this.#found) };
  }

  /** By stamps alone. @returns entries that are new, or whose own stamp is another than before */
  async #sort(): Promise<string[]> {
    const changed: string[] = [];
    const { mountId } = this.#root.stat();
    try {
      for (const batch of batchesOf(this.#root)) {
        for (const { bytes } of batch) {
          if (bytes[0] === dot) continue;
          const stat = statAt(this.#root.fd, bytes);
          if (stat === -errno.ENOENT) continue;
          // Of a name that is no UTF-8 a text for people: no file is reached by it.
          const name = nameText(bytes);
          if (typeof stat === 'number') {
            this.#hidden.add(name);
            this.#damaged.push({ name, reason: 'EntryUnreadable', message: diskError(`look at ${this.#root.pathOf(bytes)}`, stat).message });
            continue;
          }
          if (isUtf8(bytes) && isEntryName(name) && isTree(stat.kind) && stat.mountId === mountId) {
            this.#found.add(name);
            if (!isSameTop(this.#memory.get(name), stat)) changed.push(name);
          } else {
            // An entry that another process is evicting may come back, as it was.
            this.#hidden.add(name);
            if (!isUtf8(bytes) || !isEntryName(name) || !isEvictionLink(this.#root, name)) this.#unrecognised.push(name);
          }
        }
        this.#takeRoom();
        if (this.#options.slices.over) await this.#options.slices.yield();
      }
    } catch (error) {
      const failed = asDiskError(`read ${shown(this.#root.path)}`, error);
      throw failed instanceof OperatorError && failed.code === 'ERR_DISK_IO' ? new OperatorError('ERR_ROOT_UNREADABLE', failed.message, { cause: failed.cause }) : failed;
    }
    return changed;
  }

  /** @returns whether anything went: then files that it shared with others are theirs alone now, and count more there */
  #forgetGone(): boolean {
    const before = this.#memory.size;
    for (const name of this.#memory.names) if (!this.#found.has(name) && !this.#hidden.has(name)) this.#memory.delete(name);
    return this.#memory.size < before;
  }

  async #measureInTurn(mayHaveFreedLinks: boolean): Promise<void> {
    let left = this.#options.namesInTurn;
    for (const name of this.#memory.names) {
      // What is measured becomes the last: from here on all were, in this look.
      const known = this.#memory.get(name);
      const mustBe = known?.measuredAtMs === 0;
      if (this.#measured.has(name) || (left <= 0 && !mayHaveFreedLinks && !mustBe)) return;
      if (this.#hidden.has(name)) continue;
      const mayHaveGrown = mayHaveFreedLinks && ((known?.flags ?? 0) & isShared) !== 0;
      if (left > 0 || mayHaveGrown || mustBe) left -= await this.#measure(name);
      if (this.#options.slices.over) await this.#options.slices.yield();
    }
  }

  /** @returns how many there are, besides those that changed, of which only an earlier process knows the figures */
  #unmeasured(changed: readonly string[]): number {
    const among = new Set(changed);
    let count = 0;
    for (const name of this.#found) if (!among.has(name) && this.#memory.get(name)?.measuredAtMs === 0) count += 1;
    return count;
  }

  /** @returns how many files and folders were met */
  async #measure(name: string): Promise<number> {
    const { nowMs, slices, onMeasured } = this.#options;
    onMeasured?.(this.#measured.size, Math.max(this.#toMeasure, this.#measured.size + 1));
    this.#measured.add(name);
    let measure: Measure | undefined;
    try {
      measure = await measureTree(this.#root, name, { slices, askUse: true });
    } catch (error) {
      if (!(error instanceof OperatorError)) throw error;
      this.#memory.forgetMeasure(name);
      this.#found.delete(name);
      this.#damaged.push({ name, reason: 'EntryUnreadable', message: error.message });
      return 1;
    }
    // Gone, or swapped, since it was listed: the next look knows better.
    if (measure === undefined || !isTree(measure.top.kind)) {
      this.#memory.delete(name);
      return 1;
    }
    if (measure.home === this.#root.pathOf(name)) throw nearHome(this.#root, measure.home);
    if (measure.use !== undefined) this.usesSeen.set(name as EntryName, { source: 'Lease', detail: detailOf(this.#root, measure.use) });
    const usedAtMs = measure.use === undefined ? (this.#memory.get(name)?.usedAtMs ?? 0) : nowMs;
    this.#memory.set(name, rememberedOf(this.#root, name, measure, { measuredAtMs: nowMs, usedAtMs }));
    this.#options.linked.set(name as EntryName, measure, this.#root.stat().device);
    this.#namesMet += measure.names;
    return measure.names;
  }

  /** By now, before it is more than there is room for. */
  #takeRoom(): void {
    this.#options.room?.takeSoFar(this.#root.path, this.#foundSoFar);
  }

  get #foundSoFar(): { readonly entries: number; readonly others: number } {
    return { entries: this.#found.size, others: this.#damaged.length + this.#unrecognised.length };
  }

  #tell(entries: EntryTableBuilder, name: EntryName, known: Remembered): void {
    if ((known.flags & (holdsHome | holdsStaging)) === 0) entries.add(rowOf(name, known));
    else if ((known.flags & holdsStaging) !== 0) this.#damaged.push({ name, reason: 'EntryHoldsData', message: `${this.#root.pathOf(name)} holds rawstaging/, where JuiceFS keeps data that is not uploaded yet` });
    else this.#damaged.push({ name, reason: 'EntryHoldsHome', message: `${this.#root.pathOf(name)} holds what looks like the home of an A3S Box runtime` });
  }
}
const dot = 0x2e;

/** In µs, as it is remembered: a double holds them exactly until the year 2255. */
function us(ns: bigint): number {
  return Number(ns / 1000n);
}

function isSameTop(known: Remembered | undefined, { inode, modifiedNs, changedNs }: Stat): boolean {
  return known !== undefined && known.inode === Number(inode) && known.modifiedUs === us(modifiedNs) && known.changedUs === us(changedNs);
}

export function rememberedOf(parent: Dir, name: string, measure: Measure, times: Pick<Remembered, 'measuredAtMs' | 'usedAtMs'>): Remembered {
  const { top, allocatedBytes, newestModifiedNs, writtenNs, names, hasSharedFiles, home, staging } = measure;
  return {
    inode: Number(top.inode), modifiedUs: us(top.modifiedNs), changedUs: us(top.changedNs), allocatedBytes, newestUs: us(newestModifiedNs), writtenUs: us(writtenNs), names, ...times,
    bornAtMs: Math.floor(us(birthNsAt(parent.fd, name) ?? top.changedNs) / 1000),
    flags: (hasSharedFiles ? isShared : 0) | (home === undefined ? 0 : holdsHome) | (staging === undefined ? 0 : holdsStaging),
  };
}

export function rowOf(name: EntryName, { inode, allocatedBytes, newestUs, writtenUs, names, usedAtMs, bornAtMs }: Remembered): EntryRow {
  return {
    name, key: name, description: name, sizeBytes: allocatedBytes, cachedAtMs: bornAtMs,
    lastAccessedAtMs: Math.max(Math.floor(newestUs / 1000), usedAtMs),
    stamp: { inode: BigInt(inode), changedNs: BigInt(writtenUs) * 1000n, size: names },
  };
}
