import { batchesOf } from '../disk/dir-entries.ts';
import type { Dir } from '../disk/dir.ts';
import { asDiskError } from '../disk/disk-error.ts';
import type { FileKind } from '../disk/stat.ts';
import { msOf } from '../disk/stat.ts';
import { newestChangeMs } from '../disk/tree-age.ts';
import { OperatorError } from '../errors.ts';
import { EntryTableBuilder } from '../policy/entry-table.ts';
import type { Damaged, EntryName, Leftover, LeftoverKind, Snapshot } from '../policy/snapshot.ts';
import type { ScanOptions, StoreFormat } from './formats/format.ts';
import { readMetadata } from './metadata-file.ts';
import { isEvictionLink, leftInTrash } from './trash.ts';

/** `Format.scan` for formats whose entries are a directory and a metadata file each. */
export async function scan(root: Dir, format: StoreFormat, options: ScanOptions): Promise<Snapshot> {
  return await new Scan(root, format, options).run();
}

/** What stands under one entry's name, as bits: there may be 100,000 of them. */
const isDirectory = 1;
const isLink = 2;
const isOther = 4;
const hasTree = isDirectory | isLink | isOther;
const hasMetadata = 8;

function treeBit(kind: FileKind): number {
  return kind === 'Directory' ? isDirectory : kind === 'Link' ? isLink : isOther;
}

class Scan {
  readonly #root: Dir;
  readonly #format: StoreFormat;
  readonly #options: ScanOptions;
  readonly #found = new Map<EntryName, number>();
  readonly #entries = new EntryTableBuilder();
  readonly #damaged: Damaged[] = [];
  readonly #leftovers: Leftover[] = [];
  readonly #unrecognised: string[] = [];
  #filesRead = 0;

  constructor(root: Dir, format: StoreFormat, options: ScanOptions) {
    this.#root = root;
    this.#format = format;
    this.#options = options;
  }

  async run(): Promise<Snapshot> {
    const unfinished = await this.#sort();
    for (const [name, found] of this.#found) {
      await this.#look(name, found);
      if (this.#options.slices.over) await this.#options.slices.yield();
    }
    for (const { name, kind } of unfinished) await this.#unfinished(name, kind);
    this.#leftovers.push(...leftInTrash(this.#root, this.#format));
    // These are shown to people; entries may be 100,000, and the plan sorts them anyway.
    this.#damaged.sort(byName);
    this.#leftovers.sort(byName);
    this.#unrecognised.sort();
    return {
      takenAtMs: this.#options.nowMs, entries: this.#entries.build(this.#options.nowMs), damaged: this.#damaged, leftovers: this.#leftovers,
      unrecognised: this.#unrecognised, filesRead: this.#filesRead,
    };
  }

  /** First by name alone: nothing is opened before all names are known. @returns puts that did not finish, or are not finished */
  async #sort(): Promise<{ name: string; kind: LeftoverKind }[]> {
    const unfinished: { name: string; kind: LeftoverKind }[] = [];
    try {
      for (const batch of batchesOf(this.#root)) {
        for (const { bytes, kind } of batch) {
          const name = bytes.toString();
          const role = this.#format.roleOf(name);
          const trueKind = kind === 'Unknown' ? (this.#root.statOf(name)?.kind ?? kind) : kind;
          if (role.role === 'Entry') this.#add(role.name, treeBit(trueKind));
          else if (role.role === 'Metadata') this.#add(role.name, hasMetadata);
          else if (role.role === 'Staging' && trueKind === 'Directory') unfinished.push({ name, kind: 'Staging' });
          else if (role.role === 'Temp' && trueKind === 'File') unfinished.push({ name, kind: 'Temp' });
          else if (role.role !== 'Own' && !(role.role === 'Lock' && trueKind === 'File')) this.#unrecognised.push(name);
        }
        if (this.#options.slices.over) await this.#options.slices.yield();
      }
    } catch (error) {
      throw asUnreadable(asDiskError(`read ${this.#root.path}`, error));
    }
    return unfinished;
  }

  #add(name: EntryName, bits: number): void {
    this.#found.set(name, (this.#found.get(name) ?? 0) | bits);
  }

  async #look(name: EntryName, found: number): Promise<void> {
    // An eviction in its last seconds, or one that crashed there: the next pass finishes it.
    if ((found & isLink) !== 0 && isEvictionLink(this.#root, name)) return;
    if ((found & hasMetadata) === 0) {
      if ((found & isDirectory) !== 0 && this.#format.looksLikeEntry(name)) await this.#unfinished(name, 'Orphan');
      else this.#unrecognised.push(name);
      return;
    }
    if ((found & (isLink | isOther)) !== 0) {
      this.#damaged.push({ name, reason: 'NotADirectory', message: `${this.#root.pathOf(name)} is ${(found & isLink) !== 0 ? 'a symbolic link' : 'no directory'}` });
      return;
    }
    this.#filesRead += 1;
    const file = readMetadata(this.#root, this.#format, name);
    if (file.outcome === 'Damaged') this.#damaged.push({ name, reason: file.reason, message: file.message });
    else if (file.outcome === 'Read' && (found & hasTree) === 0) this.#leftover(name, 'Ghost', msOf(file.stamp.changedNs));
    else if (file.outcome === 'Read') this.#entries.add({ name, stamp: file.stamp, ...file.metadata });
    // Absent: evicted or replaced while we look. The next scan knows better.
  }

  async #unfinished(name: string, kind: LeftoverKind): Promise<void> {
    const stat = this.#root.statOf(name);
    if (stat === undefined) return;
    const { nowMs, leftoverAgeMs, slices } = this.#options;
    const ownChangeMs = msOf(stat.changedNs);
    const enoughMs = nowMs - leftoverAgeMs;
    // The tree is walked only where its top looks old enough.
    this.#leftover(name, kind, ownChangeMs > enoughMs ? ownChangeMs : await newestChangeMs(this.#root, name, { enoughMs, slices }));
  }

  #leftover(name: string, kind: LeftoverKind, changedAtMs: number): void {
    const { nowMs, leftoverAgeMs } = this.#options;
    this.#leftovers.push({ name, kind, changedAtMs, removable: changedAtMs <= nowMs - leftoverAgeMs });
  }
}

function byName(a: { readonly name: string }, b: { readonly name: string }): number {
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
}

function asUnreadable(error: unknown): unknown {
  return error instanceof OperatorError ? new OperatorError('ERR_ROOT_UNREADABLE', error.message, { cause: error.cause }) : error;
}
