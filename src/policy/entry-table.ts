import type { StampWords } from './entry-columns.ts';
import { Columns, stampWords } from './entry-columns.ts';
import type { Entry, EntryName, MetadataStamp } from './snapshot.ts';
import type { Steps } from './steps.ts';
import type { TextColumn } from './text-column.ts';

/** One row as it is put in: times as the metadata says them, which may lie ahead of our clock. */
export type EntryRow = Omit<Entry, 'clockAhead'>;

/** A row whose texts still lie in the bytes they were read from. One object, filled anew for each row. */
export interface RawRow {
  names: Uint8Array;
  nameStart: number;
  nameEnd: number;
  /** Where key and description lie. The key is empty where it is the name. */
  texts: Uint8Array;
  keyStart: number;
  keyEnd: number;
  descriptionStart: number;
  descriptionEnd: number;
  sizeBytes: number;
  cachedAtMs: number;
  lastAccessedAtMs: number;
  stamp: StampWords;
}

/**
 * The entries of one snapshot, in columns outside the heap: 100,000 of them as objects would cost the agent more memory than it
 * has. Never changes once made; a row becomes an `Entry` only when somebody asks for it.
 */
export class EntryTable implements Iterable<Entry> {
  /** Times later than this are read as used now. */
  readonly takenAtMs: number;
  /** @internal of EntryTableBuilder */
  readonly columns: Columns;
  #length: number;
  #sizeBytes: Float64Array;
  #cachedAtMs: Float64Array;
  #lastAccessedAtMs: Float64Array;

  /** @internal by EntryTableBuilder */
  constructor(columns: Columns, takenAtMs: number) {
    this.takenAtMs = takenAtMs;
    this.columns = columns;
    this.#length = columns.length;
    this.#sizeBytes = columns.sizeBytes.subarray(0, this.#length);
    this.#cachedAtMs = columns.cachedAtMs.subarray(0, this.#length);
    this.#lastAccessedAtMs = columns.lastAccessedAtMs.subarray(0, this.#length);
  }

  get length(): number {
    return this.#length;
  }

  get sizeBytes(): Float64Array {
    return this.#sizeBytes;
  }

  /** As the metadata says it. */
  get cachedAtMs(): Float64Array {
    return this.#cachedAtMs;
  }

  /** As the metadata says it. */
  get lastAccessedAtMs(): Float64Array {
    return this.#lastAccessedAtMs;
  }

  /**
   * For whoever made the table and has another one by now: has no rows any more, and the memory goes now. Left to the collector, which
   * does not see how much it is, 100,000 rows that change every second would take 40 MiB more.
   */
  release(): void {
    this.#length = 0;
    [this.#sizeBytes, this.#cachedAtMs, this.#lastAccessedAtMs] = [none, none, none];
    this.columns.free();
  }

  static of(rows: Iterable<EntryRow>, takenAtMs: number): EntryTable {
    const builder = new EntryTableBuilder();
    for (const row of rows) builder.add(row);
    return builder.build(takenAtMs);
  }

  /** @throws RangeError outside 0 to length − 1 */
  at(row: number): Entry {
    if (!(row >= 0 && row < this.length)) throw new RangeError(`there is no row ${row} of ${this.length}`);
    const lastAccessedAtMs = this.lastAccessedAtMs[row]!;
    return {
      name: this.nameAt(row),
      key: this.keyAt(row),
      description: this.descriptionAt(row),
      sizeBytes: this.sizeBytes[row]!,
      cachedAtMs: Math.min(this.cachedAtMs[row]!, this.takenAtMs),
      lastAccessedAtMs: Math.min(lastAccessedAtMs, this.takenAtMs),
      clockAhead: lastAccessedAtMs > this.takenAtMs,
      stamp: this.stampAt(row),
    };
  }

  nameAt(row: number): EntryName {
    return this.columns.names.at(row) as EntryName;
  }

  /** Where the names lie, for who compares them byte by byte. */
  get names(): TextColumn {
    return this.columns.names;
  }

  keyAt(row: number): string {
    return this.#keyColumn(row).at(row);
  }

  descriptionAt(row: number): string {
    return this.columns.descriptions.at(row);
  }

  stampAt(row: number): MetadataStamp {
    const { inodes, changedSeconds, changedNanoseconds, fileSizes } = this.columns;
    return {
      inode: (BigInt(inodes[2 * row + 1]!) << 32n) | BigInt(inodes[2 * row]!),
      changedNs: BigInt(changedSeconds[row]!) * 1_000_000_000n + BigInt(changedNanoseconds[row]!),
      size: fileSizes[row]!,
    };
  }

  /** Whether the row was read from the very file that has this stamp. */
  hasStamp(row: number, stamp: StampWords): boolean {
    const { inodes, changedSeconds, changedNanoseconds, fileSizes } = this.columns;
    return (
      changedNanoseconds[row] === stamp.changedNanoseconds && changedSeconds[row] === stamp.changedSeconds &&
      inodes[2 * row] === stamp.inodeLow && inodes[2 * row + 1] === stamp.inodeHigh && fileSizes[row] === stamp.size
    );
  }

  /** @returns -1 where no row has the name */
  rowOf(name: string): number {
    const bytes = Buffer.from(name);
    return this.columns.names.find(bytes, 0, bytes.length);
  }

  /** By the bytes of their keys. @returns below, above or equal to 0 */
  compareKeys(a: number, b: number): number {
    return this.#keyColumn(a).compare(a, this.#keyColumn(b), b);
  }

  /** Rows that have one of the names. */
  rowsNamed(names: Iterable<EntryName>): Steps<Uint32Array> {
    return this.columns.names.rowsOf(names, this.length);
  }

  /** Rows that have one of the keys. */
  *rowsKeyed(keys: readonly string[]): Steps<Uint32Array> {
    const namedAlike = (yield* this.columns.names.rowsOf(keys, this.length)).filter((row) => this.columns.keys.isEmptyAt(row));
    return Uint32Array.from([...namedAlike, ...(yield* this.columns.keys.rowsOf(keys, this.length))]);
  }

  /** Rows that have one of the descriptions. */
  rowsDescribed(descriptions: Iterable<string>): Steps<Uint32Array> {
    return this.columns.descriptions.rowsOf(descriptions, this.length);
  }

  *[Symbol.iterator](): Generator<Entry, void, undefined> {
    for (let row = 0; row < this.length; row += 1) yield this.at(row);
  }

  #keyColumn(row: number): TextColumn {
    return this.columns.keys.isEmptyAt(row) ? this.columns.names : this.columns.keys;
  }

