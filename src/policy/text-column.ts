import { randomInt } from 'node:crypto';
import type { Steps } from './steps.ts';
import { stepMask } from './steps.ts';

type Column = Uint32Array<ArrayBuffer>;

/** Bytes one after another, in a buffer that only ever grows: what was written stays where it is. */
class ByteStore {
  bytes: Buffer<ArrayBuffer> = Buffer.from(new ArrayBuffer(256));
  used = 0;

  /** @returns where it begins */
  append(from: Uint8Array, start: number, end: number): number {
    // It is here already.
    if (from === this.bytes) return start;
    const at = this.reserve(end - start);
    // Most texts are short: a loop is faster than a view and a call.
    for (let i = start, to = at; i < end; i += 1, to += 1) this.bytes[to] = from[i]!;
    return at;
  }

  reserve(length: number): number {
    const at = this.used;
    this.used += length;
    if (this.used > this.bytes.length) this.#grow(this.used);
    return at;
  }

  /** Gives back what is not used. */
  trim(): void {
    if (isLoose(this.used, this.bytes.length)) this.bytes = Buffer.from(this.bytes.buffer.transfer(this.used));
  }

  /** Moved rather than copied: the old buffer goes now, not at the next collection. */
  #grow(least: number): void {
    this.bytes = Buffer.from(this.bytes.buffer.transfer(Math.max(least, roomFor(this.bytes.length))));
  }
}

/** By half, not twofold: what is reserved is written with zeros, and so is memory that is taken. */
const roomFor = (length: number): number => Math.max(16, Math.ceil(length * 1.5));

/** Whether enough is reserved in vain for a copy to pay. */
const isLoose = (used: number, reserved: number): boolean => used < reserved * 0.95;

/**
 * Texts by row, as UTF-8 outside the heap. A copy shares the bytes and has rows of its own, so that it costs little where few rows
 * differ.
 */
export class TextColumn {
  #store: ByteStore;
  #starts: Column;
  #ends: Column;
  #length: number;
  /** Row + 1 by hash, 0 where free; made when the first row is looked for. */
  #slots: Column | undefined;

  constructor(capacity = 16) {
    this.#store = new ByteStore();
    this.#starts = new Uint32Array(capacity);
    this.#ends = new Uint32Array(capacity);
    this.#length = 0;
  }

  get length(): number {
    return this.#length;
  }

  /** Where the texts lie; valid until the next text is written. */
  get bytes(): Uint8Array {
    return this.#store.bytes;
  }

  startOf(row: number): number {
    return this.#starts[row]!;
  }

  endOf(row: number): number {
    return this.#ends[row]!;
  }

  push(text: string): void {
    const start = this.#store.reserve(Buffer.byteLength(text));
    this.#store.bytes.write(text, start);
    this.#pushSpan(start, this.#store.used);
  }

  pushBytes(from: Uint8Array, start: number, end: number): void {
    const at = this.#store.append(from, start, end);
    this.#pushSpan(at, at + end - start);
  }

