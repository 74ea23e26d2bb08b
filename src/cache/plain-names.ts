import { firstHash, nextHash } from '../policy/text-column.ts';
import type { StoreFormat } from './formats/format.ts';

/**
 * Tells names apart by their bytes, where they are as plain as nearly all are: `roleOf` for 300,000 names a scan without a text for
 * each. What it does not know is no verdict, but left to `roleOf`.
 */
export class PlainNames {
  /** Of the name looked at last: where the entry's own name ends, and its hash. */
  end = 0;
  hash = 0;
  readonly #metadata: Buffer;
  readonly #lock: Buffer;
  readonly #lockEnd: number;
  /** A longer one may be none of an entry. */
  readonly #maxLength: number;

  constructor({ metadataSuffix, lockSuffix }: Pick<StoreFormat, 'metadataSuffix' | 'lockSuffix'>) {
    this.#metadata = Buffer.from(metadataSuffix);
    this.#lock = Buffer.from(lockSuffix);
    this.#lockEnd = this.#lock.at(-1) ?? 0;
    this.#maxLength = 255 - Math.max(metadataSuffix.length, lockSuffix.length);
  }

  roleOf(bytes: Uint8Array, start: number, end: number): 'Entry' | 'Metadata' | 'Lock' | undefined {
    // Every third name is a lock's, of which no hash is needed.
    if (bytes[end - 1] === this.#lockEnd && this.#isLock(bytes, start, end)) return 'Lock';
    let at = start;
    let hash = firstHash;
    for (; at < end && isPlain[bytes[at]!] === 1; at += 1) hash = nextHash(hash, bytes[at]!);
    if (at === start || at - start > this.#maxLength) return undefined;
    this.end = at;
    this.hash = hash;
    if (at === end) return 'Entry';
    if (endsAs(bytes, at, end, this.#metadata)) return 'Metadata';
    return undefined;
  }

  #isLock(bytes: Uint8Array, start: number, end: number): boolean {
    const suffixAt = end - this.#lock.length;
    if (suffixAt <= start || suffixAt - start > this.#maxLength || !endsAs(bytes, suffixAt, end, this.#lock)) return false;
    let at = start;
    while (at < suffixAt && isPlain[bytes[at]!] === 1) at += 1;
    return at === suffixAt;
  }
}

function endsAs(bytes: Uint8Array, start: number, end: number, suffix: Buffer): boolean {
  if (end - start !== suffix.length) return false;
  for (let i = 0; i < suffix.length; i += 1) if (bytes[start + i] !== suffix[i]) return false;
  return true;
}

const isPlain = Uint8Array.from({ length: 256 }, (_, byte) => (/[0-9A-Za-z_-]/.test(String.fromCharCode(byte)) ? 1 : 0));
