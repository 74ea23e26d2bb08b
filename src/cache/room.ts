import { shown } from '../disk/disk-error.ts';
import { OperatorError } from '../errors.ts';

/** What is no entry is kept in mind with a name and a sentence, on the heap: so much more than a row. */
const othersWeight = 3;

interface Found {
  readonly entries: number;
  /** Damaged, left over, or not recognised. */
  readonly others: number;
}

/**
 * How many names the caches that share it may have together, because whoever works on them has to keep them in mind. Whatever lies in a
 * directory, it must not end the process: then nothing would be governed any more, in no cache.
 */
export class Room {
  /** Names of entries. */
  readonly most: number;
  readonly #taken = new Map<string, number>();

  constructor(most: number) {
    this.most = most;
  }

  /**
   * To be told while a directory is looked through, of what was found in it so far. What the look before found is still kept in mind, so
   * that nobody else gets its place meanwhile.
   * @throws ERR_ROOT_CROWDED
   */
  takeSoFar(path: string, found: Found): void {
    const before = this.#taken.get(path) ?? 0;
    this.take(path, found);
    this.#taken.set(path, Math.max(before, this.#taken.get(path)!));
  }

  /** To be told once a directory was looked through. @throws ERR_ROOT_CROWDED; then nothing counts there, so that the others go on */
  take(path: string, { entries, others }: Found): void {
    this.#taken.delete(path);
    const elsewhere = this.#taken.values().reduce((sum, names) => sum + names, 0);
    const names = entries + othersWeight * others;
    if (elsewhere + names > this.most) {
      const [count, what] = othersWeight * others > entries ? [others, 'names that are no entries'] : [entries, 'entries'];
      const rest = elsewhere === 0 ? '' : `, and its other caches have ${elsewhere}`;
      throw new OperatorError('ERR_ROOT_CROWDED', `${shown(path)} has too many ${what} (${count} or more): the agent of a policy can keep ${this.most} entries in mind${rest}`);
    }
    this.#taken.set(path, names);
  }

  /** After a look that failed. @param kept names that are kept in mind all the same */
  giveBack(path: string, kept = 0): void {
    this.#taken.set(path, Math.min(kept, this.#taken.get(path) ?? 0));
  }
}
