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
  readonly #mtimesNs: BigInt64Array;
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
    this.#mtimesNs = rows.mtimesNs;
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

  stampAt(row: number): MetadataStamp {
    return { inode: this.#inodes[row]!, mtimeNs: this.#mtimesNs[row]!, size: this.#sizes[row]! };
  }

  *[Symbol.iterator](): Generator<Entry, void, undefined> {
    for (let row = 0; row < this.length; row += 1) yield this.at(row);
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
    this.#rows.mtimesNs[row] = stamp.mtimeNs;
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
  readonly mtimesNs: BigInt64Array;
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
    this.mtimesNs = new BigInt64Array(capacity);
    this.sizes = new Uint32Array(capacity);
    [this.names, this.keys, this.descriptions] = texts;
  }

  grown(): Columns {
    const larger = new Columns(this.capacity * 2, [this.names, this.keys, this.descriptions]);
    larger.sizeBytes.set(this.sizeBytes);
    larger.cachedAtMs.set(this.cachedAtMs);
    larger.lastAccessedAtMs.set(this.lastAccessedAtMs);
    larger.inodes.set(this.inodes);
    larger.mtimesNs.set(this.mtimesNs);
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
    const start = this.#length === 0 ? 0 : this.#ends[this.#length - 1]!;
    const end = start + Buffer.byteLength(text);
    if (end > this.#bytes.length) this.#reserve(end);
    this.#bytes.write(text, start);
    this.#ends[this.#length] = end;
    this.#length += 1;
  }

  at(row: number): string {
    return this.#bytes.toString('utf8', row === 0 ? 0 : this.#ends[row - 1]!, this.#ends[row]!);
  }

  #reserve(bytes: number): void {
    const larger = Buffer.allocUnsafeSlow(Math.max(bytes, this.#bytes.length * 2));
    larger.set(this.#bytes);
    this.#bytes = larger;
  }
}

function grown(column: Uint32Array): Uint32Array<ArrayBuffer> {
  const larger = new Uint32Array(column.length * 2);
  larger.set(column);
  return larger;
}
