/** Names of one directory, kept as bytes one behind the other: as objects 300,000 of them would fill an agent's heap. */
export class NameList implements Iterable<Buffer> {
  length = 0;
  #bytes = Buffer.allocUnsafe(64);
  #used = 0;

  /** Copied: what it was read into may be overwritten. */
  push(name: Uint8Array): void {
    const end = this.#used + name.length + 1;
    if (end > this.#bytes.length) this.#bytes = Buffer.concat([this.#bytes.subarray(0, this.#used)], 2 * end);
    this.#bytes.set(name, this.#used);
    // What no name has in it.
    this.#bytes[end - 1] = 0;
    this.#used = end;
    this.length += 1;
  }

  /** Views, in the order in which they came. */
  *[Symbol.iterator](): Generator<Buffer, void, undefined> {
    for (let start = 0; start < this.#used; ) {
      const end = this.#bytes.indexOf(0, start);
      yield this.#bytes.subarray(start, end);
      start = end + 1;
    }
  }
}
