import { constants, readFileSync } from 'node:fs';
import type { Dir } from '../../disk/dir.ts';
import { writeFileAtomically } from '../../disk/small-file.ts';

/** What is remembered of one entry between two looks. Times that are compared with the disk in µs, which a double holds exactly. */
export interface Remembered {
  readonly inode: number;
  readonly modifiedUs: number;
  readonly changedUs: number;
  readonly allocatedBytes: number;
  /** The newest mtime of anything inside. */
  readonly newestUs: number;
  /** When anything inside was last written, made or removed. */
  readonly writtenUs: number;
  /** Files and folders, the entry itself included. */
  readonly names: number;
  /** When all of it was last looked through; 0 where this process has not done so and does not believe what was saved. */
  readonly measuredAtMs: number;
  /** When it was last seen in use; 0 for never. */
  readonly usedAtMs: number;
  readonly bornAtMs: number;
  readonly flags: number;
}

const columns = ['inode', 'modifiedUs', 'changedUs', 'allocatedBytes', 'newestUs', 'writtenUs', 'names', 'measuredAtMs', 'usedAtMs', 'bornAtMs', 'flags'] as const;
const width = columns.length;

const formatVersion = 1;
const fileName = 'measures';
const tempName = 'measures.new';
/** 150 bytes an entry: 400,000 of them. A file that is larger is none of ours. */
const maxFileBytes = 64 * 1024 * 1024;
const pieceLength = 64 * 1024;

/**
 * What a cache of plain files and folders is too dear to ask anew at every look: sizes, and when an entry was last seen in use, which
 * nothing on the disk says. In columns: 100,000 entries take 8 MB and their names.
 */
export class DirectoryMemory {
  readonly #rows = new Map<string, number>();
  #cells = new Float64Array(16 * width);
  readonly #free: number[] = [];

  get size(): number {
    return this.#rows.size;
  }

  /** Those that were measured longest ago first. */
  get names(): Iterable<string> {
    return this.#rows.keys();
  }

  /** A view that the next change of the memory may change. */
  get(name: string): Remembered | undefined {
    const row = this.#rows.get(name);
    return row === undefined ? undefined : new RememberedRow(this.#cells, row * width);
  }

  /** Measured last, and so the last in the order of `names`. */
  set(name: string, remembered: Remembered): void {
    const row = this.#rows.get(name) ?? this.#take(name);
    this.#rows.delete(name);
    this.#rows.set(name, row);
    for (const [at, column] of columns.entries()) this.#cells[row * width + at] = remembered[column];
  }

  /** Also of an entry that is not known: all else of it is learnt at the next look. */
  used(name: string, atMs: number): void {
    const row = this.#rows.get(name) ?? this.#take(name);
    this.#cells[row * width + columns.indexOf('usedAtMs')] = atMs;
  }

  /** All but when it was last used, which nothing but this memory says. */
  forgetMeasure(name: string): void {
    const usedAtMs = this.get(name)?.usedAtMs ?? 0;
    this.delete(name);
    if (usedAtMs > 0) this.used(name, usedAtMs);
  }

  delete(name: string): void {
    const row = this.#rows.get(name);
    if (row === undefined) return;
    this.#rows.delete(name);
    this.#free.push(row);
  }

  #take(name: string): number {
    const row = this.#free.pop() ?? this.#rows.size;
    if ((row + 1) * width > this.#cells.length) {
      const larger = new Float64Array(this.#cells.length * 2);
      larger.set(this.#cells);
      this.#cells = larger;
    }
    this.#cells.fill(0, row * width, (row + 1) * width);
    this.#rows.set(name, row);
    return row;
  }

  /**
   * Reads what an agent before this one knew. What cannot be read is not known; then it is asked anew.
   * @param options most: of so many entries at most; isMeasured: false where its figures are not to be believed, but for when an entry was used
   */
  load(own: Dir, { most = Infinity, isMeasured = true }: { most?: number | undefined; isMeasured?: boolean } = {}): void {
    for (const line of linesOf(own)) {
      if (this.size === most) return;
      const row = parsed(line);
      if (row === undefined) continue;
      this.set(...row);
      if (!isMeasured) this.#cells[this.#rows.get(row[0])! * width + columns.indexOf('measuredAtMs')] = 0;
    }
  }

  /** @throws ERR_DISK_IO, ERR_DISK_FULL; then what was saved before stands */
  save(own: Dir): void {
    // Left by a crash.
    own.unlink(tempName);
    writeFileAtomically(own, { name: fileName, tempName, content: this.#pieces(), mode: 0o600 });
  }

  *#pieces(): Generator<string> {
    let piece = `${JSON.stringify({ formatVersion })}\n`;
    for (const [name, row] of this.#rows) {
      const { names, usedAtMs } = new RememberedRow(this.#cells, row * width);
      // Of a file that was never seen in use the disk says all there is.
      if (names > 1 || usedAtMs > 0) piece += `${JSON.stringify([name, ...this.#cells.subarray(row * width, (row + 1) * width)])}\n`;
      if (piece.length < pieceLength) continue;
      yield piece;
      piece = '';
    }
    yield piece;
  }
}

/** The lines after the first, if that one says that they are ours. */
function* linesOf(own: Dir): Generator<string> {
  const file = own.openFileOrErrno(fileName, constants.O_RDONLY | constants.O_NONBLOCK);
  if (typeof file === 'number') return;
  using opened = file;
  const { kind, sizeBytes } = opened.stat();
  if (kind !== 'File' || sizeBytes > maxFileBytes) return;
  const bytes = readFileSync(opened.fd);
  let start = bytes.indexOf('\n') + 1;
  if (start === 0 || bytes.toString('utf8', 0, start - 1) !== JSON.stringify({ formatVersion })) return;
  for (let end = bytes.indexOf('\n', start); end !== -1; end = bytes.indexOf('\n', start)) {
    yield bytes.toString('utf8', start, end);
    start = end + 1;
  }
}

function parsed(line: string): [string, Remembered] | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (!Array.isArray(value) || value.length !== width + 1 || typeof value[0] !== 'string') return undefined;
  const cells = value.slice(1) as unknown[];
  if (!cells.every((cell) => Number.isFinite(cell))) return undefined;
  return [value[0], new RememberedRow(cells as number[], 0)];
}

/** One row, without a copy: there may be 100,000 of them, looked at every minute. */
class RememberedRow implements Remembered {
  readonly #cells: ArrayLike<number>;
  readonly #at: number;

  constructor(cells: ArrayLike<number>, at: number) {
    this.#cells = cells;
    this.#at = at;
  }

  get inode(): number {
    return this.#cells[this.#at + 0]!;
  }

  get modifiedUs(): number {
    return this.#cells[this.#at + 1]!;
  }

  get changedUs(): number {
    return this.#cells[this.#at + 2]!;
  }

  get allocatedBytes(): number {
    return this.#cells[this.#at + 3]!;
  }

  get newestUs(): number {
    return this.#cells[this.#at + 4]!;
  }

  get writtenUs(): number {
    return this.#cells[this.#at + 5]!;
  }

  get names(): number {
    return this.#cells[this.#at + 6]!;
  }

  get measuredAtMs(): number {
    return this.#cells[this.#at + 7]!;
  }

  get usedAtMs(): number {
    return this.#cells[this.#at + 8]!;
  }

  get bornAtMs(): number {
    return this.#cells[this.#at + 9]!;
  }

  get flags(): number {
    return this.#cells[this.#at + 10]!;
  }
}