  /** Where the text is the one that stands there already, it is not kept twice. */
  setBytes(row: number, from: Uint8Array, start: number, end: number): void {
    if (this.#isAt(row, from, start, end)) return;
    const at = this.#store.append(from, start, end);
    this.#starts[row] = at;
    this.#ends[row] = at + end - start;
    this.#slots = undefined;
  }

  /** The last row takes the place of this one. */
  remove(row: number): void {
    this.#length -= 1;
    this.#starts[row] = this.#starts[this.#length]!;
    this.#ends[row] = this.#ends[this.#length]!;
    this.#slots = undefined;
  }

  /** Gives back what was reserved for more. */
  trim(): void {
    this.#store.trim();
    if (isLoose(this.#length, this.#starts.length)) [this.#starts, this.#ends] = [resized(this.#starts, this.#length), resized(this.#ends, this.#length)];
  }

  /** Without rows, but where the bytes of this one are at hand. */
  emptyCopy(): TextColumn {
    const copy = new TextColumn();
    copy.#store = this.#store;
    return copy;
  }

  /** For a column that nobody asks any more: the memory of its rows goes now, not at the next collection. The bytes may be another's, too. */
  freeRows(): void {
    for (const column of [this.#starts, this.#ends, this.#slots]) if (column !== undefined) free(column);
    this.#slots = undefined;
    this.#length = 0;
  }

  copy(): TextColumn {
    const copy = new TextColumn(0);
    // What was removed and replaced leaves its bytes behind; once that is most of them, they are left behind, too.
    const lean = this.#store.used > 2 * this.#usedBytes() + 65_536;
    copy.#store = lean ? new ByteStore() : this.#store;
    copy.#starts = this.#starts.slice();
    copy.#ends = this.#ends.slice();
    copy.#length = this.#length;
    copy.#slots = this.#slots?.slice();
    if (lean) copy.#takeOver(this.#store.bytes);
    return copy;
  }

  /** The column as bytes: where each text starts, where it ends, and the texts. */
  pieces(): Uint8Array[] {
    const spans = [this.#starts, this.#ends].map((column) => new Uint8Array(column.buffer, column.byteOffset, this.#length * column.BYTES_PER_ELEMENT));
    return [...spans, this.#store.bytes.subarray(0, this.#store.used)];
  }

  get usedBytes(): number {
    return this.#store.used;
  }

  /** To be filled through `pieces`. */
  static blank(length: number, usedBytes: number): TextColumn {
    const blank = new TextColumn(length);
    blank.#length = length;
    blank.#store.reserve(usedBytes);
    return blank;
  }

  get isSound(): boolean {
    for (let row = 0; row < this.#length; row += 1) if (this.#starts[row]! > this.#ends[row]! || this.#ends[row]! > this.#store.used) return false;
    return true;
  }

  at(row: number): string {
    return this.#store.bytes.toString('utf8', this.#starts[row]!, this.#ends[row]!);
  }

  isEmptyAt(row: number): boolean {
    return this.#starts[row]! === this.#ends[row]!;
  }

  /** @returns the row with this text, or -1; with several, any */
  find(from: Uint8Array, start: number, end: number, hash = hashOf(from, start, end)): number {
    this.#slots ??= this.#index();
    const mask = this.#slots.length - 1;
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const row = this.#slots[slot]! - 1;
      if (row === -1 || this.#isAt(row, from, start, end)) return row;
    }
  }

  /** @returns below, above or equal to 0 */
  compare(row: number, other: TextColumn, otherRow: number): number {
    const [bytes, otherBytes] = [this.#store.bytes, other.#store.bytes];
    const [start, otherStart] = [this.#starts[row]!, other.#starts[otherRow]!];
    const [length, otherLength] = [this.#ends[row]! - start, other.#ends[otherRow]! - otherStart];
    const shorter = Math.min(length, otherLength);
    for (let i = 0; i < shorter; i += 1) {
      const difference = bytes[start + i]! - otherBytes[otherStart + i]!;
      if (difference !== 0) return difference;
    }
    return length - otherLength;
  }

  /** The rows below `length` that have one of the texts. Reads no text but those that end like one of them. */
  *rowsOf(texts: Iterable<string>, length: number): Steps<Uint32Array> {
    const byEnd = new Map<number, Set<string>>();
    for (const text of texts) {
      const bytes = Buffer.from(text);
      const end = lastBytes(bytes, 0, bytes.length);
      byEnd.set(end, (byEnd.get(end) ?? new Set()).add(text));
    }
    const rows: number[] = [];
    for (let row = 0; row < length && byEnd.size > 0; row += 1) {
      if ((row & stepMask) === stepMask) yield;
      const alike = byEnd.get(lastBytes(this.#store.bytes, this.#starts[row]!, this.#ends[row]!));
      if (alike !== undefined && alike.has(this.at(row))) rows.push(row);
    }
    return Uint32Array.from(rows);
  }

  #pushSpan(start: number, end: number): void {
    const row = this.#length;
    if (row === this.#starts.length) [this.#starts, this.#ends] = [resized(this.#starts, roomFor(row)), resized(this.#ends, roomFor(row))];
    this.#starts[row] = start;
    this.#ends[row] = end;
    this.#length = row + 1;
    if (this.#slots === undefined) return;
    // Three quarters full at most: what is absent is found to be so after a few steps.
    if (this.#length * 4 <= this.#slots.length * 3) return this.#occupy(this.#slots, row);
    free(this.#slots);
    this.#slots = this.#index();
  }

  #isAt(row: number, from: Uint8Array, start: number, end: number): boolean {
    const at = this.#starts[row]!;
    const length = end - start;
    if (this.#ends[row]! - at !== length) return false;
    const { bytes } = this.#store;
    for (let i = 0; i < length; i += 1) if (bytes[at + i] !== from[start + i]) return false;
    return true;
  }

  #index(): Column {
    let size = 32;
    while (size < this.#length * 2) size *= 2;
    const slots = new Uint32Array(size);
    for (let row = 0; row < this.#length; row += 1) this.#occupy(slots, row);
    return slots;
  }

  #occupy(slots: Uint32Array, row: number): void {
    const mask = slots.length - 1;
    let slot = hashOf(this.#store.bytes, this.#starts[row]!, this.#ends[row]!) & mask;
    while (slots[slot] !== 0) slot = (slot + 1) & mask;
    slots[slot] = row + 1;
  }

  #usedBytes(): number {
    let bytes = 0;
    for (let row = 0; row < this.#length; row += 1) bytes += this.#ends[row]! - this.#starts[row]!;
    return bytes;
  }

  #takeOver(bytes: Uint8Array): void {
    for (let row = 0; row < this.#length; row += 1) {
      const start = this.#store.append(bytes, this.#starts[row]!, this.#ends[row]!);
      this.#starts[row] = start;
      this.#ends[row] = this.#store.used;
    }
  }
}

/** Another one in each process, so that nobody can choose names that all meet in one slot. Nothing but speed depends on it. */
const seed = randomInt(2 ** 32);

/** FNV-1a, 32 bits. */
export function hashOf(bytes: Uint8Array, start: number, end: number): number {
  let hash = firstHash;
  for (let i = start; i < end; i += 1) hash = nextHash(hash, bytes[i]!);
  return hash;
}

/** For who reads the bytes anyway. */
export const firstHash = seed | 0;
export function nextHash(hash: number, byte: number): number {
  return Math.imul(hash ^ byte, 0x01000193);
}

/** The last three bytes as a number. Names of one format begin alike, and end in a digest. */
function lastBytes(bytes: Uint8Array, start: number, end: number): number {
  let number = 0;
  for (let i = Math.max(start, end - 3); i < end; i += 1) number = number * 256 + bytes[i]!;
  return number;
}

function resized(column: Column, length: number): Column {
  return new Uint32Array(column.buffer.transfer(length * column.BYTES_PER_ELEMENT));
}

/** Now, and not at the next collection, which does not know how large it is. */
function free(column: Column): void {
  column.buffer.transfer(0);
}
