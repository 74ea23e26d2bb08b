/**
 * Tells when a file that changes has come to rest. Half of a policy may well be valid: without the pins at its end, it would evict what
 * they keep.
 */
export class SettledMark {
  #taken: string;
  #seen: string;

  /** @param mark changes whenever the file does; of the one that is taken up already */
  constructor(mark: string) {
    this.#taken = mark;
    this.#seen = mark;
  }

  /** To be asked at every look. @returns whether it is to be taken up now: another than was taken up last, and the same as at the look before */
  isNew(mark: string): boolean {
    const hasSettled = mark === this.#seen;
    this.#seen = mark;
    if (!hasSettled || mark === this.#taken) return false;
    this.#taken = mark;
    return true;
  }
}
