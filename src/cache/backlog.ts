import type { Dir } from '../disk/dir.ts';
import { OperatorError } from '../errors.ts';
import type { JournalRecord } from './journal.ts';
import { appendToJournal, maxRecords } from './journal.ts';
import { openOwn } from './own-folder.ts';
import type { OwnPlace } from './own-search.ts';

/**
 * What a full disk did not take, in memory: records of the journal, and the last write of what is remembered of uses. They are written with the next
 * records, or once a purge has freed some space. A process that ends before that loses them.
 */
export class Backlog {
  #records: readonly JournalRecord[] = [];
  #write: ((own: Dir) => void) | undefined;

  get isEmpty(): boolean {
    return this.#records.length === 0 && this.#write === undefined;
  }

  /** Writes these records after those that are left from before. On a full disk they are kept. @throws ERR_DISK_IO; then they are lost */
  append(place: OwnPlace, records: readonly JournalRecord[]): void {
    unlessFull(() => this.#append(place, records));
  }

  /** Does it now or, on a full disk, with the next `flush`, in place of what was to be done then. @throws ERR_DISK_IO */
  write(place: OwnPlace, act: (own: Dir) => void): void {
    this.#write = unlessFull(() => inOwn(place, act)) ? undefined : act;
  }

  /** The last attempt of a run. What is remembered may wait for longer: nothing is wrong without it. @throws ERR_DISK_IO, ERR_DISK_FULL for the journal */
  flush(place: OwnPlace): void {
    if (this.#write !== undefined) this.write(place, this.#write);
    this.#append(place, []);
  }

  #append(place: OwnPlace, more: readonly JournalRecord[]): void {
    const records = [...this.#records, ...more].slice(-maxRecords);
    this.#records = [];
    try {
      if (records.length > 0) inOwn(place, (own) => appendToJournal(own, records));
    } catch (error) {
      if (isFull(error)) this.#records = records;
      throw error;
    }
  }
}

function inOwn(place: OwnPlace, act: (own: Dir) => void): void {
  using own = openOwn(place);
  act(own);
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
