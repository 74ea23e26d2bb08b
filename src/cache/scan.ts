import { isUtf8 } from 'node:buffer';
import { DirNames } from '../disk/dir-entries.ts';
import type { Dir } from '../disk/dir.ts';
import { asDiskError } from '../disk/disk-error.ts';
import { FileReader } from '../disk/file-reader.ts';
import { nameText } from '../disk/name-text.ts';
import type { FileKind } from '../disk/stat.ts';
import { msOf } from '../disk/stat.ts';
import { newestChangeMs } from '../disk/tree-age.ts';
import { OperatorError } from '../errors.ts';
import { EntryTable, EntryTableBuilder } from '../policy/entry-table.ts';
import type { RawRow } from '../policy/entry-table.ts';
import type { Damaged, EntryName, Leftover, LeftoverKind, Snapshot } from '../policy/snapshot.ts';
import { TextColumn } from '../policy/text-column.ts';
import type { PreviousScan, ScanOptions, StoreFormat } from './formats/format.ts';
import { readMetadata } from './metadata-file.ts';
import { PlainNames } from './plain-names.ts';
import { isEvictionLink, leftInTrash } from './trash.ts';

/**
 * `Format.scan` for formats whose entries are a directory and a metadata file each. After a scan before it, only what changed is
 * read: a metadata file with the stamp it had says what it said.
 */
export async function scan(root: Dir, format: StoreFormat, options: ScanOptions): Promise<Snapshot> {
  return await new Scan(root, format, options).run();
}

/** What stands under one entry's name, as bits: there may be 100,000 of them. */
const isDirectory = 1;
const isLink = 2;
const isOther = 4;
const hasTree = isDirectory | isLink | isOther;
const hasMetadata = 8;
/** Its metadata is no regular file, or may be none: it is read with more care. */
const isOddMetadata = 16;
const isWhole = isDirectory | hasMetadata;

function treeBit(kind: FileKind): number {
  return kind === 'Directory' ? isDirectory : kind === 'Link' ? isLink : isOther;
}

/** A put that did not finish, or is not finished. */
interface Unfinished {
  readonly name: string;
  readonly kind: 'Staging' | 'Temp' | 'Orphan';
}

class Scan {
  readonly #root: Dir;
  readonly #format: StoreFormat;
  readonly #options: ScanOptions;
  readonly #files: FileReader;
  /** What the scan before found, and what of each row was found now. */
  readonly #known: EntryTable;
  readonly #knownBits: Uint8Array;
  /** The names that it did not find to be entries, and what was found of each. */
  readonly #others = new TextColumn();
  #otherBits = new Uint8Array(16);
  #builder = new EntryTableBuilder();
  readonly #damaged: Damaged[] = [];
  readonly #leftovers: Leftover[] = [];
  readonly #unfinished: Unfinished[] = [];
  readonly #unrecognised: string[] = [];
  #filesRead = 0;
  /** Names of entries that were met, or need not be, whatever became of them. */
  #met = 0;

  constructor(root: Dir, format: StoreFormat, options: ScanOptions) {
    this.#root = root;
    this.#format = format;
    this.#options = options;
    this.#files = new FileReader(root, format.metadataSuffix);
    this.#known = options.previous?.snapshot.entries ?? EntryTable.of([], 0);
    this.#knownBits = new Uint8Array(this.#known.length);
  }

