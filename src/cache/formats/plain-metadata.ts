import type { RawRow } from '../../policy/entry-table.ts';

/** How one store's runtime writes its metadata: two blanks of indent, the fields in this order, nothing else. */
export interface PlainText {
  readonly keyField: string;
  readonly hasDescription: boolean;
  /** The name has `_` where the key has `:`. */
  readonly colonAsUnderscore: boolean;
}

/**
 * Reads metadata that is just what the runtime writes, without making texts or objects of it: a third of the time of JSON.parse.
 * Everything else (escapes, other letters than ASCII, another order, damage) is left to JSON.parse, and so is every doubt.
 */
export class PlainMetadataReader {
  readonly #colonAsUnderscore: boolean;
  readonly #beforeKey: Buffer;
  readonly #beforeDescription: Buffer | undefined;
  readonly #beforeNumbers: readonly Buffer[];
  readonly #end = Buffer.from('\n}');
  #at = 0;
  #number = 0;

  constructor({ keyField, hasDescription, colonAsUnderscore }: PlainText) {
    this.#colonAsUnderscore = colonAsUnderscore;
    this.#beforeKey = Buffer.from(`{\n  "${keyField}": "`);
    this.#beforeDescription = hasDescription ? Buffer.from('",\n  "description": "') : undefined;
    this.#beforeNumbers = ['",\n  "size_bytes": ', ',\n  "cached_at": ', ',\n  "last_accessed": '].map((text) => Buffer.from(text));
  }

  /**
   * @param row has the name and gets the rest; what it holds after a `false` means nothing
   * @returns false where it is not just so, or names another key
   */
  read(bytes: Buffer, length: number, row: RawRow): boolean {
    this.#at = 0;
    row.texts = bytes;
    if (!this.#passes(bytes, this.#beforeKey) || !this.#readKey(bytes, row)) return false;
    row.descriptionStart = row.descriptionEnd = 0;
    if (this.#beforeDescription !== undefined) {
      if (!this.#passes(bytes, this.#beforeDescription)) return false;
      row.descriptionStart = this.#at;
      while (isPlain(bytes[this.#at]!)) this.#at += 1;
      row.descriptionEnd = this.#at;
    }
    if (!this.#readNumber(bytes, 0)) return false;
    row.sizeBytes = this.#number;
    if (!this.#readNumber(bytes, 1)) return false;
    row.cachedAtMs = this.#number * 1000;
    if (!this.#readNumber(bytes, 2)) return false;
    row.lastAccessedAtMs = this.#number * 1000;
    return this.#passes(bytes, this.#end) && this.#at === length;
  }

  #passes(bytes: Buffer, text: Buffer): boolean {
    const at = this.#at;
    for (let i = 0; i < text.length; i += 1) if (bytes[at + i] !== text[i]) return false;
    this.#at = at + text.length;
    return true;
  }

  /** The key is kept only where it is not the name. */
  #readKey(bytes: Buffer, row: RawRow): boolean {
    const start = this.#at;
    let isName = true;
    for (let i = row.nameStart; i < row.nameEnd; i += 1, this.#at += 1) {
      const byte = bytes[this.#at]!;
      if (byte === row.names[i] && isPlain(byte) && !(this.#colonAsUnderscore && byte === colon)) continue;
      if (!this.#colonAsUnderscore || byte !== colon || row.names[i] !== underscore) return false;
      isName = false;
    }
    row.keyStart = isName ? 0 : start;
    row.keyEnd = isName ? 0 : this.#at;
    return true;
  }

  /** Fifteen digits fit a double as they are; JSON knows no leading zeros. */
  #readNumber(bytes: Buffer, index: number): boolean {
    if (!this.#passes(bytes, this.#beforeNumbers[index]!)) return false;
    const start = this.#at;
    let number = 0;
    for (let digit = bytes[this.#at]! - zero; digit >= 0 && digit <= 9; digit = bytes[this.#at]! - zero) {
      number = number * 10 + digit;
      this.#at += 1;
    }
    this.#number = number;
    const digits = this.#at - start;
    return digits > 0 && digits <= 15 && (digits === 1 || bytes[start] !== zero);
  }
}

/** What stands in a JSON text for itself. */
function isPlain(byte: number): boolean {
  return byte >= 0x20 && byte < 0x7f && byte !== quote && byte !== backslash;
}

const quote = 0x22;
const zero = 0x30;
const colon = 0x3a;
const backslash = 0x5c;
const underscore = 0x5f;
