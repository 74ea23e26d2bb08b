import type { Entry, EntryName, MetadataStamp } from './snapshot.ts';

/** One row as it is put in: times as the metadata says them, which may lie ahead of our clock. */
export interface EntryRow {
  readonly name: EntryName;
  readonly key: string;
  readonly description: string;
  readonly sizeBytes: number;
  readonly cachedAtMs: number;
  readonly lastAccessedAtMs: number;
  readonly stamp: MetadataStamp;
}

/**
 * The entries of one snapshot, in columns outside the heap: 100,000 of them as objects would cost the agent more memory than it
 * has. Never changes once made; a row becomes an `Entry` only when somebody asks for it.
 */
export class EntryTable implements Iterable<Entry> {
  readonly length: number;
  /** Times later than this are read as used now. */
  readonly takenAtMs: number;
  readonly sizeBytes: Float64Array;
  /** As the metadata says it. */
  readonly cachedAtMs: Float64Array;
  /** As the metadata says it. */
  readonly lastAccessedAtMs: Float64Array;
  readonly #names: TextColumn;
  readonly #keys: TextColumn;
  readonly #descriptions: TextColumn;
  readonly #inodes: BigUint64Array;
  readonly #changedNs: BigInt64Array;
  readonly #sizes: Uint32Array;