  async run(): Promise<Snapshot> {
    const { previous, nowMs } = this.#options;
    // First by name alone: nothing is opened before all names are known.
    const rows = previous?.changed === undefined ? await this.#sortAll() : await this.#sortChanged(previous, previous.changed);
    this.#builder = new EntryTableBuilder(this.#known.length === 0 ? undefined : this.#known, this.#others.length, this.#others);
    await this.#lookAtKnown(rows);
    await this.#lookAtOthers();
    this.#options.room?.take(this.#root.path, this.#foundSoFar);
    this.#others.freeRows();
    for (const { name, kind } of this.#unfinished) await this.#measureAge(name, kind);
    this.#leftovers.push(...(await leftInTrash(this.#options.own, this.#format, this.#options.slices)));
    // These are shown to people; entries may be 100,000, and the plan sorts them anyway.
    this.#damaged.sort(byName);
    this.#leftovers.sort(byName);
    this.#unrecognised.sort();
    return {
      takenAtMs: nowMs, entries: this.#builder.build(nowMs), damaged: this.#damaged, leftovers: this.#leftovers,
      unrecognised: this.#unrecognised, filesRead: this.#filesRead,
    };
  }

  /** @returns the rows to look at: all that are known */
  async #sortAll(): Promise<Iterable<number>> {
    const { slices } = this.#options;
    const plain = new PlainNames(this.#format);
    try {
      using names = new DirNames(this.#root);
      while (names.nextBatch()) {
        while (names.next()) {
          const { buffer, start, end, kind } = names;
          const role = kind === 'Unknown' ? undefined : plain.roleOf(buffer, start, end);
          if (role === 'Entry') this.#add(treeBit(kind), buffer, start, plain.end, plain.hash);
          else if (role === 'Metadata') this.#add(kind === 'File' ? hasMetadata : hasMetadata | isOddMetadata, buffer, start, plain.end, plain.hash);
          else if (role === 'Lock' && kind === 'File') continue;
          else if (isUtf8(names.name)) this.#sort(buffer.toString('utf8', start, end), kind);
          else this.#unrecognised.push(nameText(names.name));
        }
        this.#takeRoom();
        if (slices.over) await slices.yield();
      }
    } catch (error) {
      throw asUnreadable(asDiskError(`read ${this.#root.path}`, error));
    }
    return this.#knownBits.keys();
  }

  /** @param kind as the directory says it */
  #sort(name: string, kind: FileKind): void {
    const role = this.#format.roleOf(name);
    const trueKind = kind === 'Unknown' ? (this.#root.statOf(name)?.kind ?? kind) : kind;
    if (role.role === 'Entry') this.#addNamed(role.name, treeBit(trueKind));
    else if (role.role === 'Metadata') this.#addNamed(role.name, hasMetadata);
    else if (role.role === 'Staging' && trueKind === 'Directory') this.#unfinished.push({ name, kind: 'Staging' });
    else if (role.role === 'Temp' && trueKind === 'File') this.#unfinished.push({ name, kind: 'Temp' });
    else if (role.role !== 'Own' && !(role.role === 'Lock' && trueKind === 'File')) this.#unrecognised.push(name);
  }

  /** Everything else is as it was. @returns the rows to look at */
  async #sortChanged({ snapshot }: PreviousScan, changed: ReadonlySet<string>): Promise<Iterable<number>> {
    const { slices } = this.#options;
    // An entry is judged by directory and metadata together, whichever of them changed.
    const names = new Set<string>();
    for (const each of changed) {
      if (slices.over) await slices.yield();
      const role = this.#format.roleOf(each);
      names.add(role.role === 'Metadata' ? role.name : each);
    }
    const rows: number[] = [];
    for (const name of names) {
      if (slices.over) await slices.yield();
      const row = this.#known.rowOf(name);
      if (row !== -1) rows.push(row);
      const kind = this.#root.statOf(name)?.kind;
      if (kind !== undefined) this.#sort(name, kind);
      const role = this.#format.roleOf(name);
      if (role.role === 'Entry' && this.#root.statOf(this.#format.metadataName(role.name)) !== undefined) this.#addNamed(role.name, hasMetadata);
    }
    this.#damaged.push(...snapshot.damaged.filter(({ name }) => !names.has(name)));
    this.#unrecognised.push(...snapshot.unrecognised.filter((name) => !names.has(name)));
    for (const { name, kind, changedAtMs } of snapshot.leftovers) {
      if (names.has(name) || kind === 'Trash') continue;
      // What changes inside a directory does not show in the root.
      if (kind === 'Ghost') this.#leftover(name, kind, changedAtMs);
      else this.#unfinished.push({ name, kind });
    }
    this.#met = this.#known.length + this.#others.length - rows.filter((row) => this.#knownBits[row] === 0).length;
    return rows;
  }

  #addNamed(name: EntryName, bits: number): void {
    const bytes = Buffer.from(name);
    this.#add(bits, bytes, 0, bytes.length);
  }

  #add(bits: number, name: Uint8Array, start: number, end: number, hash?: number): void {
    const row = this.#known.names.find(name, start, end, hash);
    if (row !== -1) {
      if (this.#knownBits[row] === 0) this.#met += 1;
      this.#knownBits[row]! |= bits;
      return;
    }
    let other = this.#others.find(name, start, end, hash);
    if (other === -1) {
      this.#met += 1;
      other = this.#others.length;
      this.#others.pushBytes(name, start, end);
      if (other === this.#otherBits.length) this.#otherBits = Buffer.concat([this.#otherBits], 2 * other);
    }
    this.#otherBits[other]! |= bits;
  }

  async #lookAtKnown(rows: Iterable<number>): Promise<void> {
    const { slices } = this.#options;
    let looked = 0;
    for (const row of rows) {
      const found = this.#knownBits[row]!;
      if (found === isWhole && (this.#isUnchanged(row) || this.#readPlain(this.#known.names, row, row))) {
        // A look at the clock costs as much as a look at a file.
        looked += 1;
        if (looked % 16 === 0 && slices.over) await slices.yield();
        continue;
      }
      this.#builder.drop(row);
      if (found !== 0) this.#look(this.#known.nameAt(row), found);
      await this.#pause();
    }
  }

  #isUnchanged(row: number): boolean {
    const { names } = this.#known;
    const settledAtMs = this.#options.previous?.settledAtMs ?? 0;
    return this.#files.lookAt(names.bytes, names.startOf(row), names.endOf(row)) && this.#files.stamp.changedSeconds * 1000 < settledAtMs && this.#known.hasStamp(row, this.#files.stamp);
  }

  async #lookAtOthers(): Promise<void> {
    for (let i = 0; i < this.#others.length; i += 1) {
      const found = this.#otherBits[i]!;
      if (found !== isWhole || !this.#readPlain(this.#others, i, undefined)) this.#look(this.#others.at(i) as EntryName, found);
      if (i % 8 === 0) await this.#pause();
    }
  }

  /** @param row the one that has been known of it @returns false where it has to be looked at closely */
  #readPlain(names: TextColumn, at: number, row: number | undefined): boolean {
    const raw = this.#raw;
    raw.names = names.bytes;
    raw.nameStart = names.startOf(at);
    raw.nameEnd = names.endOf(at);
    if (!this.#files.read(raw.names, raw.nameStart, raw.nameEnd, { stamped: this.#options.stamped !== false })) return false;
    if (!this.#format.readPlainMetadata(this.#files.bytes, this.#files.length, raw)) return false;
    raw.stamp = this.#files.stamp;
    this.#filesRead += 1;
    if (row === undefined) this.#builder.addRaw(raw);
    else this.#builder.replaceRaw(row, raw);
    return true;
  }
  readonly #raw: RawRow = {
    names: Buffer.alloc(0), nameStart: 0, nameEnd: 0, texts: Buffer.alloc(0), keyStart: 0, keyEnd: 0, descriptionStart: 0, descriptionEnd: 0,
    sizeBytes: 0, cachedAtMs: 0, lastAccessedAtMs: 0, stamp: { inodeLow: 0, inodeHigh: 0, changedSeconds: 0, changedNanoseconds: 0, size: 0 },
  };

  #look(name: EntryName, found: number): void {
    // An eviction in its last seconds, or one that crashed there: the next pass finishes it.
    if ((found & isLink) !== 0 && isEvictionLink(this.#root, name)) return;
    if ((found & hasMetadata) === 0) {
      if ((found & isDirectory) !== 0 && this.#format.looksLikeEntry(name)) this.#unfinished.push({ name, kind: 'Orphan' });
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
    else if (file.outcome === 'Read') this.#builder.add({ name, stamp: file.stamp, ...file.metadata });
    // Absent: evicted or replaced while we look. The next scan knows better.
  }

  async #pause(): Promise<void> {
    const { slices } = this.#options;
    if (!slices.over) return;
    this.#takeRoom();
    await slices.yield();
  }

  /** By now, before it is more than there is room for. */
  #takeRoom(): void {
    this.#options.room?.takeSoFar(this.#root.path, this.#foundSoFar);
  }

  get #foundSoFar(): { readonly entries: number; readonly others: number } {
    const others = this.#damaged.length + this.#leftovers.length + this.#unfinished.length + this.#unrecognised.length;
    return { entries: this.#met, others };
  }

  async #measureAge(name: string, kind: LeftoverKind): Promise<void> {
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
  return error instanceof OperatorError && error.code === 'ERR_DISK_IO' ? new OperatorError('ERR_ROOT_UNREADABLE', error.message, { cause: error.cause }) : error;
}
