import type { Dir } from '../disk/dir.ts';
import { OperatorError } from '../errors.ts';
import type { JournalRecord } from './journal.ts';
import { appendToJournal, maxRecords } from './journal.ts';

/**
 * What a full disk did not take, in memory: records of the journal, and the last write of what is remembered of uses. They are written with the next
 * records, or once a purge has freed some space. A process that ends before that loses them.
 */
export class Backlog {
  #records: readonly JournalRecord[] = [];
  #write: ((root: Dir) => void) | undefined;

  get isEmpty(): boolean {
    return this.#records.length === 0 && this.#write === undefined;
  }

  /** Writes these records after those that are left from before. On a full disk they are kept. @throws ERR_DISK_IO; then they are lost */
  append(root: Dir, records: readonly JournalRecord[]): void {
    unlessFull(() => this.#append(root, records));
  }

  /** Does it now or, on a full disk, with the next `flush`, in place of what was to be done then. @throws ERR_DISK_IO */
  write(root: Dir, act: (root: Dir) => void): void {
    this.#write = unlessFull(() => act(root)) ? undefined : act;
  }

  /** The last attempt of a run. What is remembered may wait for longer: nothing is wrong without it. @throws ERR_DISK_IO, ERR_DISK_FULL for the journal */
  flush(root: Dir): void {
    if (this.#write !== undefined) this.write(root, this.#write);
    this.#append(root, []);
  }

  #append(root: Dir, more: readonly JournalRecord[]): void {
    const records = [...this.#records, ...more].slice(-maxRecords);
    this.#records = [];
    try {
      appendToJournal(root, records);
    } catch (error) {
      if (isFull(error)) this.#records = records;
      throw error;
    }
  }
}

/** @returns false where the disk is full */
function unlessFull(act: () => void): boolean {
  try {
    act();
    return true;
  } catch (error) {
    if (!isFull(error)) throw error;
    return false;
  }
}

function isFull(error: unknown): boolean {
  return error instanceof OperatorError && error.code === 'ERR_DISK_FULL';
}