  /** The same rows but those; itself where none is among them. */
  *without(names: ReadonlySet<EntryName>): Steps<EntryTable> {
    if (names.size === 0) return this;
    const rows = yield* this.rowsNamed(names);
    const builder = new EntryTableBuilder(this);
    for (const row of rows) builder.drop(row);
    yield;
    return builder.build(this.takenAtMs);
  }
}

const none = new Float64Array(0);

/** Makes a table, anew or from another one. Use once. */
export class EntryTableBuilder {
  readonly #base: EntryTable | undefined;
  readonly #more: number;
  readonly #dropped: number[] = [];
  #columns: Columns;

  /**
   * @param base whose rows are there from the start, under their numbers. It stays as it is.
   * @param more how many rows are expected beside them
   * @param names where their names lie: those of raw rows are not copied from there
   */
  constructor(base?: EntryTable, more = 16, names?: TextColumn) {
    this.#base = base;
    this.#more = more;
    this.#columns = base?.columns ?? new Columns(more);
    if (base === undefined && names !== undefined) this.#columns.names = names.emptyCopy();
  }

  add({ name, key, description, sizeBytes, cachedAtMs, lastAccessedAtMs, stamp }: EntryRow): void {
    const columns = this.#writable();
    const row = columns.next();
    columns.names.push(name);
    // What is called by its name is kept once.
    columns.keys.push(key === name ? '' : key);
    columns.descriptions.push(description);
    columns.set(row, sizeBytes, cachedAtMs, lastAccessedAtMs, stampWords(stamp));
  }

  addRaw(raw: RawRow): void {
    const columns = this.#writable();
    const row = columns.next();
    columns.names.pushBytes(raw.names, raw.nameStart, raw.nameEnd);
    columns.keys.pushBytes(raw.texts, raw.keyStart, raw.keyEnd);
    columns.descriptions.pushBytes(raw.texts, raw.descriptionStart, raw.descriptionEnd);
    columns.set(row, raw.sizeBytes, raw.cachedAtMs, raw.lastAccessedAtMs, raw.stamp);
  }

  /** The name stays. */
  replaceRaw(row: number, raw: RawRow): void {
    const columns = this.#writable();
    columns.keys.setBytes(row, raw.texts, raw.keyStart, raw.keyEnd);
    columns.descriptions.setBytes(row, raw.texts, raw.descriptionStart, raw.descriptionEnd);
    columns.set(row, raw.sizeBytes, raw.cachedAtMs, raw.lastAccessedAtMs, raw.stamp);
  }

  /** All other rows keep their numbers until the table is made. */
  drop(row: number): void {
    this.#dropped.push(row);
  }

  build(takenAtMs: number): EntryTable {
    // From behind: what takes the place of a dropped row is not itself one.
    for (const row of this.#dropped.toSorted((a, b) => b - a)) this.#writable().remove(row);
    if (this.#columns !== this.#base?.columns) this.#columns.trim();
    return new EntryTable(this.#columns, takenAtMs);
  }

  #writable(): Columns {
    if (this.#columns === this.#base?.columns) this.#columns = this.#columns.copy(this.#more);
    return this.#columns;
  }
}