  /** @internal by EntryTableBuilder */
  constructor(rows: Columns, length: number, takenAtMs: number) {
    this.length = length;
    this.takenAtMs = takenAtMs;
    this.sizeBytes = rows.sizeBytes.subarray(0, length);
    this.cachedAtMs = rows.cachedAtMs.subarray(0, length);
    this.lastAccessedAtMs = rows.lastAccessedAtMs.subarray(0, length);
    this.#names = rows.names;
    this.#keys = rows.keys;
    this.#descriptions = rows.descriptions;
    this.#inodes = rows.inodes;
    this.#changedNs = rows.changedNs;
    this.#sizes = rows.sizes;
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
      description: this.#descriptions.at(row),
      sizeBytes: this.sizeBytes[row]!,
      cachedAtMs: Math.min(this.cachedAtMs[row]!, this.takenAtMs),
      lastAccessedAtMs: Math.min(lastAccessedAtMs, this.takenAtMs),
      clockAhead: lastAccessedAtMs > this.takenAtMs,
      stamp: this.stampAt(row),
    };
  }

  nameAt(row: number): EntryName {
    return this.#names.at(row) as EntryName;
  }

  keyAt(row: number): string {
    return this.#keys.at(row) || this.#names.at(row);
  }

  descriptionAt(row: number): string {
    return this.#descriptions.at(row);
  }

  /** By the bytes of their keys. @returns below, above or equal to 0 */
  compareKeys(a: number, b: number): number {
    return this.#keyColumn(a).compare(a, this.#keyColumn(b), b);
  }

  /** Rows that have one of the names. */
  rowsNamed(names: Iterable<EntryName>): Uint32Array {
    return this.#names.rowsOf(names, this.length);
  }

  /** Rows that have one of the keys. */
  rowsKeyed(keys: readonly string[]): Uint32Array {
    const namedAlike = this.#names.rowsOf(keys, this.length).filter((row) => this.#keys.isEmptyAt(row));
    return Uint32Array.from([...namedAlike, ...this.#keys.rowsOf(keys, this.length)]);
  }

  /** Rows that have one of the descriptions. */
  rowsDescribed(descriptions: Iterable<string>): Uint32Array {
    return this.#descriptions.rowsOf(descriptions, this.length);
  }

  stampAt(row: number): MetadataStamp {
    return { inode: this.#inodes[row]!, changedNs: this.#changedNs[row]!, size: this.#sizes[row]! };
  }

  *[Symbol.iterator](): Generator<Entry, void, undefined> {
    for (let row = 0; row < this.length; row += 1) yield this.at(row);
  }

  #keyColumn(row: number): TextColumn {
    return this.#keys.isEmptyAt(row) ? this.#names : this.#keys;
  }

  /** The same rows but those; itself where none is among them. */
  without(names: ReadonlySet<EntryName>): EntryTable {
    if (names.size === 0) return this;
    const builder = new EntryTableBuilder();
    for (let row = 0; row < this.length; row += 1) if (!names.has(this.nameAt(row))) builder.copy(this, row);
    return builder.build(this.takenAtMs);
  }
}

/** Collects the rows of a table. Use once. */
export class EntryTableBuilder {
  #rows = new Columns(16);
  #length = 0;

  add({ name, key, description, sizeBytes, cachedAtMs, lastAccessedAtMs, stamp }: EntryRow): void {
    const row = this.#next();
    // What is called by its name is kept once.
    this.#texts(name, key === name ? '' : key, description);
    this.#rows.sizeBytes[row] = sizeBytes;
    this.#rows.cachedAtMs[row] = cachedAtMs;
    this.#rows.lastAccessedAtMs[row] = lastAccessedAtMs;
    this.#rows.inodes[row] = stamp.inode;
    this.#rows.changedNs[row] = stamp.changedNs;
    this.#rows.sizes[row] = stamp.size;
  }

  /** A row of another table. */
  copy(from: EntryTable, row: number): void {
    this.add({
      name: from.nameAt(row), key: from.keyAt(row), description: from.descriptionAt(row), sizeBytes: from.sizeBytes[row]!,
      cachedAtMs: from.cachedAtMs[row]!, lastAccessedAtMs: from.lastAccessedAtMs[row]!, stamp: from.stampAt(row),
    });
  }

  build(takenAtMs: number): EntryTable {
    return new EntryTable(this.#rows, this.#length, takenAtMs);
  }

  #texts(name: string, key: string, description: string): void {
    this.#rows.names.push(name);
    this.#rows.keys.push(key);
    this.#rows.descriptions.push(description);
  }

  #next(): number {
    if (this.#length === this.#rows.capacity) this.#rows = this.#rows.grown();
    this.#length += 1;
    return this.#length - 1;
  }
}

class Columns {
  readonly capacity: number;
  readonly sizeBytes: Float64Array;
  readonly cachedAtMs: Float64Array;
  readonly lastAccessedAtMs: Float64Array;
  readonly inodes: BigUint64Array;
  readonly changedNs: BigInt64Array;
  readonly sizes: Uint32Array;
  readonly names: TextColumn;
  readonly keys: TextColumn;
  readonly descriptions: TextColumn;

  constructor(capacity: number, texts = [new TextColumn(), new TextColumn(), new TextColumn()] as const) {
    this.capacity = capacity;
    this.sizeBytes = new Float64Array(capacity);
    this.cachedAtMs = new Float64Array(capacity);
    this.lastAccessedAtMs = new Float64Array(capacity);
    this.inodes = new BigUint64Array(capacity);
    this.changedNs = new BigInt64Array(capacity);
    this.sizes = new Uint32Array(capacity);
    [this.names, this.keys, this.descriptions] = texts;
  }

  grown(): Columns {
    const larger = new Columns(this.capacity * 2, [this.names, this.keys, this.descriptions]);
    larger.sizeBytes.set(this.sizeBytes);
    larger.cachedAtMs.set(this.cachedAtMs);
    larger.lastAccessedAtMs.set(this.lastAccessedAtMs);
    larger.inodes.set(this.inodes);
    larger.changedNs.set(this.changedNs);
    larger.sizes.set(this.sizes);
    return larger;
  }
}

/** Texts one after another in one buffer of UTF-8. */
class TextColumn {
  #bytes = Buffer.allocUnsafeSlow(256);
  #ends = new Uint32Array(16);
  #length = 0;

  push(text: string): void {
    if (this.#length === this.#ends.length) this.#ends = grown(this.#ends);
    const start = this.#startOf(this.#length);
    const end = start + Buffer.byteLength(text);
    if (end > this.#bytes.length) this.#reserve(end);
    this.#bytes.write(text, start);
    this.#ends[this.#length] = end;
    this.#length += 1;
  }

  at(row: number): string {
    return this.#bytes.toString('utf8', this.#startOf(row), this.#ends[row]!);
  }

  isEmptyAt(row: number): boolean {
    return this.#startOf(row) === this.#ends[row]!;
  }

  /** @returns below, above or equal to 0 */
  compare(row: number, other: TextColumn, otherRow: number): number {
    const [start, otherStart] = [this.#startOf(row), other.#startOf(otherRow)];
    const [length, otherLength] = [this.#ends[row]! - start, other.#ends[otherRow]! - otherStart];
    const shorter = Math.min(length, otherLength);
    for (let i = 0; i < shorter; i += 1) {
      const difference = this.#bytes[start + i]! - other.#bytes[otherStart + i]!;
      if (difference !== 0) return difference;
    }
    return length - otherLength;
  }

  /** The rows below `length` that have one of the texts. Reads no text but those that end like one of them. */
  rowsOf(texts: Iterable<string>, length: number): Uint32Array {
    const byEnd = new Map<number, Set<string>>();
    for (const text of texts) {
      const bytes = Buffer.from(text);
      const end = lastBytes(bytes, 0, bytes.length);
      byEnd.set(end, (byEnd.get(end) ?? new Set()).add(text));
    }
    const rows: number[] = [];
    for (let row = 0; row < length && byEnd.size > 0; row += 1) {
      const alike = byEnd.get(lastBytes(this.#bytes, this.#startOf(row), this.#ends[row]!));
      if (alike !== undefined && alike.has(this.at(row))) rows.push(row);
    }
    return Uint32Array.from(rows);
  }

  #startOf(row: number): number {
    return row === 0 ? 0 : this.#ends[row - 1]!;
  }

  #reserve(bytes: number): void {
    const larger = Buffer.allocUnsafeSlow(Math.max(bytes, this.#bytes.length * 2));
    larger.set(this.#bytes);
    this.#bytes = larger;
  }
}

/** The last three bytes as a number. Names of one format begin alike, and end in a digest. */
function lastBytes(bytes: Uint8Array, start: number, end: number): number {
  let number = 0;
  for (let i = Math.max(start, end - 3); i < end; i += 1) number = number * 256 + bytes[i]!;
  return number;
}

function grown(column: Uint32Array): Uint32Array<ArrayBuffer> {
  const larger = new Uint32Array(column.length * 2);
  larger.set(column);
  return larger;
}
