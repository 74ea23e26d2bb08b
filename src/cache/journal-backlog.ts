import type { Dir } from '../disk/dir.ts';
import { OperatorError } from '../errors.ts';
import type { JournalRecord } from './journal.ts';
import { appendToJournal, maxRecords } from './journal.ts';

/**
 * The journal of one cache, and in memory the records that a full disk did not take: they are written with the next records, or once a purge has
 * freed some space. A process that ends before that loses them.
 */
export class JournalBacklog {
  #unwritten: readonly JournalRecord[] = [];

  get isEmpty(): boolean {
    return this.#unwritten.length === 0;
  }

  /** Writes these records after those that are left from before. On a full disk they are kept. @throws ERR_DISK_IO; then they are lost */
  write(own: Dir, records: readonly JournalRecord[]): void {
    try {
      this.flush(own, records);
    } catch (error) {
      if (!(error instanceof OperatorError) || error.code !== 'ERR_DISK_FULL') throw error;
    }
  }

  /** The same, for the last attempt of a run. @throws ERR_DISK_IO, ERR_DISK_FULL */
  flush(own: Dir, more: readonly JournalRecord[] = []): void {
    const records = [...this.#unwritten, ...more].slice(-maxRecords);
    this.#unwritten = [];
    try {
      appendToJournal(own, records);
    } catch (error) {
      if (error instanceof OperatorError && error.code === 'ERR_DISK_FULL') this.#unwritten = records;
      throw error;
    }
  }
}
